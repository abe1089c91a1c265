import type { Envelope, EnvelopeType, Level } from "../wire/envelope.ts";
import type { LogRecord } from "./record.ts";

/** How records are sent over OTLP. */
export interface OtlpForm {
  /** The logger's name is an attribute of this name too, where the record has none; for stores that drop the scope. */
  readonly loggerAttribute?: string | undefined;
  /**
   * Answers what a sequence is called by: a record gets it as `log.record.uid`, where its sender has given it none, so
   * that one that comes twice is known. `HostJournal.uidOf` is made for it.
   */
  readonly uidOf?: ((sequence: number) => string) | undefined;
}

/**
 * Records in the order of their sequence. Bytes are views into shared memory: read them, never change them, and copy
 * what must live longer than `write`.
 */
export interface Batch {
  readonly length: number;
  /** When the first record was appended to the journal, in milliseconds since 1970, by `HostJournal.clock`. */
  readonly appendedAtMs: number;
  /** Sum of the envelopes' bytes. */
  readonly byteLength: number;
  /** The record's place in the journal, growing by one from record to record, from 1. */
  sequence(index: number): number;
  /** When this record was appended, as {@link appendedAtMs}. A batch may hold records of several UTC days. */
  appendedAt(index: number): number;
  type(index: number): EnvelopeType;
  level(index: number): Level;
  logger(index: number): string;
  /** The envelope's size in bytes. */
  size(index: number): number;
  /** The envelope as JSON, UTF-8. */
  bytes(index: number): Uint8Array;
  /** The envelope's `data` object as JSON, UTF-8. */
  data(index: number): Uint8Array;
  /** The envelope's timestamp, such as `2025-10-13T09:27:24.339163Z`, without parsing the envelope. */
  timestamp(index: number): string;
  /** The envelope, parsed on the first call. */
  envelope(index: number): Envelope;
  /** The OpenTelemetry record, rebuilt on each call. */
  record(index: number): LogRecord;
  /**
   * All records as an ExportLogsServiceRequest in protobuf. Without a form they are as their senders sent them. With
   * one, `{}` at least, they are fit to be sent on: a strict decoder would refuse all of them for one text that is not
   * UTF-8, which has U+FFFD there, or for one id of another length, which is left out.
   */
  otlp(form?: OtlpForm): Uint8Array;
  /** The same as JSON, UTF-8. */
  otlpJson(form?: OtlpForm): Uint8Array;
  /**
   * What ties an audit event to all those before it: SHA-256, 64 hex digits, over the hash of the event before and
   * the event's own line. "" for system logs, for events that are not durable yet, and where the journal is in memory.
   */
  hash(index: number): string;
  /** An audit event's line for the audit file, without its line feed; with `seq` and `hash` where it has a hash. */
  auditLine(index: number): Uint8Array;
  /** All envelopes, each as an unmasked WebSocket text frame (RFC 6455, 5.2), in one piece of memory. */
  frames(): Uint8Array;
  /** What it was joined from, in that order: their frames are there already, and its own are a copy. Absent where it was not. */
  readonly parts?: readonly Batch[];
  /** The records from `index` on. */
  from(index: number): Batch;
  /** The records for which `keep` answers true; the batch itself where it is all of them. */
  select(keep: (index: number) => boolean): Batch;
}
