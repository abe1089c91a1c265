import type { Envelope, EnvelopeType, JsonValue, Level } from "../wire/envelope.ts";
import type { LogRecord } from "./record.ts";

/**
 * Records in the order of their sequence numbers; `index` counts from 0 to `length - 1`. Each form of a record is made when
 * it is asked for. Byte arrays are views into memory that all exporters share: do not modify them, and copy what you need
 * after `write` has resolved.
 */
export interface Batch {
  /** The number of records. */
  readonly length: number;
  /** When the first record was appended to the journal, in milliseconds since 1970, by `HostJournal.clock`. */
  readonly appendedAtMs: number;
  /** The total size of the envelopes, with their frame headers, in bytes. */
  readonly byteLength: number;
  /** The record's sequence number in the journal, which starts at 1 and grows from record to record. */
  sequence(index: number): number;
  /** When the record was appended, like {@link appendedAtMs}. A batch may hold records of several UTC days. */
  appendedAt(index: number): number;
  /** Whether the record is a system log or an audit event. */
  type(index: number): EnvelopeType;
  /** The record's level, without parsing the envelope. */
  level(index: number): Level;
  /** The name of the record's logger, without parsing the envelope. */
  logger(index: number): string;
  /** The size of the envelope in bytes. */
  size(index: number): number;
  /** The envelope as JSON in UTF-8. */
  bytes(index: number): Uint8Array<ArrayBuffer>;
  /** The envelope's `data` object as JSON in UTF-8. */
  data(index: number): Uint8Array<ArrayBuffer>;
  /** The envelope's timestamp, such as `2025-10-13T09:27:24.339163Z`, without parsing the envelope. */
  timestamp(index: number): string;
  /** The envelope as an object, parsed on the first call. Shared with other exporters: do not modify it. */
  envelope(index: number): Envelope;
  /**
   * The attributes of the record's resource, with values as in envelopes; decoded on the first call. Shared: do not modify
   * them. Records of this process have those of its own resource.
   */
  resourceAttributes(index: number): Readonly<Record<string, JsonValue>>;
  /** The `name` and the `version` of the record's scope, and its attributes, in the same way. */
  scopeAttributes(index: number): Readonly<Record<string, JsonValue>>;
  /** The OpenTelemetry record, rebuilt on each call, and so yours to modify, except for `resource` and `scope`. */
  record(index: number): LogRecord;
  /**
   * Encodes all records as one ExportLogsServiceRequest in protobuf. Without `form` the records are as their senders sent
   * them. With `form`, `{}` at least, they are repaired for strict decoders, which would reject the whole request: bytes
   * that are not UTF-8 become U+FFFD, and ids of a wrong length are left out.
   */
  otlp(form?: OtlpForm): Uint8Array<ArrayBuffer>;
  /** Encodes all records like {@link otlp}, as JSON in UTF-8. */
  otlpJson(form?: OtlpForm): Uint8Array<ArrayBuffer>;
  /**
   * The hash that links an audit event to all earlier ones: SHA-256, as 64 hex digits, over the previous event's hash and
   * this event's line. "" for system logs, for events that are not durable yet, and if the journal is in memory.
   */
  hash(index: number): string;
  /** The audit event's line in the audit file, without the line feed; with `seq` and `hash` if it has a hash. */
  auditLine(index: number): Uint8Array<ArrayBuffer>;
  /** All envelopes as unmasked WebSocket text frames (RFC 6455, section 5.2), in one contiguous array. */
  frames(): Uint8Array<ArrayBuffer>;
  /** The batches that this one was joined from; their `frames()` are cached, while its own would be a copy. */
  readonly parts?: readonly Batch[];
  /** Returns the records from `index` on. */
  from(index: number): Batch;
  /** Returns the records for which `keep` returns true; the batch itself if that is all of them. */
  select(keep: (index: number) => boolean): Batch;
}

/** How {@link Batch.otlp} encodes records that are forwarded. */
export interface OtlpForm {
  /**
   * Also writes the logger's name to this attribute, unless the record has it. For backends that drop the instrumentation
   * scope.
   */
  readonly loggerAttribute?: string | undefined;
  /**
   * Returns the id of a sequence number, such as `HostJournal.uidOf` does. It becomes the record's `log.record.uid`, unless
   * its sender has set one, so that duplicates can be recognized.
   */
  readonly uidOf?: ((sequence: number) => string) | undefined;
}
