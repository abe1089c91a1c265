import type { LogRecord, Resource } from "../plugin/index.ts";
import type { RecordParts } from "./encoder.ts";

const MICRO_NANOS = 1000n;
const SECOND_MICROS = 1_000_000n;

/** The seconds of a record without any time: the encoder takes now. */
export const NO_SECONDS = -1;

/** The parts of a plugin's record. */
export function partsOfRecord(record: LogRecord): RecordParts {
  const nanos = record.timestamp || record.observedTimestamp;
  const micros = nanos / MICRO_NANOS;
  return {
    seconds: nanos <= 0n ? NO_SECONDS : Number(micros / SECOND_MICROS),
    micros: nanos <= 0n ? 0 : Number(micros % SECOND_MICROS),
    severityNumber: record.severityNumber,
    severityText: record.severityText,
    loggerName: record.scope.name,
    body: record.body,
    eventName: record.eventName,
    keys: [...record.attributes.keys()],
    values: [...record.attributes.values()],
    isJavaScript: false,
    traceId: record.traceId,
    spanId: record.spanId,
    service: serviceOf(record.resource),
  };
}

/** The name of the process that a record came from; "" for this process and for those that have none. */
export function serviceOf(resource: Resource | null): string {
  const service = resource?.attributes.get("service.name");
  return typeof service === "string" ? service : "";
}
