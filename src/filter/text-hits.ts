/** Searches for texts in the envelopes of many records at once: one pass at gigabytes a second instead of a look at each record. */

import { TextFinder } from "./text-finder.ts";
import { OTHER_FORMS } from "./trigrams.ts";

/** The envelopes of a batch, one after the other in one buffer. */
export interface EnvelopeBytes {
  readonly buffer: Buffer;
  readonly length: number;
  /** The position of the first record. */
  readonly start: number;
  /** Returns the end of a record. */
  end(index: number): number;
}

/** Which records have something, by index: 1 if so. */
export type RecordFlags = Uint8Array;

/** Returns which records contain some of the texts, which are folded and in ASCII. */
export function findTexts(envelopes: EnvelopeBytes, texts: readonly string[]): RecordFlags {
  const flags = new Uint8Array(envelopes.length);
  for (const text of texts) {
    const finder = new TextFinder(text);
    mark(flags, envelopes, (from, end) => finder.find(envelopes.buffer, from, end));
  }
  return flags;
}

/**
 * Returns which records may have characters of texts in other forms than their bytes: escaped, or other characters that fold to
 * ASCII; undefined if none has.
 */
export function findOtherForms(envelopes: EnvelopeBytes): RecordFlags | undefined {
  const { buffer, length } = envelopes;
  let flags: RecordFlags | undefined;
  for (const form of OTHER_FORMS) {
    const find = (from: number, end: number): number => {
      const at = buffer.indexOf(form, from);
      return at < end ? at : -1;
    };
    if (find(envelopes.start, envelopes.end(length - 1)) < 0) continue;
    mark((flags ??= new Uint8Array(length)), envelopes, find);
  }
  return flags;
}

/** Marks the records in which something is found. */
function mark(
  flags: RecordFlags,
  envelopes: EnvelopeBytes,
  find: (from: number, end: number) => number,
): void {
  const { length, start } = envelopes;
  const end = envelopes.end(length - 1);
  let index = 0;
  for (let at = find(start, end); at >= 0; at = find(envelopes.end(index), end)) {
    while (envelopes.end(index) <= at) index++;
    flags[index] = 1;
  }
}
