/** Returns the start of a text as a text of its own: what `slice` returns keeps all of the given one in memory. */
export function textStart(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : Buffer.from(text.slice(0, charsMax)).toString();
}
