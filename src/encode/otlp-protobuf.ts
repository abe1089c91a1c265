import type { LogRecord } from "../plugin.ts";
import { ProtobufDecoder } from "./protobuf-decoder.ts";
import { RequestLayout } from "./request-layout.ts";

/**
 * The records of an ExportLogsServiceRequest in protobuf, in order of time, stably.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function decodeOtlpProtobuf(body: Uint8Array): LogRecord[] {
  const layout = new RequestLayout(body, true);
  const decoder = new ProtobufDecoder(layout);
  const order = layout.order();
  return Array.from({ length: layout.length }, (_, place) =>
    decoder.record(order?.[place] ?? place),
  );
}
