import protobuf from "protobufjs";
import { LOGS_PROTO } from "../bench/otlp-schema.ts";

/** The schema with bytes in place of strings: protobufjs accepts any bytes as a string. */
const { root } = protobuf.parse(LOGS_PROTO.replaceAll(/\bstring (?=\w+ = )/g, "bytes "));

/** A request whose texts are bytes, which need not be UTF-8. */
export const BytesRequest = root.lookupType("ExportLogsServiceRequest");

const ID_BYTES: Readonly<Record<string, number>> = { traceId: 16, spanId: 8 };

/**
 * Decodes as strict stores do: texts are UTF-8, ids have their lengths and are not all zero, fields
 * their types. Returns the number of records. Throws Error for what such a store rejects.
 */
export function strictlyDecoded(body: Uint8Array): number {
  const request = BytesRequest.decode(body);
  check(request);
  const { resourceLogs } = request as unknown as {
    resourceLogs: { scopeLogs: { logRecords: unknown[] }[] }[];
  };
  return resourceLogs
    .flatMap(({ scopeLogs }) => scopeLogs)
    .reduce((sum, { logRecords }) => sum + logRecords.length, 0);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function check(node: unknown): void {
  if (Array.isArray(node)) return node.forEach(check);
  if (typeof node !== "object" || node === null) return;
  for (const [name, value] of Object.entries(node)) {
    if (!(value instanceof Uint8Array)) check(value);
    else if (name in ID_BYTES) checkId(name, value);
    else if (name !== "bytesValue") utf8.decode(value);
  }
}

function checkId(name: string, id: Uint8Array): void {
  const isValid = id.length === ID_BYTES[name] && id.some((byte) => byte !== 0);
  if (!isValid) throw new Error(`${name} is ${Buffer.from(id).toString("hex")}`);
}
