import { SeverityNumber, type LogRecord } from "@opentelemetry/api";
import { EVENT_KEY } from "../envelope/event-key.ts";
import { TailgateError, textOf } from "../wire/errors.ts";

/** An audit event. Fields beside the three named ones are stored under their own names. */
export interface AuditEvent {
  /** Any name, such as `instance_spawn`, `instance_terminate`, `message_exchange`, `state_change` or `error`. */
  readonly eventType: string;
  readonly instanceId?: string | null;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

export interface AuditOptions {
  /**
   * Idempotency key of the event (`log.record.uid`): further attempts to log it with the same key and the same contents
   * store it only once.
   */
  readonly key?: string;
}

/**
 * Returns the log record of an audit event. The names that Tailgate defines win over fields of the same name.
 * @returns TailgateError AUDIT_REFUSED for an event without a type.
 */
export function toAuditRecord(
  event: AuditEvent,
  options: AuditOptions | undefined,
): LogRecord | TailgateError {
  const key = options?.key;
  try {
    const { eventType, instanceId = null, details = {}, ...more } = event;
    if (((eventType as unknown) ?? "") === "") return missingType(event);
    const standard = { event_type: eventType, instance_id: instanceId, details };
    return auditRecord(textOf(eventType), { ...standard, ...more, ...standard }, key);
  } catch (error) {
    return auditRecord("unreadable_event", { reason: textOf(error) }, key);
  }
}

function auditRecord(body: string, fields: object, key: string | undefined): LogRecord {
  const attributes = key === undefined ? fields : { ...fields, [EVENT_KEY]: key };
  return {
    severityNumber: SeverityNumber.INFO,
    severityText: "INFO",
    body,
    attributes: attributes as NonNullable<LogRecord["attributes"]>,
  };
}

/** The Python system's events have other field names. */
function missingType(event: AuditEvent): TailgateError {
  const hint = Object.hasOwn(event, "event_type")
    ? " It has `event_type`: the fields are named `eventType` and `instanceId` here."
    : "";
  return new TailgateError("AUDIT_REFUSED", `The event has no \`eventType\`.${hint}`);
}
