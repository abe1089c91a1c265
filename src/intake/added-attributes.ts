import { AttributeAdditions, type AddedAttributes } from "../otlp/added-attributes.ts";
import { runToEnd } from "../otlp/request-index.ts";
import type { Steps } from "../otlp/request-limits.ts";
import type { Intake, LogRecord } from "../plugin/index.ts";
import { LargeRequests } from "./requests.ts";

/** A larger request is changed in many turns of the event loop. */
const TURN_BYTES_MAX = 256 << 10;

/** Returns an intake that adds attributes to the records that lack them, before they reach `intake`. */
export function intakeWithAttributes(intake: Intake, attributes: AddedAttributes): Intake {
  const additions = new AttributeAdditions(attributes);
  const large = new LargeRequests(() => {});
  const changed = (body: Uint8Array, steps: Steps<Uint8Array>): Uint8Array | Promise<Uint8Array> =>
    body.length <= TURN_BYTES_MAX
      ? runToEnd(steps)
      : large.add(body.length, () => large.inTurns(steps));
  return {
    otlpProtobuf: async (body, access) =>
      intake.otlpProtobuf(await changed(body, additions.toProtobuf(body)), access),
    otlpJson: async (body, access) =>
      intake.otlpJson(await changed(body, additions.toJson(body)), access),
    records: async (records, access) =>
      intake.records(
        records.map((record) => withAttributes(record, attributes)),
        access,
      ),
  };
}

/** Returns a copy with the attributes that the record lacks: the record is the receiver's. */
function withAttributes(record: LogRecord, attributes: AddedAttributes): LogRecord {
  // A plugin may pass anything; what is no record is rejected later.
  if (!(record.attributes instanceof Map)) return record;
  const missing = Object.entries(attributes).filter(([name]) => !record.attributes.has(name));
  if (missing.length === 0) return record;
  return { ...record, attributes: new Map([...record.attributes, ...missing]) };
}
