import type { AuditLog, Batch, JsonValue, Level, SystemLog } from "tailgate/plugin";
import { fieldsOf, putAll, put, textIn, type Fields } from "./fields.ts";
import { spanReference, type SpanReference } from "./span-reference.ts";

/** Of ids and names, which go into every span. */
const NAME_CHARS_MAX = 256;

/** What a record says of an instance. */
export interface InstanceEvent {
  readonly sequence: number;
  readonly timeNanos: bigint;
  readonly isAudit: boolean;
  /** An audit event's action, such as `instance_spawn`; `log` for others. */
  readonly name: string;
  readonly instanceId: string;
  readonly level: Level;
  /** What was logged beside it: its details and the other attributes. */
  readonly fields: Fields;
  /** The span in which it was logged. */
  readonly context: SpanReference | undefined;
  /** The service that logged it, where that was another process. */
  readonly service: string | undefined;
}

/** Undefined where the record names no instance. */
export function readEvent(batch: Batch, index: number): InstanceEvent | undefined {
  const { type, data } = batch.envelope(index);
  const isAudit = type === "audit_log";
  const {
    instance_id: id,
    trace_id,
    span_id,
    service,
    ...others
  } = isAudit ? (data.metadata ?? {}) : extrasOf(data);
  const instanceId = typeof id === "number" ? String(id) : id;
  if (typeof instanceId !== "string" || instanceId === "") return undefined;
  const fields = fieldsOf();
  const name = isAudit ? actionOf(data) : "log";
  if (data.message !== name) put(fields, "message", data.message);
  if (!isAudit) put(fields, "logger", data.logger);
  putDetails(fields, others);
  return {
    sequence: batch.sequence(index),
    timeNanos: nanosOf(data.timestamp) ?? BigInt(batch.appendedAtMs) * 1_000_000n,
    isAudit,
    name,
    instanceId: cut(instanceId),
    level: data.level,
    fields,
    context: spanReference(trace_id, span_id),
    service: typeof service === "string" && service !== "" ? cut(service) : undefined,
  };
}

/** How it is called in a span: one with an exception as OpenTelemetry calls that. */
export function shownName({ name, fields }: InstanceEvent): string {
  const exception = textIn(fields, "exception.type", "exception.message");
  return exception === undefined ? name : "exception";
}

type Extras = Readonly<Record<string, JsonValue>>;

function actionOf({ action, message }: AuditLog): string {
  return cut(action ?? message);
}

/** What of a system log is told in another way, or tells nothing of the instance. */
const OWN_FIELDS = new Set(["timestamp", "level", "logger", "message"]);
const PLACE_FIELDS = new Set(["module", "function", "line"]);

/** The place of the call is told where it is known. */
function extrasOf(data: SystemLog): Extras {
  const isTold = (name: string): boolean =>
    !OWN_FIELDS.has(name) && (data.line !== 0 || !PLACE_FIELDS.has(name));
  return Object.fromEntries(Object.entries(data).filter(([name]) => isTold(name)));
}

/** A cut in the middle of a character leaves no half of it. */
function cut(text: string): string {
  return text.slice(0, NAME_CHARS_MAX).toWellFormed();
}

/** The members of `details` stand beside the other attributes; which instance it is, is told already. */
function putDetails(fields: Fields, { details, ...others }: Extras): void {
  putAll(fields, others);
  if (isObject(details)) putAll(fields, details);
  else if (details !== undefined) put(fields, "details", details);
  fields.values.delete("instance_id");
}

function isObject(value: JsonValue | undefined): value is Extras {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Of a timestamp with six fractional digits; undefined where its year is beyond what it can tell. */
function nanosOf(timestamp: string): bigint | undefined {
  const wholeMs = Date.parse(`${timestamp.slice(0, -4)}Z`);
  if (!(wholeMs >= 0)) return undefined;
  const micros = Number(timestamp.slice(-4, -1));
  return BigInt(wholeMs) * 1_000_000n + BigInt(micros) * 1000n;
}
