import type { Span } from "./text-redaction.ts";

/** Finds what the patterns of the configuration match. */
export interface CustomPatterns {
  /** Returns whether any pattern matches. */
  test(text: string): boolean;
  /** Returns what they match, as positions in the text's UTF-8. */
  find(text: string): Span[];
}
