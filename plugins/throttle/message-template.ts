import { textStart } from "../windows/text-start.ts";

/** Longer messages have the template of their beginning. */
const MESSAGE_CHARS_MAX = 256;

const ZERO = 0x30;
const NINE = 0x39;
const UNDERSCORE = 0x5f;

/**
 * Returns a message with its variable parts replaced by `*`: quoted texts, and words with a digit, such as numbers, ids,
 * addresses and times. `Retry 3 of "job-a" at 10.0.0.5:80` becomes `Retry * of * at *`. Reads each character once.
 */
export function messageTemplate(message: string): string {
  const text = textStart(message, MESSAGE_CHARS_MAX);
  let template = "";
  for (let at = 0; at < text.length;) {
    const quoteEnd = endOfQuote(text, at);
    const end = quoteEnd > at ? quoteEnd : endOfWord(text, at);
    if (end === at) template += text[at++];
    else {
      template += quoteEnd > at || hasDigit(text, at, end) ? "*" : text.slice(at, end);
      at = end;
    }
  }
  return template;
}

/** Returns the index after the quoted text that begins at `start`; `start` if none does. */
function endOfQuote(text: string, start: number): number {
  const quote = text[start]!;
  // An apostrophe within a word is none.
  if (quote !== '"' && (quote !== "'" || isWordAt(text, start - 1))) return start;
  return text.indexOf(quote, start + 1) + 1 || start;
}

/** Returns the index after the word that begins at `start`, with words that `-`, `.` or `:` join to it. */
function endOfWord(text: string, start: number): number {
  let end = start;
  while (isWordAt(text, end) || (end > start && isJoint(text, end))) end++;
  return end;
}

function isJoint(text: string, at: number): boolean {
  return "-.:".includes(text.charAt(at) || " ") && isWordAt(text, at + 1);
}

/** Letters beyond ASCII count, and so do their other characters. */
function isWordAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  const lower = code | 0x20;
  return code >= 0x80 || (lower >= 0x61 && lower <= 0x7a) || isDigit(code) || code === UNDERSCORE;
}

function hasDigit(text: string, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (isDigit(text.charCodeAt(at))) return true;
  return false;
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE;
}
