import { compileAutomaton, type Automaton } from "./automaton.ts";
import { ALPHANUMERIC, Cursor } from "./cursor.ts";
import { matchesGlob, type KeyGlobs } from "./key-globs.ts";
import { listKeywords, type Probe } from "./keywords.ts";
import type { BuiltInRule } from "./rules.ts";

/** Finds secrets in a text of UTF-8, in one pass and without allocations if there are none. */
export class Scanner {
  readonly #automaton: Automaton;
  readonly #probes: readonly Probe[];
  readonly #allow: readonly string[];
  readonly #cursor = new Cursor();
  /** Whether the text that was scanned last may be or contain one of the configured keys. */
  sawKey = false;
  /** Whether it contains an escape of JSON for a character of ASCII. */
  sawEscape = false;
  /** The rule of what was found last. */
  rule = "";

  /** `allow`: globs of found texts that are no secrets. */
  constructor(rules: readonly BuiltInRule[], keys: KeyGlobs, allow: readonly string[]) {
    const { keywords, probes } = listKeywords(rules, keys);
    this.#automaton = compileAutomaton(keywords);
    this.#probes = probes;
    this.#allow = allow.map((glob) => glob.toLowerCase());
  }

  /** The start and the end of the text that was found last, and the quotes that its replacement needs. */
  get found(): Cursor {
    return this.#cursor;
  }

  /** Opens a text: {@link next} finds what is in it. */
  open(bytes: Uint8Array, begin: number, end: number): void {
    this.#cursor.open(bytes, begin, end);
    this.#cursor.stop = begin;
    this.sawKey = false;
    this.sawEscape = false;
  }

  /** Returns whether there is anything to be redacted in a text. */
  test(bytes: Uint8Array, begin: number, end: number): boolean {
    this.sawKey = false;
    this.sawEscape = false;
    const { classes, table, accepting } = this.#automaton;
    let state = 0;
    for (let at = begin; at < end; at++) {
      state = table[state + classes[bytes[at]!]!]!;
      if (state < accepting) continue;
      this.open(bytes, begin, end);
      return this.#nextFrom(state, at);
    }
    return false;
  }

  /** Finds the next secret; returns false if there is none up to the end. */
  next(): boolean {
    return this.#nextFrom(0, this.#cursor.stop - 1);
  }

  /** Goes on with the state after the byte at `position`. */
  #nextFrom(reached: number, position: number): boolean {
    const cursor = this.#cursor;
    const { classes, table, accepting } = this.#automaton;
    const { bytes, end } = cursor;
    let state = reached;
    for (let at = position; ;) {
      if (state >= accepting) {
        const from = at + 1;
        cursor.resume = from;
        if (this.#verify(state, from)) {
          if (!this.#isAllowed()) return true;
          cursor.resume = Math.max(from, cursor.stop);
        }
        if (cursor.resume > from) {
          at = cursor.resume - 1;
          state = 0;
        }
      }
      if (++at >= end) return false;
      state = table[state + classes[bytes[at]!]!]!;
    }
  }

  #verify(state: number, at: number): boolean {
    const { accepting, classCount, outputs } = this.#automaton;
    const cursor = this.#cursor;
    const found = outputs[(state - accepting) / classCount]!;
    for (const output of found) {
      const { key, isEscape } = this.#probes[output]!;
      if (key === "part" || (key === "end" && !cursor.is(at, ALPHANUMERIC))) this.sawKey = true;
      if (isEscape === true) this.sawEscape = true;
    }
    for (const output of found) {
      const probe = this.#probes[output]!;
      if (!probe.verify(cursor, at)) continue;
      cursor.floor = cursor.stop;
      this.rule = probe.rule;
      return true;
    }
    return false;
  }

  #isAllowed(): boolean {
    if (this.#allow.length === 0) return false;
    const { bytes, start, stop } = this.#cursor;
    return this.allows(Buffer.from(bytes.subarray(start, stop)).toString());
  }

  /** Returns whether a text that was found is allowed. */
  allows(text: string): boolean {
    const folded = text.toLowerCase();
    return this.#allow.some((glob) => matchesGlob(glob, folded));
  }
}
