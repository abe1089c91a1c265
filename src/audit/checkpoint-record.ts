import { AUDIT_LOGGER } from "../envelope.ts";
import type { LogRecord, Value } from "../plugin.ts";
import type { Checkpoint } from "./checkpoint.ts";

export const CHECKPOINT_LOGGER = `${AUDIT_LOGGER}.checkpoint`;

const EVENT_TYPE = "audit_checkpoint";

const SEVERITY_INFO = 9;

const NANOS_PER_MS = 1_000_000n;

/** A checkpoint as an audit event, so that every exporter keeps a copy elsewhere. */
export function checkpointRecord(checkpoint: Checkpoint): LogRecord {
  const nanos = BigInt(Date.parse(checkpoint.time)) * NANOS_PER_MS;
  const details = new Map<string, Value>([["v", 1], ...Object.entries(checkpoint)]);
  return {
    timestamp: nanos,
    observedTimestamp: nanos,
    severityNumber: SEVERITY_INFO,
    severityText: "INFO",
    body: EVENT_TYPE,
    eventName: "",
    attributes: new Map<string, Value>([
      ["event_type", EVENT_TYPE],
      ["details", details],
    ]),
    traceId: "",
    spanId: "",
    flags: 0,
    resource: null,
    scope: { name: CHECKPOINT_LOGGER, version: "", attributes: new Map() },
  };
}
