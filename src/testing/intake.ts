import type { RecordBatch } from "../batch/record-batch.ts";
import { RecordIntake } from "../intake/intake.ts";
import type { MemoryJournal } from "../journal/memory.ts";
import type {
  Access,
  Envelope,
  ErrorCode,
  HostLogger,
  Ingested,
  Intake,
  LogRecord,
  Processor,
} from "../plugin/index.ts";
import { Counters } from "../plugin/metrics.ts";
import { TailgateError, textOf } from "../wire/errors.ts";

/**
 * The intake of a {@link TestHost}. It decodes, processes and encodes as the gateway does, and appends to the host's journal,
 * which is in memory. Records of all levels are accepted, and audit events from INFO up.
 */
export interface TestIntake extends Intake {
  /** The records that were accepted, in order, as exporters get them. Rebuilt on each access. */
  readonly accepted: readonly LogRecord[];
  /** The same records as envelopes. */
  readonly envelopes: readonly Envelope[];
  /** Makes later calls reject with a TailgateError of this code; undefined makes the intake accept again. */
  rejectWith(code: ErrorCode | undefined): void;
  /** Adds a processor, which gets the records of later calls. Its errors are handled as with the default `on_error`. */
  process(id: string, processor: Processor): void;
}

/** The gateway's own intake, in front of a journal in memory. */
export class IntakeOnJournal implements TestIntake {
  readonly #intake: RecordIntake;
  readonly #processors: ConstructorParameters<typeof RecordIntake>[0]["processors"][number][] = [];
  readonly #batches: RecordBatch[] = [];
  readonly #log: HostLogger;
  #rejection: ErrorCode | undefined;

  constructor(journal: MemoryJournal, log: HostLogger) {
    this.#log = log;
    this.#intake = new RecordIntake({
      logLevel: "DEBUG",
      processors: this.#processors,
      pendingBytesMax: Infinity,
      unstoredBytes: () => 0,
      storedEvents: [],
      append: (batch) => {
        this.#batches.push(batch);
        return journal.append(batch);
      },
      log,
    });
  }

  get accepted(): readonly LogRecord[] {
    return this.#all((batch, index) => batch.record(index));
  }

  get envelopes(): readonly Envelope[] {
    return this.#all((batch, index) => batch.envelope(index));
  }

  #all<Part>(read: (batch: RecordBatch, index: number) => Part): Part[] {
    return this.#batches.flatMap((batch) =>
      Array.from({ length: batch.length }, (_, index) => read(batch, index)),
    );
  }

  rejectWith(code: ErrorCode | undefined): void {
    this.#rejection = code;
  }

  process(id: string, processor: Processor): void {
    this.#processors.push({
      id,
      processor,
      counters: new Counters(),
      lastError: undefined,
      failed: (error) => this.#log.error("A record could not be processed.", textOf(error)),
    });
  }

  otlpProtobuf(body: Uint8Array, access?: Access): Promise<Ingested> {
    return this.#call(() => this.#intake.otlpProtobuf(body, access));
  }

  otlpJson(body: Uint8Array, access?: Access): Promise<Ingested> {
    return this.#call(() => this.#intake.otlpJson(body, access));
  }

  records(records: readonly LogRecord[], access?: Access): Promise<Ingested> {
    return this.#call(() => this.#intake.records(records, access));
  }

  /** Accepts a record of a processor's own, behind that processor. */
  emit(record: LogRecord, id: string): void {
    this.#intake.emit(record, { id });
  }

  async #call(ingest: () => Promise<Ingested>): Promise<Ingested> {
    if (this.#rejection === undefined) return ingest();
    throw new TailgateError(this.#rejection, "The test makes the intake reject this call.");
  }

  /** Accepts no more records: calls reject with STOPPED. */
  stop(): Promise<void> {
    return this.#intake.stop();
  }
}
