import type { AuditLog, Batch, JsonValue, Level, SystemLog } from "tailgate/plugin";
import {
  addField,
  addFields,
  createFields,
  readNumber,
  readText,
  type SpanFields,
} from "./fields.ts";
import { parseSpanReference, type SpanReference } from "./span.ts";

/** Longer ids and names are cut: they are part of every span. */
const NAME_CHARS_MAX = 256;

/** What a record says about an instance. */
export interface InstanceEvent {
  readonly sequence: number;
  readonly timeNanos: bigint;
  readonly isAudit: boolean;
  /** An audit event's action, such as `instance_spawn`; `log` for others. */
  readonly name: string;
  readonly instanceId: string;
  readonly level: Level;
  /** The record's details and other attributes. */
  readonly fields: SpanFields;
  /** The span in which the record was logged. */
  readonly context: SpanReference | undefined;
  /** The service that logged it, if that was another process. */
  readonly service: string | undefined;
}

/** Returns the event of a record, or undefined if the record names no instance. */
export function readEvent(batch: Batch, index: number): InstanceEvent | undefined {
  const { type, data } = batch.envelope(index);
  const isAudit = type === "audit_log";
  const {
    instance_id: id,
    trace_id,
    span_id,
    service,
    ...others
  } = isAudit ? (data.metadata ?? {}) : readExtras(data);
  const instanceId = typeof id === "number" ? String(id) : id;
  if (typeof instanceId !== "string" || instanceId === "") return undefined;
  const fields = createFields();
  const name = isAudit ? readAction(data) : "log";
  if (data.message !== name) addField(fields, "message", data.message);
  if (!isAudit) addField(fields, "logger", data.logger);
  addDetails(fields, others);
  return {
    sequence: batch.sequence(index),
    timeNanos: parseTimestamp(data.timestamp) ?? BigInt(batch.appendedAtMs) * 1_000_000n,
    isAudit,
    name,
    instanceId: truncateName(instanceId),
    level: data.level,
    fields,
    context: parseSpanReference(trace_id, span_id),
    service: typeof service === "string" && service !== "" ? truncateName(service) : undefined,
  };
}

/** Returns the name of the event in a span: `exception` for an exception, as in OpenTelemetry. */
export function displayName({ name, fields }: InstanceEvent): string {
  const exception = readText(fields, "exception.type", "exception.message");
  return exception === undefined ? name : "exception";
}

type RecordExtras = Readonly<Record<string, JsonValue>>;

function readAction({ action, message }: AuditLog): string {
  return truncateName(action ?? message);
}

/** Fields of a system log that a span shows otherwise, or that are not about the instance. */
const STANDARD_FIELDS = new Set(["timestamp", "level", "logger", "message"]);
const CALL_SITE_FIELDS = new Set(["module", "function", "line"]);

/** Returns the other fields of a system log, with the call site if it is known. */
function readExtras(data: SystemLog): RecordExtras {
  const isIncluded = (name: string): boolean =>
    !STANDARD_FIELDS.has(name) && (data.line !== 0 || !CALL_SITE_FIELDS.has(name));
  return Object.fromEntries(Object.entries(data).filter(([name]) => isIncluded(name)));
}

/** Replaces half a surrogate pair at the cut. */
function truncateName(text: string): string {
  return text.slice(0, NAME_CHARS_MAX).toWellFormed();
}

/** Adds the members of `details` beside the other attributes, without the instance's id, which the span has anyway. */
function addDetails(fields: SpanFields, { details, ...others }: RecordExtras): void {
  addFields(fields, others);
  if (isObject(details)) addFields(fields, details);
  else if (details !== undefined) addField(fields, "details", details);
  fields.values.delete("instance_id");
}

function isObject(value: JsonValue | undefined): value is RecordExtras {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses a timestamp with six fractional digits; returns undefined if its year has more than four digits. */
function parseTimestamp(timestamp: string): bigint | undefined {
  const wholeMs = Date.parse(`${timestamp.slice(0, -4)}Z`);
  if (!(wholeMs >= 0)) return undefined;
  const micros = Number(timestamp.slice(-4, -1));
  return BigInt(wholeMs) * 1_000_000n + BigInt(micros) * 1000n;
}

/** Fields of an instance_terminate that may name its outcome. */
const OUTCOMES = ["outcome", "final_state", "status", "state", "reason"] as const;

const FAILURES =
  /^(error(ed)?|fail(ed|ure)|fatal|crash(ed)?|killed|aborted|time(out|d_out)|lost|dead|oom)$/i;

/** Returns why an instance failed, or undefined if it terminated normally. */
export function readFailure({ fields, level }: InstanceEvent): string | undefined {
  const error = readText(fields, "exception.message", "error_message", "error", "exception.type");
  if (error !== undefined) return error;
  for (const name of OUTCOMES) {
    const outcome = readText(fields, name);
    if (outcome !== undefined && FAILURES.test(outcome)) return `${name}: ${outcome}`;
  }
  const exitCode = readNumber(fields, "exit_code") ?? 0;
  if (exitCode !== 0) return `exit_code: ${exitCode}`;
  return level === "ERROR" || level === "CRITICAL" ? `terminated with ${level}` : undefined;
}
