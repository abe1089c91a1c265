/** A value as OTLP's AnyValue has it. Integers beyond 2^53 are bigint; nothing set is null. */
export type Value = string | number | bigint | boolean | null | Uint8Array | Value[] | ValueMap;

/** Keeps the order sent, and takes any key, `__proto__` included. */
export type ValueMap = Map<string, Value>;

/** One OpenTelemetry log record. Times are nanoseconds since 1970 UTC, 0n where absent; ids are lower-case hex or "". */
export interface LogRecord {
  timestamp: bigint;
  observedTimestamp: bigint;
  /** 1-24 as the specification has it; 0 where absent. */
  severityNumber: number;
  severityText: string;
  /** Null without a body. */
  body: Value;
  eventName: string;
  attributes: ValueMap;
  traceId: string;
  spanId: string;
  flags: number;
  /** Null for records of this process, until they come from the journal's disk. Shared by the records of one request: replace it, do not change it. */
  resource: Resource | null;
  /** Shared by the records of one logger: replace it, do not change it. */
  scope: Scope;
}

export interface Resource {
  readonly attributes: ValueMap;
}

export interface Scope {
  /** The logger's name. */
  readonly name: string;
  readonly version: string;
  readonly attributes: ValueMap;
}
