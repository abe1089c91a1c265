import { textOf } from "tailgate/plugin";
import type { RE2JS } from "re2js";
import type { Span } from "./text-redaction.ts";

/** Longer texts are searched in parts, because the search for positions takes much longer than a test. */
const WINDOW_CHARS = 64 << 10;
/** How much two parts have in common: a longer match may be cut. */
const OVERLAP_CHARS = 4 << 10;

/** A pattern whose compiled program is larger costs too much for each text. */
const PROGRAM_SIZE_MAX = 10_000;

/** What was redacted already is no match. */
const MASKS = /\[(?:REDACTED|HASH):[^\]]{1,128}\]/g;

/** Patterns by the name of their rule, in the syntax of RE2. */
export type PatternTexts = Readonly<Record<string, string>>;

/** Finds what the patterns of the configuration match, in time that is linear in the text. */
export class CustomPatterns {
  readonly #patterns: readonly (readonly [rule: string, pattern: RE2JS])[];
  /** All patterns in one, which is faster if none matches. */
  readonly #any: RE2JS;

  private constructor(patterns: readonly (readonly [string, RE2JS])[], any: RE2JS) {
    this.#patterns = patterns;
    this.#any = any;
  }

  /**
   * Compiles the patterns; undefined if there are none.
   * @throws Error if one cannot be used.
   */
  static async compile(texts: PatternTexts): Promise<CustomPatterns | undefined> {
    const entries = Object.entries(texts);
    if (entries.length === 0) return undefined;
    // Not loaded unless it is used.
    const { RE2JS: Engine } = await import("re2js");
    const patterns = entries.map(([rule, text]) => {
      try {
        const pattern = Engine.compile(text);
        checkUsable(pattern);
        return [rule, pattern] as const;
      } catch (error) {
        throw new Error(`custom.${rule}: the pattern cannot be used: ${textOf(error)}.`, {
          cause: error,
        });
      }
    });
    const any = Engine.compile(entries.map(([, text]) => `(?:${text})`).join("|"));
    return new CustomPatterns(patterns, any);
  }

  /** Returns whether any pattern matches, of which {@link find} may find that it was redacted already. */
  test(text: string): boolean {
    return this.#any.test(text);
  }

  /** Returns what they match, as positions in the text's UTF-8. */
  find(text: string): Span[] {
    if (!this.test(text)) return [];
    const found = this.#patterns
      .flatMap(([rule, pattern]) => findAll(text, pattern, rule))
      .sort((one, other) => one.start - other.start);
    return found.length === 0 ? [] : inBytes(text, withoutMasks(text, found));
  }
}

/** Returns the matches, in order of their starts, without those within a mask. */
function withoutMasks(text: string, found: readonly Found[]): Found[] {
  const masks = Array.from(text.matchAll(MASKS), ({ 0: mask, index }) => ({
    start: index,
    stop: index + mask.length,
  }));
  let next = 0;
  return found.filter(({ start, stop }) => {
    while (next < masks.length && masks[next]!.stop <= start) next++;
    const mask = masks[next];
    return mask === undefined || start < mask.start || stop > mask.stop;
  });
}

/** @throws Error */
function checkUsable(pattern: RE2JS): void {
  if (pattern.test("")) throw new Error("it matches the empty text");
  if (pattern.programSize() <= PROGRAM_SIZE_MAX) return;
  throw new Error("it is too large; reduce its repetitions");
}

interface Found {
  readonly rule: string;
  readonly start: number;
  readonly stop: number;
}

/** Returns the matches of a pattern, in UTF-16 units. */
function findAll(text: string, pattern: RE2JS, rule: string): Found[] {
  const found: Found[] = [];
  let stop = 0;
  for (let from = 0; from < text.length; from += WINDOW_CHARS - OVERLAP_CHARS) {
    const window = text.slice(from, from + WINDOW_CHARS);
    if (!pattern.test(window)) continue;
    const matcher = pattern.matcher(window);
    while (matcher.find()) {
      const start = from + matcher.start();
      const end = from + matcher.end();
      if (end > stop && end > start) found.push({ rule, start: Math.max(start, stop), stop: end });
      stop = Math.max(stop, end);
    }
  }
  return found;
}

/** Converts positions, which are in order of their starts. */
function inBytes(text: string, found: readonly Found[]): Span[] {
  let units = 0;
  let bytes = 0;
  return found.map(({ rule, start, stop }) => {
    bytes += Buffer.byteLength(text.slice(units, start));
    units = start;
    const length = Buffer.byteLength(text.slice(start, stop));
    return { rule, start: bytes, stop: bytes + length, quote: "", isQuoteNeeded: false };
  });
}
