import protobuf from "protobufjs";
import { DEPTH_MAX, DEPTH_TEXT } from "../../src/envelope/json-writer.ts";
import type { LogRecord, Value, ValueMap } from "tailgate/plugin";
import { LogsRequest } from "../bench/otlp-schema.ts";
import { decodedByProtobufjs } from "../encode/protobufjs-oracle.ts";
import { withLastFields } from "./last-fields.ts";

const NANOS_PER_MS = 1_000_000n;

const LEVELS_MAX = 1000;

// Invalid UTF-8 becomes U+FFFD, as in the gateway. protobufjs counts two or three levels for each of ours.
protobuf.Reader.prototype.stringVerify = protobuf.BufferReader.prototype.string;
protobuf.Reader.recursionLimit = LEVELS_MAX;
protobuf.util.recursionLimit = LEVELS_MAX;

/** The time of the examples, on 2025-10-13. */
const FIXED_TIME_MS = 1_760_347_644_339;

/** Runs a check with a stopped clock, because a record without a time gets its arrival time. */
export function atFixedTime<T>(check: () => T): T {
  const { now } = Date;
  Date.now = () => FIXED_TIME_MS;
  try {
    return check();
  } finally {
    Date.now = now;
  }
}

/**
 * Returns the records of a protobuf request as protobufjs decodes them, ordered by time.
 * @throws Error if protobufjs rejects the request.
 */
export function expectedRecords(body: Uint8Array): LogRecord[] {
  try {
    const read = decodedByProtobufjs(withLastFields(Buffer.from(body), LogsRequest));
    return inOrder(read.map(withBoundedDepth));
  } catch (cause) {
    throw new Error("protobufjs rejects a request that was accepted.", { cause });
  }
}

/** Sorts records by time; a record without a time by its arrival time. */
function inOrder(records: LogRecord[]): LogRecord[] {
  const arrival = BigInt(Date.now()) * NANOS_PER_MS;
  const timeOf = (record: LogRecord): bigint =>
    record.timestamp || record.observedTimestamp || arrival;
  return records.sort((one, other) => Number(timeOf(one) - timeOf(other)));
}

/** Applies the depth limit of our decoder, which protobufjs does not have. */
function withBoundedDepth(record: LogRecord): LogRecord {
  const { body, attributes, resource, scope } = record;
  return {
    ...record,
    body: bounded(body, 0),
    attributes: boundedMembers(attributes, 0),
    resource: resource && { ...resource, attributes: boundedMembers(resource.attributes, 0) },
    scope: { ...scope, attributes: boundedMembers(scope.attributes, 0) },
  };
}

function boundedMembers(members: ValueMap, depth: number): ValueMap {
  return new Map([...members].map(([key, value]) => [key, bounded(value, depth)]));
}

function bounded(value: Value, depth: number): Value {
  const isList = Array.isArray(value);
  if (!isList && !(value instanceof Map)) return value;
  if (depth >= DEPTH_MAX) return DEPTH_TEXT;
  return isList
    ? value.map((element) => bounded(element, depth + 1))
    : boundedMembers(value, depth + 1);
}
