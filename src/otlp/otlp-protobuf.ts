import type { LogRecord } from "../plugin/index.ts";
import { ProtobufDecoder } from "./protobuf-decoder.ts";
import { RecordFields } from "./record-fields.ts";
import { tellInvalidId, tellUnknown, type RequestFindings } from "./request-findings.ts";
import { END, RequestLayout, START } from "./request-layout.ts";
import { PART_VALUES_MAX } from "./request-limits.ts";
import { atOnce, type Steps } from "./steps.ts";

/** Decoding takes longer than encoding: so many records are a step. */
const STEP_RECORDS = 64;

/**
 * The records of an ExportLogsServiceRequest in protobuf, in order of time, stably. What the sender should know beside is
 * told to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function decodeOtlpProtobuf(body: Uint8Array, findings?: RequestFindings): LogRecord[] {
  return atOnce(decodeOtlpProtobufInSteps(body, findings));
}

/** The same in steps. */
export function* decodeOtlpProtobufInSteps(
  body: Uint8Array,
  findings?: RequestFindings,
): Steps<LogRecord[]> {
  const layout = yield* RequestLayout.inSteps(body, { isExact: true, isReceived: true });
  if (findings !== undefined) tellUnknown(layout, findings);
  const fields = new RecordFields();
  const decoder = new ProtobufDecoder(layout, PART_VALUES_MAX);
  const order = layout.order();
  const records: LogRecord[] = [];
  for (let place = 0; place < layout.length; place++) {
    const record = order?.[place] ?? place;
    fields.read(layout.reader, layout.at(record, START), layout.at(record, END));
    if (findings !== undefined) tellInvalidId(fields, findings);
    records.push(decoder.recordOf(record, fields));
    if (place % STEP_RECORDS === 0) yield;
  }
  return records;
}
