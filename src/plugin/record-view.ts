import type { Envelope, EnvelopeType, JsonValue, Level } from "../wire/envelope.ts";
import type { RecordFields } from "../filter/records.ts";
import type { LogRecord, Value } from "./record.ts";

/**
 * A record as {@link Processor.inspect} sees it, before anything is decoded: each part is read when it is asked for. It is
 * valid until `inspect` returns. A filter of `parseFilter` matches it: `filter.matches(view, 0)`.
 */
export interface RecordView extends RecordFields {
  /** Whether the record is a system log or an audit event. Costs next to nothing. */
  type(): EnvelopeType;
  /** The level of its envelope. Costs next to nothing. */
  level(): Level;
  /** The logger of its envelope. Costs next to nothing. */
  logger(): string;
  /** The message, usually a string; null if absent. */
  body(): Value;
  /** The name of the event; "" if absent. */
  eventName(): string;
  /** The value of an attribute; undefined if the record does not have it. If it is repeated, the last one counts. */
  attribute(name: string): Value | undefined;
  /** The names of its attributes, each once, in the order in which they were sent. */
  attributeNames(): string[];
  /** The value of an attribute of the resource, such as `service.name`; undefined if there is none. */
  resourceAttribute(name: string): Value | undefined;
  /** All attributes of the resource, with values as in envelopes. */
  resourceAttributes(): Readonly<Record<string, JsonValue>>;
  /** The `name` and the `version` of the scope, and its attributes, with values as in envelopes. */
  scopeAttributes(): Readonly<Record<string, JsonValue>>;
  /** The record as its sender encoded it. */
  message(): EncodedMessage;
  /** Its Resource message (opentelemetry-proto); the same array for all records of a request that share it. Empty if absent. */
  resourceBytes(): Uint8Array;
  /** Its InstrumentationScope message; the same array for all records of a request that share it. Empty if absent. */
  scopeBytes(): Uint8Array;
  /** The envelope that the record would become as it is. Costs more than all else: the record is encoded and parsed. */
  envelope(): Envelope;
  /** The decoded record, a new one on each call. */
  record(): LogRecord;
}

/** A LogRecord message in protobuf (opentelemetry-proto, logs.proto): the bytes from `start` to before `end`. */
export interface EncodedMessage {
  /** A whole request, shared with other plugins: do not modify it. */
  readonly bytes: Uint8Array;
  /** The index of the message's first byte. */
  readonly start: number;
  /** The index after its last byte. */
  readonly end: number;
}

/**
 * What {@link Processor.inspect} decides: the record stays as it is, byte for byte (`pass`); it is dropped and counts as
 * filtered (`drop`); or it is decoded, and `process` changes it (`process`).
 */
export type Verdict = "pass" | "drop" | "process";
