/**
 * Requests of senders from before opentelemetry-proto 0.15, which have their records in a field that is deprecated since.
 */

import {
  REQUEST_RESOURCE_LOGS,
  RESOURCE_LOGS_LIBRARY_LOGS,
  RESOURCE_LOGS_SCOPE_LOGS,
} from "./fields.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/**
 * Returns the request with the records of the deprecated field among the scope logs of each resource that has none
 * there, as the OpenTelemetry Collector migrates them. All other fields stay as they are.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function migratedRequest(request: Uint8Array): Uint8Array {
  const reader = new ProtobufReader(request);
  const pieces: Uint8Array[] = [];
  while (reader.position < request.length) {
    const start = reader.position;
    const tag = reader.field(request.length);
    if (tag !== REQUEST_RESOURCE_LOGS) {
      reader.ignore(tag, request.length, 0);
      pieces.push(request.subarray(start, reader.position));
      continue;
    }
    const after = reader.position;
    pieces.push(field(tag, migratedResourceLogs(reader, reader.start, reader.end)));
    reader.position = after;
  }
  return Buffer.concat(pieces);
}

function migratedResourceLogs(reader: ProtobufReader, start: number, end: number): Uint8Array {
  const { bytes } = reader;
  const pieces: Uint8Array[] = [];
  reader.position = start;
  while (reader.position < end) {
    const from = reader.position;
    const tag = reader.field(end);
    if (tag === RESOURCE_LOGS_SCOPE_LOGS) return bytes.subarray(start, end);
    if (tag === RESOURCE_LOGS_LIBRARY_LOGS) {
      pieces.push(field(RESOURCE_LOGS_SCOPE_LOGS, bytes.subarray(reader.start, reader.end)));
      continue;
    }
    reader.ignore(tag, end, 0);
    pieces.push(bytes.subarray(from, reader.position));
  }
  return Buffer.concat(pieces);
}

function field(tag: number, content: Uint8Array): Uint8Array {
  const writer = new ProtobufWriter();
  writer.bytes(tag, content);
  return writer.take();
}
