import { closestMatch } from "leven";

/** `; did you mean "max_bytes"?`, or "" where nothing known is near. One slip for each four letters is near. */
export function suggestion(word: string, known: readonly string[]): string {
  const match = closestMatch(word, known, { maxDistance: 1 + Math.floor(word.length / 4) });
  return match === undefined ? "" : `; did you mean ${JSON.stringify(match)}?`;
}
