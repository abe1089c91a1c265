import { consoleLine, fieldTexts } from "../../plugins/console/console-line.ts";
import type { AuditLog, Envelope } from "../wire/envelope.ts";
import { printable } from "../wire/printable.ts";
import type { GapMessage } from "../wire/protocol.ts";

const RESET = "\x1b[0m";

/** SGR sequence of an audit event's mark (ECMA-48, 8.3.117): a colour that no level has. */
const AUDIT_COLOR = "\x1b[36m";

/**
 * An envelope as a person reads it, with its line feed. System logs look as the console has them; audit events are
 * `2025-10-13 09:27:24 - orchestrator.audit - AUDIT instance_spawn message instance_id=abc-123 details.role=worker`.
 */
export function logLine(envelope: Envelope, isColored: boolean): string {
  return envelope.type === "audit_log"
    ? auditLine(envelope.data, isColored)
    : consoleLine(envelope, isColored);
}

function auditLine(data: AuditLog, isColored: boolean): string {
  const time = data.timestamp.slice(0, 19).replace("T", " ");
  const mark = isColored ? `${AUDIT_COLOR}AUDIT${RESET}` : "AUDIT";
  // An event that came without a text of its own has its type as the message.
  const words = data.action === data.message ? [data.message] : [data.action, data.message];
  const texts = words.filter((word) => word !== undefined && word !== "") as string[];
  const event = [mark, ...texts.map(printable), ...fieldTexts(data.metadata ?? {})];
  return `${printable(time)} - ${printable(data.logger)} - ${event.join(" ")}\n`;
}

const REASONS = {
  retention: "deleted for their age or their size",
  not_stored: "the gateway's disk did not take them",
  damaged: "the journal is damaged there",
  slow: "this reader was too slow for them",
};

const LANES = { system_log: "system logs", audit_log: "audit events" };

/** What is missing, as a line of its own among the records, with its line feed. */
export function gapLine({ from, to, lane, reason, text }: GapMessage): string {
  const range = from === to ? `sequence ${from}` : `sequences ${from} to ${to}`;
  if (reason === "epoch") {
    return `--- shown before, and not in the gateway's journal any more: ${range} ---\n`;
  }
  const what = lane === undefined ? "records" : LANES[lane];
  return `--- missing: ${what} of ${range} (${text === undefined ? REASONS[reason] : printable(text)}) ---\n`;
}
