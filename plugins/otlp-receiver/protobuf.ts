import type { Ingested } from "tailgate/plugin";

/** opentelemetry/proto/collector/logs/v1: partial_success = 1 { rejected_log_records = 1, error_message = 2 }. */
export function exportResponse({ rejected, reason }: Ingested): Buffer {
  if (rejected === 0 && reason === "") return Buffer.alloc(0);
  // A 0 is not written.
  const count = rejected === 0 ? Buffer.alloc(0) : varintField(1, rejected);
  return bytesField(1, Buffer.concat([count, bytesField(2, Buffer.from(reason))]));
}

/** A google.rpc.Status: code = 1, message = 2, details = 3. */
export function rpcStatus(code: number, message: string, ...details: Buffer[]): Buffer {
  return Buffer.concat([
    varintField(1, code),
    bytesField(2, Buffer.from(message)),
    ...details.map((detail) => bytesField(3, detail)),
  ]);
}

/** A google.rpc.RetryInfo: retry_delay = 1 { seconds = 1 }. */
export function retryInfo(seconds: number): Buffer {
  return bytesField(1, varintField(1, seconds));
}

/** A google.protobuf.Any: type_url = 1, value = 2. */
export function anyOf(type: string, value: Buffer): Buffer {
  const url = Buffer.from(`type.googleapis.com/${type}`);
  return Buffer.concat([bytesField(1, url), bytesField(2, value)]);
}

/** Field numbers here are below 16, so that a tag is one byte: the number and the wire type. */
function varintField(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...varint(value)]);
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...varint(bytes.length)]), bytes]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}
