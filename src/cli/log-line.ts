import { consoleLine, fieldTexts } from "../../plugins/console/console-line.ts";
import type { AuditLog, Envelope } from "../wire/envelope.ts";
import { printable } from "../wire/printable.ts";

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
