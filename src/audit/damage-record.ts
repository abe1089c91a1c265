import { AUDIT_LOGGER } from "../wire/envelope.ts";
import type { Damage } from "../journal/journal.ts";
import type { LogRecord, Value } from "../plugin/index.ts";

const DAMAGE_LOGGER = `${AUDIT_LOGGER}.journal`;

const EVENT_TYPE = "journal_damaged";

const SEVERITY_ERROR = 17;

const NANOS_PER_MS = 1_000_000n;

/** Damage to the journal as an audit event: the trail says itself which events it does not have. */
export function damageRecord({ text, lost, kept }: Damage): LogRecord {
  const nanos = BigInt(Date.now()) * NANOS_PER_MS;
  const details = new Map<string, Value>([["text", text]]);
  if (lost !== undefined) details.set("lost_from", lost.from).set("lost_to", lost.to);
  if (kept.length > 0) details.set("kept_as", [...kept]);
  return {
    timestamp: nanos,
    observedTimestamp: nanos,
    severityNumber: SEVERITY_ERROR,
    severityText: "ERROR",
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
    scope: { name: DAMAGE_LOGGER, version: "", attributes: new Map() },
  };
}
