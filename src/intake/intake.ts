import { Counters } from "../delivery/counters.ts";
import { EnvelopeEncoder, type Outcome, type RecordParts } from "../encode/envelope-encoder.ts";
import { partsOfRecord } from "../encode/from-record.ts";
import { OpenBatch } from "../encode/open-batch.ts";
import { decodeOtlpJson, encodeOtlpJson } from "../encode/otlp-json.ts";
import { decodeOtlpProtobuf } from "../encode/otlp-protobuf.ts";
import { RecordOrigin } from "../encode/otlp-writer.ts";
import { encodeOtlpProtobuf } from "../encode/otlp-transcoder.ts";
import type { Origin, RecordBatch } from "../encode/record-batch.ts";
import type { RequestCounts } from "../encode/request-counts.ts";
import { isAuditLogger, LEVELS, type Level, type LevelRank } from "../envelope.ts";
import { TailgateError, textOf } from "../errors.ts";
import type { Ingested, Intake, LogRecord, Processor } from "../plugin.ts";

/** A processor at work, with what became of the records that it saw. */
export interface RunningProcessor {
  readonly processor: Processor;
  readonly counters: Counters;
  /** Why it threw last; undefined where it has worked since. */
  trouble: string | undefined;
  /** Told what it threw first. */
  failed(error: unknown): void;
}

export interface IntakeOptions {
  /** System logs below it are filtered. */
  readonly logLevel: Level;
  readonly processors: readonly RunningProcessor[];
  /** What may wait for the next flush, in bytes; more is refused, or dropped where nobody can be told. */
  readonly pendingBytesMax: number;
  /** Takes a batch over; resolves when it is as safe as the journal makes it. */
  append(batch: RecordBatch): Promise<void>;
}

/** About what a record that is kept as an object takes in memory beside its envelope. */
const RECORD_BYTES = 1024;

/**
 * The way into the gateway: records of all sources, through the processors, encoded into the open batch, which goes to
 * the journal at the end of the event loop's turn. A caller's `emit` pays for the encoding and for nothing else.
 */
export class RecordIntake implements Intake {
  readonly counters = new Counters();
  readonly #options: IntakeOptions;
  readonly #lowest: LevelRank;
  readonly #open = new OpenBatch();
  readonly #encoder: EnvelopeEncoder;
  /** Settled when what is in the open batch is safe; there while a flush is due. */
  #flushed: PromiseWithResolvers<void> | undefined;
  #stopped = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#lowest = LEVELS.indexOf(options.logLevel) as LevelRank;
    this.#encoder = new EnvelopeEncoder(this.#open, this.#lowest);
  }

  /** Memory of what waits for the next flush. */
  get pendingBytes(): number {
    return this.#open.memoryBytes;
  }

  /** Takes one record of this process. It never throws; what cannot be taken is counted as dropped. */
  take(parts: RecordParts, origin: Origin): void {
    if (this.#stopped) return this.drop("stopped");
    if (this.#hasNoRoomFor(parts)) return this.drop("intake_full");
    if (this.#options.processors.length > 0) this.#takeProcessed(origin.record(0));
    else this.#encode(() => parts, origin);
    void this.#schedule();
  }

  /** Counts a record that was left out because of its level before it came here. */
  countFiltered(): void {
    this.counters.received++;
    this.counters.filtered++;
  }

  otlpProtobuf(body: Uint8Array): Promise<Ingested> {
    return this.#request(body, encodeOtlpProtobuf, decodeOtlpProtobuf);
  }

  otlpJson(body: Uint8Array): Promise<Ingested> {
    return this.#request(body, encodeOtlpJson, decodeOtlpJson);
  }

  async #request(
    body: Uint8Array,
    encode: (body: Uint8Array, open: OpenBatch, lowest: LevelRank) => RequestCounts,
    decode: (body: Uint8Array) => LogRecord[],
  ): Promise<Ingested> {
    this.#refuseWhereFull();
    if (this.#options.processors.length > 0) return this.records(decode(body));
    const { accepted, filtered } = encode(body, this.#open, this.#lowest);
    this.counters.received += accepted + filtered;
    this.counters.filtered += filtered;
    this.counters.sent += accepted;
    if (accepted > 0) await this.#schedule();
    return { accepted: accepted + filtered, rejected: 0, reason: "" };
  }

  async records(records: readonly LogRecord[]): Promise<Ingested> {
    this.#refuseWhereFull();
    const reasons = records.map((record) => this.#takeProcessed(record)).filter(Boolean);
    await this.#schedule();
    return {
      accepted: records.length - reasons.length,
      rejected: reasons.length,
      reason: reasons[0] ?? "",
    };
  }

  /** Answers why the record could not be taken; undefined where it was. */
  #takeProcessed(record: LogRecord): string | undefined {
    const processed = this.#processed(record);
    if (processed === undefined) {
      this.countFiltered();
      return undefined;
    }
    const origin = new RecordOrigin([processed], RECORD_BYTES);
    return this.#encode(() => partsOfRecord(processed), origin);
  }

  #processed(record: LogRecord): LogRecord | undefined {
    let current = record;
    for (const running of this.#options.processors) {
      const { processor, counters } = running;
      counters.received++;
      try {
        const next = processor.process(current);
        running.trouble = undefined;
        if (next === undefined) {
          counters.filtered++;
          return undefined;
        }
        current = next;
      } catch (error) {
        if (counters.failed++ === 0) running.failed(error);
        running.trouble = textOf(error);
      }
      counters.sent++;
    }
    return current;
  }

  #encode(parts: () => RecordParts, origin: Origin): string | undefined {
    this.counters.received++;
    let outcome: Outcome;
    try {
      outcome = this.#encoder.encode(parts(), origin, 0);
    } catch (error) {
      this.#open.abandon();
      this.counters.drop("not_encodable", 1);
      return textOf(error);
    }
    if (outcome === "filtered") this.counters.filtered++;
    else this.counters.sent++;
    return undefined;
  }

  /** Counts a record that could not be taken. */
  drop(reason: string): void {
    this.counters.received++;
    this.counters.drop(reason, 1);
  }

  get #isFull(): boolean {
    return this.pendingBytes > this.#options.pendingBytesMax;
  }

  /** Where system logs have used all room, audit events may use as much again. */
  #hasNoRoomFor({ loggerName }: RecordParts): boolean {
    if (!this.#isFull) return false;
    return !isAuditLogger(loggerName) || this.pendingBytes > 2 * this.#options.pendingBytesMax;
  }

  #refuseWhereFull(): void {
    if (this.#stopped) throw new TailgateError("STOPPED", "The gateway takes no more records.");
    if (this.#isFull) throw new TailgateError("OVERLOADED", "Too much waits for the journal.");
  }

  /** Sees to it that the open batch is flushed; resolves when it is safe. */
  #schedule(): Promise<void> {
    if (this.#flushed === undefined) {
      this.#flushed = Promise.withResolvers();
      // Nobody has to wait for it: a failure is the journal's to report.
      this.#flushed.promise.catch(() => {});
      setImmediate(() => this.#flush());
    }
    return this.#flushed.promise;
  }

  #flush(): void {
    const flushed = this.#flushed;
    this.#flushed = undefined;
    if (flushed === undefined) return;
    const appends = this.#open.take().map((batch) => this.#options.append(batch));
    Promise.all(appends).then(() => flushed.resolve(), flushed.reject);
  }

  /** Hands everything that was taken to the journal; resolves when it is safe. */
  async flush(): Promise<void> {
    const flushed = this.#flushed?.promise;
    this.#flush();
    await flushed;
  }

  /** Takes no more records, and flushes. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.flush();
  }
}
