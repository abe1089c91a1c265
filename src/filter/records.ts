/** What filters read of records. */

import type { Envelope, EnvelopeType, JsonValue, Level } from "../wire/envelope.ts";

/** What a filter reads of records, by their index in a batch. */
export interface RecordFields {
  /** Whether it is a system log or an audit event. */
  type(index: number): EnvelopeType;
  /** The level of its envelope. */
  level(index: number): Level;
  /** The logger of its envelope. */
  logger(index: number): string;
  /** Its envelope. */
  envelope(index: number): Envelope;
  /** The attributes of the record's resource, with values as in envelopes. Without it, no record has any. */
  resourceAttributes?(index: number): Readonly<Record<string, JsonValue>>;
  /** The `name` and the `version` of the record's scope, and its attributes. Without it, no record has any. */
  scopeAttributes?(index: number): Readonly<Record<string, JsonValue>>;
  /**
   * Returns whether the envelope has a field of that name with a value that passes the test; undefined if only the envelope
   * tells. A shortcut for records that are not encoded yet.
   */
  testField?(
    index: number,
    name: string,
    passes: (value: JsonValue) => boolean,
  ): boolean | undefined;
  /** Returns false if no value of the envelope contains a text, given folded. A shortcut of the same kind. */
  mayContain?(index: number, text: string): boolean;
  /**
   * Returns false if the envelope surely lacks one of these trigrams, of which every text that is searched for has some. A
   * shortcut for records that are encoded but not parsed.
   */
  mayHaveTrigrams?(index: number, trigrams: Uint32Array): boolean;
  /**
   * Returns false if the envelope surely contains none of these texts (`Filter.required`). It finds them in all records
   * together, for a search in which one filter is matched with many records.
   */
  mayHaveText?(index: number, texts: readonly string[]): boolean;
}

/**
 * Returns a view of one record that parses its envelope at most once and retains it. Use it to match a record over
 * several turns of the event loop: between turns, a batch may drop parsed envelopes.
 */
export function heldRecord(records: RecordFields, index: number): RecordFields {
  let envelope: Envelope | undefined;
  return {
    type: () => records.type(index),
    level: () => records.level(index),
    logger: () => records.logger(index),
    envelope: () => (envelope ??= records.envelope(index)),
    resourceAttributes: () => records.resourceAttributes?.(index) ?? {},
    scopeAttributes: () => records.scopeAttributes?.(index) ?? {},
    mayHaveTrigrams: (_, trigrams) => records.mayHaveTrigrams?.(index, trigrams) ?? true,
  };
}
