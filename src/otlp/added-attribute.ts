import { KEY_VALUE_KEY, KEY_VALUE_VALUE, RECORD_ATTRIBUTES, VALUE_STRING } from "./fields.ts";
import type { OtlpPieces } from "./otlp-request.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/** Work is done on one record at a time, and within one call. */
const writer = new ProtobufWriter();

/**
 * The pieces with a text as one more attribute of the record, unless it has one of that name. In protobuf a field that
 * is appended to a message is one more of that field.
 */
export function withAttribute(pieces: OtlpPieces, name: string, text: string): OtlpPieces {
  const { record } = pieces;
  if (hasAttribute(record, name)) return pieces;
  writer.message(RECORD_ATTRIBUTES, () => {
    writer.string(KEY_VALUE_KEY, name);
    writer.message(KEY_VALUE_VALUE, () => writer.string(VALUE_STRING, text));
  });
  const { resource, scope } = pieces;
  return { resource, scope, record: Buffer.concat([record, writer.take()]) };
}

function hasAttribute(record: Uint8Array, name: string): boolean {
  // Where its bytes are nowhere, which is most of the time, there is nothing to read.
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  if (!bytes.includes(name)) return false;
  const reader = new ProtobufReader(record);
  while (reader.position < record.length) {
    const tag = reader.field(record.length);
    if (tag !== RECORD_ATTRIBUTES) reader.ignore(tag, record.length, 0);
    else if (isKey(reader, reader.start, reader.end, name)) return true;
  }
  return false;
}

function isKey(reader: ProtobufReader, start: number, end: number, name: string): boolean {
  const after = reader.position;
  reader.position = start;
  let isSame = false;
  while (reader.position < end) {
    const tag = reader.field(end);
    if (tag === KEY_VALUE_KEY) {
      isSame = reader.bytes.toString("utf8", reader.start, reader.end) === name;
    } else reader.ignore(tag, end, 0);
  }
  reader.position = after;
  return isSame;
}
