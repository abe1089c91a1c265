/** C0, DEL, C1, the line separators and what turns the direction of text: nothing of it may reach a terminal. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\p{Bidi_Control}]/gu;

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** The text with its control characters shown: it cannot forge a line, move the cursor or turn what stands beside it. */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, (character) => SHORT[character] ?? escapeOf(character));
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/**
 * Returns JSON text that means the same, with the characters of {@link printable} as JSON's own escapes, on one line.
 * Within a string JSON allows all of them but C0; around its values it allows white space.
 */
export function printableJson(json: string): string {
  return json.replaceAll(UNPRINTABLE, (character) =>
    character in SHORT ? " " : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function escapeOf(character: string): string {
  const code = character.charCodeAt(0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u${code.padStart(4, "0")}`;
}

/** What an error message shows of a text that somebody has sent. */
const EXCERPT_CHARACTERS_MAX = 100;

/** Returns the text in quotes, with escapes as in JSON; of a long text only the beginning, with its length. */
export function quotedExcerpt(text: string): string {
  if (text.length <= EXCERPT_CHARACTERS_MAX) return JSON.stringify(text);
  const beginning = text.slice(0, EXCERPT_CHARACTERS_MAX).toWellFormed();
  return `${JSON.stringify(beginning)}... (${text.length} characters)`;
}
