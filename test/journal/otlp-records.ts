import { Reader, Type } from "protobufjs";
import { LogsRequest } from "../bench/otlp-schema.ts";

/** A record of a request with its resource and scope. */
export interface RecordInRequest {
  readonly resourceLogs: object;
  readonly scopeLogs: object;
  readonly record: {
    readonly timeUnixNano?: string;
    readonly observedTimeUnixNano?: string;
    readonly [field: string]: unknown;
  };
}

interface RequestObject {
  resourceLogs?: {
    scopeLogs?: { logRecords?: RecordInRequest["record"][] }[];
  }[];
}

/**
 * Returns the records of a request as protobufjs reads it, in order: only fields that are present,
 * 64-bit integers exact.
 */
export function recordsByProtobufjs(request: Uint8Array): RecordInRequest[] {
  const { resourceLogs = [] } = LogsRequest.toObject(LogsRequest.decode(request), {
    longs: String,
    bytes: String,
  }) as RequestObject;
  return resourceLogs.flatMap(({ scopeLogs = [], ...resourceFields }) =>
    scopeLogs.flatMap(({ logRecords = [], ...scopeFields }) =>
      logRecords.map((record) => ({
        resourceLogs: withoutDefaults(resourceFields),
        scopeLogs: withoutDefaults(scopeFields),
        record: withoutDefaults(record) as RecordInRequest["record"],
      })),
    ),
  );
}

/**
 * In proto3, a field with its default value says nothing, whether it is on the wire or not, except
 * in a oneof.
 */
function withoutDefaults(message: object): object {
  const said = Object.entries(message).filter(
    ([name, value]) =>
      name.endsWith("Value") || !(value === "" || value === 0 || value === "0" || isEmpty(value)),
  );
  return Object.fromEntries(
    said.map(([name, value]) => [name, isMessage(value) ? withoutDefaults(value) : value]),
  );
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function isMessage(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Returns the records of a request as they are on the wire, each with the other fields of its
 * ResourceLogs and ScopeLogs.
 */
export function recordsOnTheWire(request: Uint8Array): string[] {
  return fieldsOf(request)
    .filter(({ number }) => number === 1)
    .flatMap(({ payload: resourceLogs }) =>
      fieldsOf(resourceLogs)
        .filter(({ number }) => number === 2)
        .flatMap(({ payload: scopeLogs }) => {
          const around = [besides(resourceLogs, 2), besides(scopeLogs, 2)];
          const records = fieldsOf(scopeLogs).filter(({ number }) => number === 2);
          return records.map(({ payload }) => [...around, hexOf(payload)].join(" "));
        }),
    );
}

function besides(message: Uint8Array, leftOut: number): string {
  const fields = fieldsOf(message).filter(({ number }) => number !== leftOut);
  return fields.map(({ whole }) => hexOf(whole)).join("");
}

interface Field {
  readonly number: number;
  /** Includes the tag. */
  readonly whole: Uint8Array;
  /** For a length-delimited field, the bytes after the length. */
  readonly payload: Uint8Array;
}

function fieldsOf(message: Uint8Array): Field[] {
  const reader = Reader.create(message);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    const behindTag = reader.pos;
    reader.skipType(tag & 7);
    const end = reader.pos;
    reader.pos = behindTag;
    const payload = (tag & 7) === 2 ? reader.bytes() : new Uint8Array();
    reader.pos = end;
    fields.push({ number: tag >>> 3, whole: message.subarray(start, end), payload });
  }
  return fields;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Returns the time of a record as {@link recordsOnTheWire} returns it. */
export function timeOnTheWire(record: string): bigint {
  const message = LogRecordType.decode(Buffer.from(record.split(" ")[2]!, "hex"));
  const { timeUnixNano = "0", observedTimeUnixNano = "0" } = LogRecordType.toObject(message, {
    longs: String,
  }) as RecordInRequest["record"];
  return (
    BigInt.asUintN(64, BigInt(timeUnixNano)) || BigInt.asUintN(64, BigInt(observedTimeUnixNano))
  );
}

const LogRecordType = LogsRequest.root.lookup("LogRecord", Type) as Type;
