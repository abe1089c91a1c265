/**
 * The shape of a record is the sequence of its tags, keys and types, as operations that write the record again: each writes
 * a field with the record's next value, or opens or closes a list or a map. A shape and its values are exactly the record.
 */

import { ANY_VALUE, ARRAY_VALUE, KEY_VALUE, LOG_RECORD } from "../../otlp/schema.ts";

/** What an operation writes, and so what its values are. */
export type OpKind =
  /** A field of the record: eight bytes, a varint, text, four bytes, an id. */
  | "time"
  | "varint"
  | "field"
  | "fixed32"
  | "id"
  /** An AnyValue. */
  | "text"
  | "bool"
  | "int"
  | "double"
  | "bytes"
  | "null"
  | "emptyList"
  | "emptyMap"
  /** Opens a list or a map. */
  | "list"
  | "map"
  /** Closes the innermost. */
  | "close";

export interface Op {
  /** The tag of the field; 0 to close. */
  readonly tag: number;
  /** Of an attribute or a member of a map. */
  readonly key: string | undefined;
  readonly kind: OpKind;
  /** The column of its values; -1 if it has none. */
  readonly column: number;
}

/** The tags of an AnyValue that has a value, by kind. */
export const VALUE_TAGS: Readonly<Partial<Record<OpKind, number>>> = {
  text: ANY_VALUE.tags.stringValue,
  bool: ANY_VALUE.tags.boolValue,
  int: ANY_VALUE.tags.intValue,
  double: ANY_VALUE.tags.doubleValue,
  bytes: ANY_VALUE.tags.bytesValue,
  emptyList: ANY_VALUE.tags.arrayValue,
  emptyMap: ANY_VALUE.tags.kvlistValue,
  list: ANY_VALUE.tags.arrayValue,
  map: ANY_VALUE.tags.kvlistValue,
};

export const RECORD = LOG_RECORD.tags;
export const KEY_TAG = KEY_VALUE.tags.key;
export const VALUE_TAG = KEY_VALUE.tags.value;
/** Of the elements of a list, and of the members of a map. */
export const ELEMENT_TAG = ARRAY_VALUE.tags.values;
