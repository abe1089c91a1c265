/** What is in the bytes of a record, and not in the decoded one. */

import { MessageFields } from "../windows/message-fields.ts";

/** A length-delimited field: the message that it contains, or a text. */
interface Field {
  readonly message?: MessageKind;
  readonly isRepeated?: boolean;
}

export type MessageKind = "record" | "resource" | "scope" | "entry" | "value" | "list" | "map";

const TEXT: Field = {};
const ATTRIBUTES: Field = { message: "entry", isRepeated: true };

/** The length-delimited fields of opentelemetry-proto, logs.proto, common.proto and resource.proto. */
const FIELDS: Readonly<Record<MessageKind, Readonly<Record<number, Field>>>> = {
  record: { 3: TEXT, 5: { message: "value" }, 6: ATTRIBUTES, 9: TEXT, 10: TEXT, 12: TEXT },
  resource: { 1: ATTRIBUTES },
  scope: { 1: TEXT, 2: TEXT, 3: ATTRIBUTES },
  entry: { 1: TEXT, 2: { message: "value" } },
  value: { 1: TEXT, 5: { message: "list" }, 6: { message: "map" }, 7: TEXT },
  list: { 1: { message: "value", isRepeated: true } },
  map: { 1: ATTRIBUTES },
};

const LENGTH_DELIMITED = 2;
const KEY = 1;

/** Unknown fields of these are searched before, and stay as they are. */
const HAS_UNKNOWN: ReadonlySet<MessageKind> = new Set(["record", "resource", "scope"]);

/**
 * Returns whether a message has content that its decoder does not return: a field that a later one supersedes, a second
 * entry of a map with the same key, or an unknown field within a value.
 */
export function hasSuperseded(bytes: Uint8Array, kind: MessageKind): boolean {
  const seen = new Set<number>();
  const keys = new Set<string>();
  const fields = new MessageFields().read({ bytes, start: 0, end: bytes.length });
  while (fields.next()) {
    const field = FIELDS[kind][fields.number];
    const isLengthDelimited = (bytes[fields.start]! & 7) === LENGTH_DELIMITED;
    // A value has one field at most, of any type.
    const number = kind === "value" ? 0 : fields.number;
    if (field?.isRepeated !== true && (isLengthDelimited || kind === "value")) {
      if (seen.has(number)) return true;
      seen.add(number);
    }
    if (!isLengthDelimited) continue;
    if (field === undefined) {
      if (!HAS_UNKNOWN.has(kind)) return true;
      continue;
    }
    if (field.message === undefined) continue;
    const content = bytes.subarray(fields.valueStart, fields.end);
    if (field === ATTRIBUTES) {
      const key = keyOf(content);
      if (keys.has(key)) return true;
      keys.add(key);
    }
    if (hasSuperseded(content, field.message)) return true;
  }
  return fields.isBroken;
}

function keyOf(entry: Uint8Array): string {
  const fields = new MessageFields().read({ bytes: entry, start: 0, end: entry.length });
  while (fields.next()) {
    if (fields.number !== KEY) continue;
    return Buffer.from(entry.subarray(fields.valueStart, fields.end)).toString();
  }
  return "";
}
