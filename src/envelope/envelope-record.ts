import type { Envelope, JsonValue } from "../wire/envelope.ts";
import { LEVELS } from "../wire/envelope.ts";
import { textOf } from "../wire/errors.ts";
import type { LogRecord, Value } from "../plugin/index.ts";

/** The attribute that tells that a record is not the one that was emitted, and why. */
const REBUILT = "tailgate.rebuilt_from_envelope";

/** The number of each level (OpenTelemetry logs data model, "SeverityNumber"). */
const SEVERITIES = [5, 9, 13, 17, 21] as const;

const MILLI_NANOS = 1_000_000n;
const MICRO_NANOS = 1_000n;
const SECOND_CHARS = "2025-10-13T09:27:24".length;
const MICROS_DIGITS = 6;

/** Members of a system log's `data` that are not attributes. */
const SYSTEM_FIELDS = new Set(["timestamp", "level", "logger", "message"]);
const CALL_SITE = new Map([
  ["module", "code.namespace"],
  ["function", "code.function.name"],
  ["line", "code.line.number"],
]);

/**
 * Rebuilds a record from its envelope, if its origin throws: otherwise neither the record nor those of the same commit
 * could be stored. An attribute tells that it was rebuilt, and why.
 */
export function recordOfEnvelope(envelope: Envelope, why: unknown): LogRecord {
  const { timestamp, level, logger, message } = envelope.data;
  const time = nanosOf(timestamp);
  const attributes = attributesOf(envelope);
  attributes.set(REBUILT, textOf(why));
  return {
    timestamp: time,
    observedTimestamp: time,
    severityNumber: SEVERITIES[LEVELS.indexOf(level)] ?? 0,
    severityText: level,
    body: message,
    eventName: "",
    attributes,
    traceId: "",
    spanId: "",
    flags: 0,
    resource: null,
    scope: { name: logger, version: "", attributes: new Map() },
  };
}

function nanosOf(timestamp: string): bigint {
  const second = BigInt(Date.parse(`${timestamp.slice(0, SECOND_CHARS)}Z`));
  const micros = timestamp.slice(SECOND_CHARS + 1, SECOND_CHARS + 1 + MICROS_DIGITS);
  return second * MILLI_NANOS + BigInt(micros) * MICRO_NANOS;
}

function attributesOf({ type, data }: Envelope): Map<string, Value> {
  const attributes = new Map<string, Value>();
  if (type === "audit_log") {
    if (data.action !== undefined) attributes.set("event_type", data.action);
    for (const [name, value] of Object.entries(data.metadata ?? {})) {
      attributes.set(name, valueOf(value));
    }
    return attributes;
  }
  for (const [name, value] of Object.entries(data)) {
    if (SYSTEM_FIELDS.has(name)) continue;
    const callSite = CALL_SITE.get(name);
    if (callSite === undefined) attributes.set(name, valueOf(value));
    else if (value !== "" && value !== 0) attributes.set(callSite, valueOf(value));
  }
  return attributes;
}

function valueOf(value: JsonValue): Value {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(valueOf);
  return new Map(Object.entries(value).map(([name, inner]) => [name, valueOf(inner)]));
}
