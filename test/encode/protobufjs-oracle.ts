import type { LogRecord, Resource, Scope, Value, ValueMap } from "tailgate/plugin";
import { LogsRequest, type Long } from "../bench/otlp-schema.ts";

/** The output of protobufjs: absent members have their default from the prototype. */
interface Request {
  resourceLogs: {
    resource: { attributes: KeyValue[] } | null;
    scopeLogs: {
      scope: { name: string; version: string; attributes: KeyValue[] } | null;
      logRecords: Message[];
    }[];
  }[];
}

interface Message {
  timeUnixNano: Long;
  observedTimeUnixNano: Long;
  severityNumber: number;
  severityText: string;
  body: AnyValue | null;
  eventName: string;
  attributes: KeyValue[];
  flags: number;
  traceId: Uint8Array;
  spanId: Uint8Array;
}

interface KeyValue {
  key: string;
  value: AnyValue | null;
}

interface AnyValue {
  /** The name of the member that is set. */
  value?: string;
  stringValue: string;
  boolValue: boolean;
  intValue: Long;
  doubleValue: number;
  arrayValue: { values: AnyValue[] };
  kvlistValue: { values: KeyValue[] };
  bytesValue: Uint8Array;
}

/** Returns the records of a request as protobufjs reads it, sorted by time. Each has a time. */
export function decodedByProtobufjs(body: Uint8Array): LogRecord[] {
  const request = LogsRequest.decode(body) as unknown as Request;
  return request.resourceLogs
    .flatMap(({ resource: ofProcess, scopeLogs }) => {
      const resource: Resource = { attributes: mapOf(ofProcess?.attributes ?? []) };
      return scopeLogs.flatMap(({ scope: ofLogger, logRecords }) => {
        const scope: Scope = {
          name: ofLogger?.name ?? "",
          version: ofLogger?.version ?? "",
          attributes: mapOf(ofLogger?.attributes ?? []),
        };
        return logRecords.map((message) => recordOf(message, resource, scope));
      });
    })
    .sort((one, other) => Number(timeOf(one) - timeOf(other)));
}

function timeOf(record: LogRecord): bigint {
  return record.timestamp || record.observedTimestamp;
}

function recordOf(message: Message, resource: Resource, scope: Scope): LogRecord {
  return {
    timestamp: BigInt.asUintN(64, bigintOf(message.timeUnixNano)),
    observedTimestamp: BigInt.asUintN(64, bigintOf(message.observedTimeUnixNano)),
    severityNumber: message.severityNumber,
    severityText: message.severityText,
    body: valueOf(message.body),
    eventName: message.eventName,
    attributes: mapOf(message.attributes),
    traceId: idOf(message.traceId, 16),
    spanId: idOf(message.spanId, 8),
    flags: message.flags % 256,
    resource,
    scope,
  };
}

function mapOf(pairs: readonly KeyValue[]): ValueMap {
  return new Map(pairs.map(({ key, value }) => [key, valueOf(value)]));
}

function valueOf(any: AnyValue | null): Value {
  switch (any?.value) {
    case "stringValue":
      return any.stringValue;
    case "boolValue":
      return any.boolValue;
    case "doubleValue":
      return any.doubleValue;
    case "intValue": {
      const integer = bigintOf(any.intValue);
      return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;
    }
    case "bytesValue":
      return Uint8Array.from(any.bytesValue);
    case "arrayValue":
      return any.arrayValue.values.map(valueOf);
    case "kvlistValue":
      return mapOf(any.kvlistValue.values);
    default:
      return null;
  }
}

function bigintOf({ low, high }: Long): bigint {
  return (BigInt(high | 0) << 32n) | BigInt(low >>> 0);
}

function idOf(bytes: Uint8Array, length: number): string {
  const valid = bytes.length === length && bytes.some((byte) => byte !== 0);
  return valid ? Buffer.from(bytes).toString("hex") : "";
}
