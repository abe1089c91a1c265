import { consoleLine, formatFields } from "../../plugins/console/console-line.ts";
import type { AuditLog, Envelope } from "../wire/envelope.ts";
import { printable } from "../wire/printable.ts";
import type { ReportedGap } from "./follow.ts";

/** The label in a color that no level has (SGR, ECMA-48, 8.3.117). */
const COLORED_LABEL = "\x1b[36mAUDIT\x1b[0m";

/**
 * Returns an envelope as a line for people, with its line feed. System logs look as on the console; audit events like
 * `2025-10-13 09:27:24 - orchestrator.audit - AUDIT instance_spawn message instance_id=abc-123 details.role=worker`.
 */
export function logLine(envelope: Envelope, isColored: boolean): string {
  return envelope.type === "audit_log"
    ? auditLine(envelope.data, isColored)
    : consoleLine(envelope, isColored);
}

function auditLine(data: AuditLog, isColored: boolean): string {
  const time = data.timestamp.slice(0, 19).replace("T", " ");
  const label = isColored ? COLORED_LABEL : "AUDIT";
  // The message of an event without one of its own is its action.
  const words = data.action === data.message ? [data.message] : [data.action, data.message];
  const texts = words.filter((word) => word !== undefined && word !== "") as string[];
  const event = [label, ...texts.map(printable), ...formatFields(data.metadata ?? {})];
  return `${printable(time)} - ${printable(data.logger)} - ${event.join(" ")}\n`;
}

const REASONS = {
  retention: "deleted by the retention policy",
  not_stored: "could not be written to the gateway's disk",
  damaged: "the journal is damaged there",
  slow: "this client was too slow",
  hole: "skipped by the gateway",
  unknown: "logged while there was no connection",
};

const TYPES = { system_log: "system log", audit_log: "audit event" };

/** Returns missing records as a line among the records, with its line feed. */
export function gapLine({ from, to, type, reason, text }: ReportedGap): string {
  const what = type === undefined ? "record" : TYPES[type];
  const range = from === to ? `${what} ${from}` : `${what}s ${from} to ${to}`;
  if (reason === "epoch") {
    return `--- printed above, but no longer in the gateway's journal: ${range} ---\n`;
  }
  return `--- missing: ${range} (${text === undefined ? REASONS[reason] : printable(text)}) ---\n`;
}

/** Returns missing records as JSON: the gap message of `tailgate.v1`. */
export function gapJson({ from, to, reason, type, text }: ReportedGap): string {
  return JSON.stringify({ type: "gap", from, to, reason, record_type: type, lane: type, text });
}
