import { Counters } from "../delivery/counters.ts";
import {
  EnvelopeEncoder,
  isAuditRecord,
  type RecordParts,
  partsOfRecord,
} from "../envelope/encoder.ts";
import { BatchBuilder, type Savepoint } from "../batch/batch-builder.ts";
import {
  decodeOtlpJson,
  decodeOtlpJsonInSteps,
  encodeOtlpJson,
  encodeOtlpJsonInSteps,
} from "../otlp/otlp-json.ts";
import { decodeOtlpProtobuf, decodeOtlpProtobufInSteps } from "../otlp/decode.ts";
import { encodeOtlpProtobufInSteps, encodeOtlpProtobufWithin } from "../otlp/request-encoder.ts";
import { RecordOrigin, type Origin } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import { type RequestCounts, RequestFindings } from "../otlp/findings.ts";
import { rankOf } from "../envelope/severity.ts";
import { DEFAULT_LOGGER_NAMES, LoggerNames } from "../envelope/logger-names.ts";
import type { Steps } from "../otlp/request-limits.ts";
import { LEVELS, type Level, type LevelRank } from "../wire/envelope.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { StoredEvent } from "../journal/journal.ts";
import type { HostLogger, Ingested, Intake, LogRecord } from "../plugin/index.ts";
import { onNextTurn } from "../runtime/timers.ts";
import { AuditEvents, type Receipt, type RequestEvents, type TakenEvent } from "./audit-events.ts";
import { AuditQueue } from "./audit-queue.ts";
import { LargeRequests } from "./large-requests.ts";
import { LossAlarm, Losses, type Marker } from "./losses.ts";
import {
  isAuditEvent,
  processed,
  PROCESSOR_FAILED,
  Rejection,
  type RunningProcessor,
} from "./processors.ts";

export interface IntakeOptions {
  /** System logs below it are filtered. */
  readonly logLevel: Level;
  readonly processors: readonly RunningProcessor[];
  /** What may wait for the journal, in bytes; more is refused, or dropped where nobody can be told. */
  readonly pendingBytesMax: number;
  /** What the journal holds that waits for the disk, in bytes. */
  unstoredBytes(): number;
  /** Takes a batch over; resolves when it is as safe as the journal makes it. */
  append(batch: RecordBatch): Promise<void>;
  /** The newest events with keys that the journal has. */
  readonly storedEvents: readonly StoredEvent[];
  /** The loggers whose records, and whose children's, are audit events. Default: `orchestrator.audit`. */
  readonly auditLoggers?: readonly string[] | undefined;
  readonly log: HostLogger;
}

/** How full the room in front of the journal may be for system logs of each level: the least severe are dropped first. */
const ROOM_PARTS = [0.6, 0.7, 0.8, 0.9, 1] as const;

/** What is worked on in one turn of the event loop, whatever is in it. */
const PROTOBUF_BYTES_MAX = 1 << 20;
const PROTOBUF_STEPS_MAX = 64;
const JSON_BYTES_MAX = 256 << 10;
const DECODED_BYTES_MAX = 128 << 10;

/** Of large requests: the journal seals and stores a batch in one turn. */
const LARGE_SLAB_BYTES = 256 << 10;

/** A request that was taken; what became of it is known when the journal has answered. */
interface TakenRequest {
  readonly ingested: Promise<Ingested>;
}

/** How requests of one form are read. */
interface RequestForm {
  /** Undefined if it is too much for one turn of the event loop, and nothing was done. */
  encode(
    body: Uint8Array,
    open: BatchBuilder,
    lowest: LevelRank,
    loggers: LoggerNames,
    findings: RequestFindings,
  ): RequestCounts | undefined;
  encodeInSteps(
    body: Uint8Array,
    open: BatchBuilder,
    lowest: LevelRank,
    loggers: LoggerNames,
    findings: RequestFindings,
  ): Steps<RequestCounts>;
  decode(body: Uint8Array, findings: RequestFindings): LogRecord[];
  decodeInSteps(body: Uint8Array, findings: RequestFindings): Steps<LogRecord[]>;
}

const PROTOBUF: RequestForm = {
  encode: (body, open, lowest, loggers, findings) =>
    body.length <= PROTOBUF_BYTES_MAX
      ? encodeOtlpProtobufWithin(body, open, lowest, loggers, findings, PROTOBUF_STEPS_MAX)
      : undefined,
  encodeInSteps: encodeOtlpProtobufInSteps,
  decode: decodeOtlpProtobuf,
  decodeInSteps: decodeOtlpProtobufInSteps,
};

const JSON_FORM: RequestForm = {
  encode: (body, open, lowest, loggers, findings) =>
    body.length <= JSON_BYTES_MAX
      ? encodeOtlpJson(body, open, lowest, loggers, findings)
      : undefined,
  encodeInSteps: encodeOtlpJsonInSteps,
  decode: decodeOtlpJson,
  decodeInSteps: decodeOtlpJsonInSteps,
};

const NO_REASONS: readonly string[] = [];

const NO_RECEIPTS: readonly Promise<Receipt>[] = [];

/** How often is looked whether there is room for a loss marker again, and how soon one is repeated that failed. */
const ROOM_INTERVAL_MS = 100;
const MARKER_RETRY_MS = 1_000;

/**
 * The way into the gateway: records of all sources, through the processors, encoded into the open batch, which goes to
 * the journal at the end of the event loop's turn. A caller's `emit` pays for the encoding and for nothing else.
 */
export class RecordIntake implements Intake {
  readonly counters = new Counters();
  readonly #options: IntakeOptions;
  readonly #lowest: LevelRank;
  readonly #loggers: LoggerNames;
  readonly #events: AuditEvents;
  readonly #open: BatchBuilder;
  readonly #encoder: EnvelopeEncoder;
  /** For audit events where there is no room; they go to the queue. */
  readonly #crowded: BatchBuilder;
  readonly #crowdedEncoder: EnvelopeEncoder;
  readonly #queue = new AuditQueue();
  readonly #large = new LargeRequests(() => this.#refuseIfStopped());
  /** Of the large request that is being encoded. */
  #largeOpen: BatchBuilder | undefined;
  readonly #losses = new Losses();
  readonly #alarm: LossAlarm;
  #marker: { readonly batch: RecordBatch; readonly marker: Marker } | undefined;
  #markerTimer: NodeJS.Timeout | undefined;
  /** Settled when what is in the open batch is safe, whatever waits for room; there while a flush is due. */
  #flushed: PromiseWithResolvers<void> | undefined;
  /** What the journal has not yet answered for. */
  readonly #underway = new Set<Promise<unknown>>();
  /** Why the record that came last was not taken. */
  #refusal: TailgateError | undefined;
  #stopped = false;
  /** At the end of the process: hands on what was taken, before the call that has taken it returns. */
  #handOn: (() => void) | undefined;
  /** Nothing but what is logged would keep the process alive. */
  #isHeld = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#lowest = LEVELS.indexOf(options.logLevel) as LevelRank;
    const { auditLoggers } = options;
    this.#loggers =
      auditLoggers === undefined ? DEFAULT_LOGGER_NAMES : new LoggerNames(auditLoggers);
    this.#alarm = new LossAlarm(options.log);
    this.#events = new AuditEvents(options.storedEvents, (key) =>
      options.log.warning(
        `Two audit events have the key ${key} and do not say the same; both are kept.`,
      ),
    );
    this.#open = new BatchBuilder(this.#events);
    this.#encoder = new EnvelopeEncoder(this.#open, this.#lowest, this.#loggers);
    this.#crowded = new BatchBuilder(this.#events);
    this.#crowdedEncoder = new EnvelopeEncoder(this.#crowded, this.#lowest, this.#loggers);
  }

  /** Memory of what waits for the journal, and in it for the disk. */
  get pendingBytes(): number {
    return (
      this.#open.memoryBytes +
      this.#crowded.memoryBytes +
      this.#large.bytes +
      (this.#largeOpen?.memoryBytes ?? 0) +
      this.#queue.bytes +
      this.#options.unstoredBytes()
    );
  }

  /** Records that were taken and are not safe yet. */
  get pendingRecords(): number {
    const { received, filtered, sent, droppedSum } = this.counters;
    return received - filtered - sent - droppedSum;
  }

  /** Takes one record of this process. It never throws; what cannot be taken is counted as dropped. */
  take(parts: RecordParts, origin: Origin): void {
    if (this.#stopped) return this.drop("stopped", stopped());
    if (this.#options.processors.length > 0) this.#takeProcessed(origin.record(0));
    else this.#encode(parts, origin, this.#encoderFor(parts));
    void this.#countRepeats();
    void this.#schedule();
  }

  /**
   * Runs `emit`, which logs one audit event, and resolves with its receipt when it is durable. If a processor makes it a
   * system log, the receipt is that of the system log.
   * @throws TailgateError OVERLOADED, STOPPED, JOURNAL_FULL, JOURNAL_REFUSED, JOURNAL_FAILED, AUDIT_REFUSED
   */
  async receipt(emit: () => void): Promise<Receipt> {
    this.#events.takeLast();
    this.#refusal = undefined;
    const before = this.#open.savepoint();
    emit();
    this.#continue();
    const event = this.#events.takeLast() ?? this.#systemLogSince(before);
    if (event === undefined) {
      throw this.#refusal ?? new TailgateError("AUDIT_REFUSED", "The event was filtered.");
    }
    return await this.#events.receiptOf(event);
  }

  /** Returns the system log that was taken since the savepoint, if one was. */
  #systemLogSince(before: Savepoint): TakenEvent | undefined {
    if (this.#open.countSince(before) === 0) return undefined;
    const batch = this.#open.last;
    return this.#events.add(batch, batch.length - 1);
  }

  /** Counts a record that was left out because of its level before it came here. */
  countFiltered(): void {
    this.counters.received++;
    this.counters.filtered++;
  }

  otlpProtobuf(body: Uint8Array): Promise<Ingested> {
    return this.#request(ownMemory(body), PROTOBUF);
  }

  otlpJson(body: Uint8Array): Promise<Ingested> {
    return this.#request(body, JSON_FORM);
  }

  async #request(body: Uint8Array, form: RequestForm): Promise<Ingested> {
    this.#refuseWhereFull();
    const isProcessed = this.#options.processors.length > 0;
    const findings = new RequestFindings();
    if (isProcessed && body.length <= DECODED_BYTES_MAX) {
      const records = form.decode(body, findings);
      this.#countRejected(findings);
      return withFindings(await this.records(records), findings);
    }
    const counts = isProcessed
      ? undefined
      : form.encode(body, this.#open, this.#lowest, this.#loggers, findings);
    if (counts === undefined) {
      const taken = await this.#large.add(body.length, () => this.#largeRequest(body, form));
      return taken.ingested;
    }
    const { accepted, filtered } = counts;
    this.counters.received += accepted + filtered;
    this.counters.filtered += filtered;
    this.#countRejected(findings);
    const repeats = this.#countRepeats();
    if (accepted > 0) await Promise.all([this.#schedule(), ...repeats]);
    return withFindings(ingested(accepted + filtered, NO_REASONS), findings);
  }

  #countRejected({ rejected }: RequestFindings): void {
    if (rejected === 0) return;
    this.counters.received += rejected;
    this.counters.drop("malformed", rejected);
  }

  /** Encodes a request in many turns, into batches of its own, which go to the journal together. */
  async #largeRequest(body: Uint8Array, form: RequestForm): Promise<TakenRequest> {
    this.#refuseIfStopped();
    if (this.#options.processors.length > 0) return this.#largeProcessed(body, form);
    for (;;) {
      const events = this.#events.forRequest();
      const findings = new RequestFindings();
      const open = new BatchBuilder(events, LARGE_SLAB_BYTES);
      this.#largeOpen = open;
      try {
        const counts = await this.#large.inTurns(
          form.encodeInSteps(body, open, this.#lowest, this.#loggers, findings),
        );
        if (!events.admitAll()) continue;
        this.#countRejected(findings);
        const taken = this.#takeLarge(open, events, counts);
        return { ingested: taken.then((answer) => withFindings(answer, findings)) };
      } finally {
        this.#largeOpen = undefined;
      }
    }
  }

  async #takeLarge(
    open: BatchBuilder,
    events: RequestEvents,
    { accepted, filtered }: RequestCounts,
  ): Promise<Ingested> {
    this.counters.received += accepted + filtered;
    this.counters.filtered += filtered;
    const safe = open
      .end()
      .map((batch) => this.#follow(batch, this.#options.append(batch), events));
    await Promise.all([...safe, ...this.#receiptsOf(events.repeats)]);
    return ingested(accepted + filtered, NO_REASONS);
  }

  async #largeProcessed(body: Uint8Array, form: RequestForm): Promise<TakenRequest> {
    const findings = new RequestFindings();
    const records = await this.#large.inTurns(form.decodeInSteps(body, findings));
    this.#countRejected(findings);
    const reasons: string[] = [];
    const safe = new Set<Promise<unknown>>();
    await this.#large.inTurns(this.#processInSteps(records, reasons, safe));
    return {
      ingested: Promise.all(safe).then(() =>
        withFindings(ingested(records.length, reasons), findings),
      ),
    };
  }

  *#processInSteps(
    records: readonly LogRecord[],
    reasons: string[],
    safe: Set<Promise<unknown>>,
  ): Steps<void> {
    for (const record of records) {
      const reason = this.#takeProcessed(record, this.#encoder);
      if (reason !== undefined) reasons.push(reason);
      safe.add(this.#schedule());
      for (const repeat of this.#countRepeats()) safe.add(repeat);
      yield;
    }
  }

  async records(records: readonly LogRecord[]): Promise<Ingested> {
    this.#refuseWhereFull();
    // A request is taken whole: its sender is told where there is no room.
    const reasons = records
      .map((record) => this.#takeProcessed(record, this.#encoder))
      .filter((reason) => reason !== undefined);
    await Promise.all([this.#schedule(), ...this.#countRepeats()]);
    return ingested(records.length, reasons);
  }

  /** Takes an audit event of the gateway's own, past the processors and after `stop` too; resolves when it is durable. */
  async own(event: LogRecord): Promise<void> {
    const parts = partsOfRecord(event);
    await this.receipt(() => {
      this.#encode(parts, new RecordOrigin([event]), this.#encoderFor(parts));
      void this.#schedule();
    });
  }

  /** Events that have been there are stored once; whoever repeats one waits for that. */
  #countRepeats(): readonly Promise<Receipt>[] {
    return this.#receiptsOf(this.#events.takeRepeats());
  }

  #receiptsOf(repeats: readonly TakenEvent[]): readonly Promise<Receipt>[] {
    if (repeats.length === 0) return NO_RECEIPTS;
    this.counters.filtered += repeats.length;
    const receipts = repeats.map((event) => this.#events.receiptOf(event));
    for (const receipt of receipts) receipt.catch(() => {});
    return receipts;
  }

  /** Answers why the record could not be taken; undefined where it was. */
  #takeProcessed(record: LogRecord, encoder?: EnvelopeEncoder): string | undefined {
    const kept = processed(record, this.#options.processors, this.#loggers);
    if (kept === undefined) {
      this.countFiltered();
      return undefined;
    }
    if (kept instanceof Rejection) return this.#rejected(kept);
    try {
      const parts = partsOfRecord(kept);
      return this.#encode(parts, new RecordOrigin([kept]), encoder ?? this.#encoderFor(parts));
    } catch (error) {
      return this.#notEncodable(error, isAuditEvent(record, this.#loggers));
    }
  }

  /** Returns why the record was rejected, if its sender is told. */
  #rejected({ reason, isAudit, isReported }: Rejection): string | undefined {
    const refusal = new TailgateError("AUDIT_REFUSED", reason);
    this.drop(PROCESSOR_FAILED, refusal);
    if (isAudit) this.#alarm.raise(1, refusal);
    return isReported ? reason : undefined;
  }

  #encode(
    parts: RecordParts,
    origin: Origin,
    encoder: EnvelopeEncoder | undefined,
  ): string | undefined {
    if (encoder === undefined) {
      this.#losses.add("intake_full", rankOf(parts.severityNumber, parts.severityText));
      this.drop("intake_full", overloaded());
      return undefined;
    }
    try {
      const outcome = encoder.encode(parts, origin, 0);
      this.counters.received++;
      if (outcome === "filtered") this.counters.filtered++;
      return undefined;
    } catch (error) {
      return this.#notEncodable(error, isAuditRecord(parts, this.#loggers));
    }
  }

  #notEncodable(error: unknown, isAudit: boolean): string {
    this.#open.abandon();
    this.#crowded.abandon();
    const text = textOf(error);
    const refusal = new TailgateError("AUDIT_REFUSED", `It cannot be encoded: ${text}.`);
    this.drop("not_encodable", refusal);
    if (isAudit) this.#alarm.raise(1, refusal);
    return text;
  }

  /** Undefined for a system log for which there is no room. */
  #encoderFor(parts: RecordParts): EnvelopeEncoder | undefined {
    const { pendingBytesMax } = this.#options;
    const pending = this.pendingBytes;
    if (pending <= ROOM_PARTS[0] * pendingBytesMax && this.#queue.isEmpty) return this.#encoder;
    if (isAuditRecord(parts, this.#loggers)) {
      const isCrowded = pending > pendingBytesMax || !this.#queue.isEmpty;
      return isCrowded ? this.#crowdedEncoder : this.#encoder;
    }
    const rank = rankOf(parts.severityNumber, parts.severityText);
    const hasRoom = pending <= ROOM_PARTS[rank] * pendingBytesMax || rank < this.#lowest;
    return hasRoom ? this.#encoder : undefined;
  }

  /** Counts a record that could not be taken. */
  drop(reason: string, refusal?: TailgateError): void {
    this.counters.received++;
    this.counters.drop(reason, 1);
    this.#refusal = refusal;
  }

  #refuseIfStopped(): void {
    if (this.#stopped) throw stopped();
  }

  #refuseWhereFull(): void {
    this.#refuseIfStopped();
    if (this.pendingBytes > this.#options.pendingBytesMax) throw overloaded();
  }

  /** Sees to it that the open batch is flushed; resolves when it is safe. */
  #schedule(): Promise<void> {
    if (this.#flushed === undefined) {
      this.#flushed = Promise.withResolvers();
      // Nobody has to wait for it: a failure is counted where it happens.
      this.#flushed.promise.catch(() => {});
      if (this.#handOn === undefined && !this.#isHeld) onNextTurn(() => this.#flush());
    }
    const { promise } = this.#flushed;
    this.#handOn?.();
    return promise;
  }

  #flush(): void {
    const flushed = this.#flushed;
    this.#flushed = undefined;
    if (flushed === undefined) return;
    this.#markLosses();
    const safe = this.#open.take().map((batch) => this.#follow(batch, this.#options.append(batch)));
    Promise.all(safe).then(() => flushed.resolve(), flushed.reject);
    // Each event has a receipt of its own.
    for (const batch of this.#crowded.take()) {
      this.#follow(batch, this.#queue.add(batch)).catch(() => {});
    }
    this.#release();
  }

  /** Counts what becomes of the batch's records, and tells those who wait. */
  async #follow(
    batch: RecordBatch,
    safe: Promise<void>,
    events: AuditEvents | RequestEvents = this.#events,
  ): Promise<void> {
    events.follow(batch, safe);
    this.#underway.add(safe);
    try {
      await safe;
      this.counters.sent += batch.length;
    } catch (error) {
      this.#lost(batch, error);
      throw error;
    } finally {
      this.#underway.delete(safe);
      if (this.#marker?.batch === batch) this.#marker = undefined;
      this.#release();
    }
  }

  #lost(batch: RecordBatch, error: unknown): void {
    const reason = TailgateError.is(error) ? error.code.toLowerCase() : "journal_failed";
    this.counters.drop(reason, batch.length);
    const isMarker = this.#marker?.batch === batch;
    if (isMarker) {
      this.#losses.restore(this.#marker!.marker);
      // Also a look whether the journal works again, where nobody else sends anything.
      this.#markLater(MARKER_RETRY_MS);
    }
    let events = 0;
    // The marker is its batch's last record.
    for (let index = 0; index < batch.length - (isMarker ? 1 : 0); index++) {
      if (batch.type(index) === "audit_log") events++;
      else this.#losses.add(reason, batch.rank(index));
    }
    this.#alarm.raise(events, error);
  }

  /** Lets waiting audit events go on where there is room again. */
  #release(): void {
    const hasRoom = (): boolean =>
      this.#stopped || this.#options.unstoredBytes() <= this.#options.pendingBytesMax;
    this.#queue.release(hasRoom, (batch) => this.#options.append(batch));
  }

  /** Puts a loss marker into the open batch, in the place of what was lost; where it is too early, later, or at the end. */
  #markLosses(): void {
    const dueInMs = this.#losses.dueInMs;
    if (dueInMs === undefined || this.#marker !== undefined) return;
    const isFull = this.pendingBytes > this.#options.pendingBytesMax;
    const isEnd = this.#stopped || this.#handOn !== undefined;
    const isEarly = !isEnd && (dueInMs > 0 || isFull);
    if (isEarly) return this.#markLater(Math.max(dueInMs, ROOM_INTERVAL_MS));
    const marker = this.#losses.take();
    const origin = new RecordOrigin([marker.record]);
    new EnvelopeEncoder(this.#open, 0).encode(partsOfRecord(marker.record), origin, 0);
    this.counters.received++;
    this.#marker = { batch: this.#open.last, marker };
  }

  /** Not behind the end: the journal may be closed by then. */
  #markLater(delayMs: number): void {
    if (this.#stopped) return;
    this.#markerTimer ??= setTimeout(() => {
      this.#markerTimer = undefined;
      void this.#schedule();
    }, delayMs).unref();
  }

  /** Hands everything that was taken to the journal; resolves when it is safe or lost. */
  async flush(): Promise<void> {
    this.#flush();
    this.#release();
    await Promise.allSettled(this.#underway);
  }

  /**
   * Nothing is left to do in the process. If it ends now, `flushSync` hands on what is logged from here on: it does not
   * keep the process alive, which would come here again and again. If the process continues, so does this.
   */
  hold(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    AbortSignal.timeout(1).addEventListener("abort", () => this.#continue());
  }

  #continue(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (this.#flushed !== undefined) onNextTurn(() => this.#flush());
  }

  /**
   * Hands everything that was taken to the journal, whatever room there is: the process ends. `handOn` is called for each
   * record that comes from now on, before `take` returns, and is to call this again.
   */
  flushSync(handOn: () => void): void {
    this.#handOn = () => {};
    void this.#schedule();
    this.#flush();
    this.#queue.release(
      () => true,
      (batch) => this.#options.append(batch),
    );
    this.#handOn = handOn;
  }

  /** Takes no more records, tells of the last losses, and flushes. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#markerTimer);
    void this.#schedule();
    await this.flush();
    this.#alarm.flush();
  }
}

function ingested(records: number, reasons: readonly string[]): Ingested {
  const rejected = reasons.length;
  return { accepted: records - rejected, rejected, reason: reasons[0] ?? "" };
}

/** What became of a request, with what was found in it. */
function withFindings(answer: Ingested, findings: RequestFindings): Ingested {
  const { rejected, text, isUnrecognized } = findings;
  if (text === "") return answer;
  return {
    accepted: answer.accepted,
    rejected: answer.rejected + rejected,
    reason: answer.reason === "" ? text : `${answer.reason}; ${text}`,
    ...(isUnrecognized && { unrecognized: true }),
  };
}

/** Copies a body that is a piece of larger memory: the journal keeps it, and would keep all of that memory. */
function ownMemory(body: Uint8Array): Uint8Array {
  return 2 * body.length < body.buffer.byteLength ? new Uint8Array(body) : body;
}

function stopped(): TailgateError {
  return new TailgateError("STOPPED", "The gateway takes no more records.");
}

function overloaded(): TailgateError {
  return new TailgateError("OVERLOADED", "Too much waits for the journal.");
}
