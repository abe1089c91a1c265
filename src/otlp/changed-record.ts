/** Puts a record that a processor has changed together again, with what only its sender's bytes tell. */

import type { EncodedRecord } from "./encode.ts";
import { ProtobufReader, ProtobufWriter } from "./protobuf.ts";
import { LOG_RECORD, RESOURCE, RESOURCE_LOGS, SCOPE, SCOPE_LOGS } from "./schema.ts";

const { droppedAttributesCount: _, ...RECORD_TAGS } = LOG_RECORD.tags;

/** The fields that a decoded record, resource or scope holds. All others are taken from the sender's bytes. */
const DECODED_RECORD = new Set(Object.values(RECORD_TAGS));
const DECODED_RESOURCE = new Set([RESOURCE.tags.attributes]);
const DECODED_SCOPE = new Set([SCOPE.tags.name, SCOPE.tags.version, SCOPE.tags.attributes]);

const writer = new ProtobufWriter();

/**
 * Returns the parts of `sent`, where they were changed with the contents of `after`: `before` and `after` are the encoded
 * decoded record before and after the change. Schema URLs, counts of dropped attributes and unknown fields stay as they
 * were sent. Returns `sent` itself if nothing was changed.
 */
export function changedRecord(
  sent: EncodedRecord,
  before: EncodedRecord,
  after: EncodedRecord,
): EncodedRecord {
  const resource = isEqual(before.resource, after.resource)
    ? sent.resource
    : changedPart(sent.resource, after.resource, RESOURCE_LOGS.tags.resource, DECODED_RESOURCE);
  const scope = isEqual(before.scope, after.scope)
    ? sent.scope
    : changedPart(sent.scope, after.scope, SCOPE_LOGS.tags.scope, DECODED_SCOPE);
  const record = isEqual(before.record, after.record)
    ? sent.record
    : Buffer.concat([after.record, otherFields(sent.record, DECODED_RECORD)]);
  const isSame = resource === sent.resource && scope === sent.scope && record === sent.record;
  return isSame ? sent : { resource, scope, record };
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one === other || Buffer.compare(one, other) === 0;
}

/** Replaces the resource or the scope, the message with that tag, in the fields around it. */
function changedPart(
  sent: Uint8Array,
  changed: Uint8Array,
  tag: number,
  decoded: ReadonlySet<number>,
): Uint8Array {
  const others = otherFields(contentOf(sent, tag), decoded);
  writer.begin();
  writer.message(tag, () => {
    writer.raw(contentOf(changed, tag));
    writer.raw(others);
  });
  writer.raw(otherFields(sent, new Set([tag])));
  return writer.take();
}

/** Returns the content of the last message with that tag. */
function contentOf(bytes: Uint8Array, wanted: number): Uint8Array {
  const reader = new ProtobufReader(bytes);
  let content = new Uint8Array();
  while (reader.position < bytes.length) {
    const tag = reader.field(bytes.length);
    if (tag === wanted) content = bytes.subarray(reader.start, reader.end) as typeof content;
    else reader.ignore(tag, bytes.length, 0);
  }
  return content;
}

function otherFields(message: Uint8Array, decoded: ReadonlySet<number>): Uint8Array {
  const reader = new ProtobufReader(message);
  const others: Uint8Array[] = [];
  while (reader.position < message.length) {
    const start = reader.position;
    const tag = reader.tag(message.length);
    reader.skip(tag, message.length, 0);
    if (!decoded.has(tag)) others.push(message.subarray(start, reader.position));
  }
  return Buffer.concat(others);
}
