import type { Level } from "../wire/envelope.ts";

/** A value, as OTLP's AnyValue. Integers beyond 2^53 are bigint; a value that is not set is null. */
export type Value = string | number | bigint | boolean | null | Uint8Array | Value[] | ValueMap;

/** Attributes in the order in which they were sent. A Map, because any key is allowed, `__proto__` included. */
export type ValueMap = Map<string, Value>;

/**
 * One OpenTelemetry log record. Times are nanoseconds since 1970 UTC, 0n if absent. Trace and span ids are lower-case
 * hex, "" if absent.
 */
export interface LogRecord {
  /** When the event happened. */
  timestamp: bigint;
  /** When the record was collected. */
  observedTimestamp: bigint;
  /** 1 to 24 as in the specification; 0 if absent. */
  severityNumber: number;
  /** The severity as the source names it; "" if absent. It decides the level if the number is 0. */
  severityText: string;
  /** The message, usually a string; null if absent. */
  body: Value;
  /** The name of the event; "" if absent. */
  eventName: string;
  /** The record's own attributes, which a processor may modify. */
  attributes: ValueMap;
  /** 32 digits. */
  traceId: string;
  /** 16 digits. */
  spanId: string;
  /** The W3C trace flags; 1 if the trace is sampled. */
  flags: number;
  /**
   * Null for records of this process that exporters get, until they are read back from disk. Shared by the records of one
   * request: replace it, do not modify it.
   */
  resource: Resource | null;
  /** Shared by the records of one logger: replace it, do not modify it. */
  scope: Scope;
}

/** The entity that produced a record, such as a service. */
export interface Resource {
  /** Such as `service.name`. */
  readonly attributes: ValueMap;
}

/** The instrumentation scope of a record. */
export interface Scope {
  /** The logger's name. */
  readonly name: string;
  /** The version of the instrumentation library; "" if absent. */
  readonly version: string;
  /** The attributes of the scope, which few libraries set. */
  readonly attributes: ValueMap;
}

/** The first severity number of each level (logs data model, "SeverityNumber"). */
const SEVERITY_NUMBERS = { DEBUG: 5, INFO: 9, WARNING: 13, ERROR: 17, CRITICAL: 21 } as const;

/** What {@link createRecord} makes a record of. */
export interface RecordInit {
  /** The logger's name. Records of `orchestrator.audit` and its children are audit events. */
  readonly logger: string;
  /** The message, usually a string. */
  readonly body: Value;
  /** The level. Default: INFO. */
  readonly level?: Level;
  /** When it happened, in milliseconds since 1970. Default: now. */
  readonly timeMs?: number;
  /** The attributes, in this order. Default: none. */
  readonly attributes?: Readonly<Record<string, Value>>;
}

/** Returns a record for the intake, as `Intake.records` takes it. Its members can be set afterwards, such as `traceId` or `resource`. */
export function createRecord({
  logger,
  body,
  level = "INFO",
  timeMs = Date.now(),
  attributes = {},
}: RecordInit): LogRecord {
  const nanos = BigInt(Math.round(timeMs)) * 1_000_000n;
  return {
    timestamp: nanos,
    observedTimestamp: nanos,
    severityNumber: SEVERITY_NUMBERS[level],
    severityText: level,
    body,
    eventName: "",
    attributes: new Map(Object.entries(attributes)),
    traceId: "",
    spanId: "",
    flags: 0,
    resource: null,
    scope: { name: logger, version: "", attributes: new Map() },
  };
}
