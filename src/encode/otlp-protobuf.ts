import type { LogRecord } from "../plugin.ts";
import { ProtobufDecoder } from "./protobuf-decoder.ts";
import { RequestLayout } from "./request-layout.ts";
import { PART_VALUES_MAX } from "./request-limits.ts";
import { atOnce, type Steps } from "./steps.ts";

/** Decoding takes longer than encoding: so many records are a step. */
const STEP_RECORDS = 64;

/**
 * The records of an ExportLogsServiceRequest in protobuf, in order of time, stably.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function decodeOtlpProtobuf(body: Uint8Array): LogRecord[] {
  return atOnce(decodeOtlpProtobufInSteps(body));
}

/** The same in steps. */
export function* decodeOtlpProtobufInSteps(body: Uint8Array): Steps<LogRecord[]> {
  const layout = yield* RequestLayout.inSteps(body, { isExact: true, isReceived: true });
  const decoder = new ProtobufDecoder(layout, PART_VALUES_MAX);
  const order = layout.order();
  const records: LogRecord[] = [];
  for (let place = 0; place < layout.length; place++) {
    records.push(decoder.record(order?.[place] ?? place));
    if (place % STEP_RECORDS === 0) yield;
  }
  return records;
}
