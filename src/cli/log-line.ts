import { consoleLine } from "../../plugins/console/console-line.ts";
import type { AuditLog, Envelope, JsonValue } from "../envelope.ts";
import { printable } from "../printable.ts";

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
  const event = [mark, ...texts.map(printable), ...fieldTexts(data.metadata ?? {}, "")];
  return `${printable(time)} - ${printable(data.logger)} - ${event.join(" ")}\n`;
}

/** Deeper values are shown as JSON. */
const FIELD_DEPTH_MAX = 4;

/** `key=value`, with the dotted names that the filter language takes. */
function fieldTexts(
  fields: Readonly<Record<string, JsonValue>>,
  prefix: string,
  depth = 1,
): string[] {
  return Object.entries(fields).flatMap(([key, value]) => {
    const name = prefix + key;
    const isNested = isObject(value) && Object.keys(value).length > 0 && depth < FIELD_DEPTH_MAX;
    if (isNested) return fieldTexts(value, `${name}.`, depth + 1);
    return [`${printable(name)}=${valueText(value)}`];
  });
}

function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text of one word needs no quotes. */
function valueText(value: JsonValue): string {
  const isBare = typeof value === "string" && /^[^\s"=]+$/.test(value);
  return printable(isBare ? value : JSON.stringify(value));
}
