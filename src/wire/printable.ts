/** Control characters (C0, DEL, C1), line separators and bidirectional controls: none of them may reach a terminal. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\p{Bidi_Control}]/gu;

const SHORT_ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Escapes control characters, so that text cannot forge lines, move the cursor or change the direction of text next to it. */
export function printable(text: string): string {
  return text.replaceAll(
    UNPRINTABLE,
    (character) => SHORT_ESCAPES[character] ?? toEscape(character),
  );
}

/** Like {@link printable}, but retains line feeds. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/**
 * Returns equivalent JSON on one line, with the characters that {@link printable} escapes as JSON escapes. JSON strings
 * may contain all of them except C0, and white space may surround values.
 */
export function printableJson(json: string): string {
  return json.replaceAll(UNPRINTABLE, (character) =>
    character in SHORT_ESCAPES
      ? " "
      : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function toEscape(character: string): string {
  const code = character.charCodeAt(0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u${code.padStart(4, "0")}`;
}

/** How much of a text from outside an error message quotes. */
const EXCERPT_CHARACTERS_MAX = 100;

/** Returns the text as a JSON string; a long text is truncated and followed by its length. */
export function quotedExcerpt(text: string): string {
  if (text.length <= EXCERPT_CHARACTERS_MAX) return JSON.stringify(text);
  const beginning = text.slice(0, EXCERPT_CHARACTERS_MAX).toWellFormed();
  return `${JSON.stringify(beginning)}... (${text.length} characters)`;
}
