/**
 * The shape of a record is all that its bytes consist of beside its values: which fields it has, with which keys and types,
 * in which order. A shape is a list of nodes; a node is a place in the tree of a record with a type of value. Only canonical
 * protobuf has a shape: its bytes are those that {@link RecordWriter} makes of shape and values.
 */

import { LOG_RECORD, ANY_VALUE, KEY_VALUE, SPAN_ID_BYTES, TRACE_ID_BYTES } from "../otlp/schema.ts";
import type { ColumnInfo, ColumnPlace } from "./block-view.ts";

const RECORD = LOG_RECORD.tags;
const VALUE = ANY_VALUE.tags;

/** The tag of the elements of lists and of the entries of maps. */
export const ELEMENT = 0x0a;
export const { key: KEY, value: KEY_VALUE_VALUE } = KEY_VALUE.tags;

/** How the values of a node are stored. */
export type NodeKind = ColumnInfo["kind"] | "time" | "observed" | "fixed32" | "list" | "map";

/** What stands for the end of a list or map in a shape. */
export const CLOSE = -1;

/** What surrounds a value: a field of the record itself, an AnyValue in one, in a list, or in an entry of a map. */
export type Wrapping = "field" | "body" | "attribute" | "element" | "entry";

/** A node as it is stored in a block's directory: JSON. */
export interface NodeSpec {
  readonly wrapping: Wrapping;
  readonly kind: NodeKind;
  /** Of a field of the record: its tag. */
  readonly tag: number;
  /** Of an attribute or an entry of a map. */
  readonly key: string;
  /** The list or map that it is in; -1 at the top. */
  readonly parent: number;
}

/** Fields of the record that are stored by themselves, by their tags. */
export const FIELDS: ReadonlyMap<
  number,
  { readonly kind: NodeKind; readonly place: ColumnPlace; readonly width?: number }
> = new Map([
  [RECORD.timeUnixNano, { kind: "time", place: "header" }],
  [RECORD.observedTimeUnixNano, { kind: "observed", place: "header" }],
  [RECORD.severityNumber, { kind: "int", place: "header" }],
  [RECORD.severityText, { kind: "text", place: "severity_text" }],
  [RECORD.droppedAttributesCount, { kind: "int", place: "header" }],
  [RECORD.flags, { kind: "fixed32", place: "header" }],
  [RECORD.traceId, { kind: "bytes", place: "trace_id", width: TRACE_ID_BYTES }],
  [RECORD.spanId, { kind: "bytes", place: "span_id", width: SPAN_ID_BYTES }],
  [RECORD.eventName, { kind: "text", place: "event_name" }],
] as const);

/** The kinds of values by the tag of AnyValue. */
export const VALUE_KINDS: ReadonlyMap<number, NodeKind> = new Map([
  [VALUE.stringValue, "text"],
  [VALUE.boolValue, "bool"],
  [VALUE.intValue, "int"],
  [VALUE.doubleValue, "double"],
  [VALUE.arrayValue, "list"],
  [VALUE.kvlistValue, "map"],
  [VALUE.bytesValue, "bytes"],
] as const);

/** The tags of AnyValue by kind; null has none. */
export const VALUE_TAGS: ReadonlyMap<NodeKind, number> = new Map([
  ...[...VALUE_KINDS].map(([tag, kind]) => [kind, tag] as const),
  ["emptyList", VALUE.arrayValue],
  ["emptyMap", VALUE.kvlistValue],
]);

/** Returns the width of ids; undefined for other nodes. */
export function widthOf({ wrapping, tag }: NodeSpec): number | undefined {
  return wrapping === "field" ? FIELDS.get(tag)!.width : undefined;
}

/** Returns where the values of a node are, as searches see it; undefined for lists and maps that are not empty. */
export function columnInfoOf(
  nodes: readonly NodeSpec[],
  index: number,
  length: number,
): ColumnInfo | undefined {
  const { kind, tag } = nodes[index]!;
  if (kind === "list" || kind === "map") return undefined;
  const path: string[] = [];
  let isListed = false;
  let at = index;
  for (;;) {
    const { wrapping, key, parent } = nodes[at]!;
    if (wrapping === "element") isListed = true;
    else if (wrapping === "attribute" || wrapping === "entry") path.unshift(key);
    if (parent < 0) break;
    at = parent;
  }
  const top = nodes[at]!.wrapping;
  const place = top === "field" ? FIELDS.get(tag)!.place : top === "body" ? "body" : "attribute";
  const shown = kind === "time" || kind === "observed" || kind === "fixed32" ? "int" : kind;
  return { place, path, kind: shown, isListed, length };
}
