import { originOfEncoded, originOfRecords, type Origin } from "../batch/origin.ts";
import { BatchBuilder } from "../batch/batch-builder.ts";
import { Counters } from "../plugin/metrics.ts";
import {
  EnvelopeEncoder,
  isAuditRecord,
  partsOfRecord,
  type RecordParts,
} from "../envelope/encoder.ts";
import { LoggerNames, rankOf } from "../envelope/prefix.ts";
import { ANYONE, type Sender } from "../envelope/sender.ts";
import type { StoredEvent } from "../journal/journal.ts";
import { changedRecord } from "../otlp/changed-record.ts";
import { encodeLogRecord, type EncodedRecord } from "../otlp/encode.ts";
import { RequestFindings, type RequestCounts } from "../otlp/findings.ts";
import type { Steps } from "../otlp/request-limits.ts";
import type { Access, Ingested, Intake, LogRecord } from "../plugin/index.ts";
import { AUDIT_LOGGER, LEVELS, type Level, type LevelRank } from "../wire/envelope.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { AuditEvents, RequestEvents, type AcceptedEvent, type Receipt } from "./audit-events.ts";
import { overloaded, JournalFeed, type JournalFeedOptions } from "./journal-feed.ts";
import {
  PROCESSOR_FAILED,
  ProcessorRejection,
  runProcessors,
  viewOf,
  type Processed,
  type ProcessedRecord,
  type RunningProcessor,
} from "./processors.ts";
import type { RequestView } from "./record-view.ts";
import { checkEncodable, processRequest } from "./request-processing.ts";
import {
  FORBIDDEN,
  forbiddenRequest,
  ingested,
  JSON_FORM,
  PROCESSED_FORM,
  LargeRequests,
  ownMemory,
  PROTOBUF_FORM,
  senderOf,
  TURN_MS,
  withFindings,
  withForbidden,
  type RequestForm,
} from "./requests.ts";

export interface IntakeOptions extends Pick<
  JournalFeedOptions,
  "pendingBytesMax" | "unstoredBytes" | "append" | "log"
> {
  /** System logs below this level are filtered. */
  readonly logLevel: Level;
  /** Read for each request and for each record of this process: a reload replaces them. */
  readonly processors: readonly RunningProcessor[];
  /** The journal's newest events with idempotency keys. */
  readonly storedEvents: readonly StoredEvent[];
  /** Loggers whose records, and whose children's, are audit events. Default: `orchestrator.audit`. */
  readonly auditLoggers?: readonly string[] | undefined;
  /** The attributes of the resource that envelopes have; default: none. */
  readonly resourceAttributes?: readonly string[] | undefined;
}

/** What became of one record. */
export type IntakeOutcome =
  /** `event` is what {@link RecordIntake.receipt} needs; undefined if no receipt was asked for. */
  | { readonly status: "accepted"; readonly event: AcceptedEvent | undefined }
  | { readonly status: "filtered" }
  | RejectedRecord;

export interface RejectedRecord {
  readonly status: "rejected";
  readonly error: TailgateError;
  /** What the sender of a request is told; undefined if nothing. */
  readonly reason?: string;
}

type ProcessOutcome =
  | "unchanged"
  | ProcessedRecord
  | Exclude<IntakeOutcome, { status: "accepted" }>;

const ACCEPTED: IntakeOutcome = { status: "accepted", event: undefined };
const FILTERED = { status: "filtered" } as const;

/** The slabs of large requests are small, because the journal compresses and stores a batch in one turn. */
const LARGE_SLAB_BYTES = 256 << 10;

const NO_RECEIPTS: readonly Promise<Receipt>[] = [];

/** A large request that was accepted; the answer follows when the journal has stored it. */
interface AcceptedRequest {
  readonly answer: Promise<Ingested>;
}

/**
 * The way into the gateway. Records of all sources go through the processors and are encoded into the open batch, which
 * is appended to the journal at the end of the event loop's turn. A caller's `emit` pays for the encoding only.
 */
export class RecordIntake implements Intake {
  readonly counters = new Counters();
  readonly #options: IntakeOptions;
  #lowest: LevelRank;
  readonly #loggers: LoggerNames;
  readonly #events: AuditEvents;
  readonly #feed: JournalFeed;
  readonly #large = new LargeRequests(() => this.#checkRunning());
  /** The batch of the large request that is being encoded. */
  #largeOpen: BatchBuilder | undefined;
  /** What the processors emit while a record of a request passes them; undefined if none does. */
  #emitted: Emitted[] | undefined;
  #stopped = false;

  constructor(options: IntakeOptions) {
    const {
      logLevel,
      auditLoggers = [AUDIT_LOGGER],
      resourceAttributes,
      storedEvents,
      log,
    } = options;
    this.#options = options;
    this.#lowest = LEVELS.indexOf(logLevel) as LevelRank;
    this.#loggers = new LoggerNames(auditLoggers, resourceAttributes);
    this.#events = new AuditEvents(storedEvents, (key) =>
      log.warning(`Two different audit events have the key ${key}. Both are stored.`),
    );
    this.#feed = new JournalFeed({
      ...options,
      requestBytes: () => this.#large.bytes + (this.#largeOpen?.memoryBytes ?? 0),
      events: this.#events,
      counters: this.counters,
      lowest: this.#lowest,
      loggers: this.#loggers,
    });
  }

  /** Filters system logs below this level from now on. */
  setLogLevel(level: Level): void {
    this.#lowest = LEVELS.indexOf(level) as LevelRank;
    this.#feed.setLowest(this.#lowest);
  }

  /** The memory of what waits for the journal, and in the journal for the commit, in bytes. */
  get pendingBytes(): number {
    return this.#feed.pendingBytes;
  }

  /** The number of records that were accepted and are not durable yet. */
  get pendingRecords(): number {
    const { received, filtered, sent, droppedSum } = this.counters;
    return received - filtered - sent - droppedSum;
  }

  /**
   * Accepts one record of this process. Never throws; a rejected record is counted as dropped. With `wantsReceipt`, the
   * outcome can be passed to {@link receipt}.
   */
  accept(parts: RecordParts, origin: Origin, wantsReceipt = false): IntakeOutcome {
    if (this.#stopped) return this.reject("stopped", stopped());
    const outcome =
      this.#options.processors.length > 0
        ? this.#acceptProcessed({ parts, sent: origin.otlp(0), isOwn: true }, { wantsReceipt })
        : this.#encode(parts, origin, this.#feed.encoderFor(parts), wantsReceipt);
    if (this.#events.hasDuplicates) void this.#countDuplicates();
    void this.#feed.schedule();
    return outcome;
  }

  /**
   * Resolves with the receipt of a record when it is durable. If a processor turned an audit event into a system log, it
   * is the receipt of the system log.
   * @throws TailgateError OVERLOADED, STOPPED, JOURNAL_FULL, JOURNAL_REFUSED, JOURNAL_FAILED, AUDIT_REFUSED
   */
  async receipt(outcome: IntakeOutcome): Promise<Receipt> {
    this.#feed.resume();
    if (outcome.status === "rejected") throw outcome.error;
    if (outcome.status === "filtered" || outcome.event === undefined) {
      throw new TailgateError("AUDIT_REFUSED", "The event was filtered.");
    }
    return await this.#events.receipt(outcome.event);
  }

  /** Accepts an audit event of the gateway itself, without processors and after `stop` too; resolves when it is durable. */
  async acceptOwn(event: LogRecord): Promise<void> {
    const parts = partsOfRecord(event);
    const origin = originOfRecords([event]);
    const outcome = this.#encode(parts, origin, this.#feed.encoderFor(parts), true);
    void this.#feed.schedule();
    await this.receipt(outcome);
  }

  /** Accepts a record of a processor's own, which passes the processors after it. Never throws. */
  emit(record: LogRecord, { id }: Pick<RunningProcessor, "id">): void {
    if (this.#stopped) {
      this.reject("stopped", stopped());
      return;
    }
    const all = this.#options.processors;
    const processors = all.slice(all.findIndex((running) => running.id === id) + 1);
    if (this.#emitted !== undefined) {
      this.#emitted.push({ record, processors });
      return;
    }
    this.#acceptReceived(record, { processors });
    void this.#feed.schedule();
  }

  /** Counts a record that cannot be accepted, by reason. */
  reject(reason: string, error: TailgateError): RejectedRecord {
    this.counters.received++;
    this.counters.drop(reason, 1);
    return { status: "rejected", error };
  }

  countFiltered(): void {
    this.counters.received++;
    this.counters.filtered++;
  }

  otlpProtobuf(body: Uint8Array, access?: Access): Promise<Ingested> {
    return this.#request(ownMemory(body), PROTOBUF_FORM, access);
  }

  otlpJson(body: Uint8Array, access?: Access): Promise<Ingested> {
    return this.#request(body, JSON_FORM, access);
  }

  /** Accepts records of a receiver, all of them or none: a sender can be told that there is no capacity. */
  async records(records: readonly LogRecord[], access?: Access): Promise<Ingested> {
    this.#checkCapacity();
    const sender = senderOf(access);
    const { encoder } = this.#feed;
    const request = new ReceivedRecords(sender);
    for (const record of records) {
      request.add(this.#acceptReceived(record, { encoder, sender }));
    }
    request.checkForbidden();
    await Promise.all([this.#feed.schedule(), ...this.#countDuplicates()]);
    return request.answer();
  }

  async #request(
    body: Uint8Array,
    form: RequestForm,
    access: Access | undefined,
  ): Promise<Ingested> {
    this.#checkCapacity();
    const sender = senderOf(access);
    if (this.#options.processors.length > 0) return this.#processedRequest(body, form, sender);
    return this.#encodedRequest(body, form, sender, new ReceivedRecords(sender));
  }

  /** Runs the records through the processors, and then accepts the request that they leave. */
  async #processedRequest(body: Uint8Array, form: RequestForm, sender: Sender): Promise<Ingested> {
    const findings = new RequestFindings();
    const request = new ReceivedRecords(sender);
    const work = this.#processInSteps(body, form, request, findings);
    try {
      const processed =
        firstTurn(work) ?? (await this.#large.add(body.length, () => this.#large.inTurns(work)));
      this.#countMalformed(findings);
      const left = processed === body ? PROTOBUF_FORM : PROCESSED_FORM;
      return withFindings(await this.#encodedRequest(processed, left, sender, request), findings);
    } catch (error) {
      // What processors have emitted stands for records of other requests.
      for (const one of request.takeInserted()) this.#acceptEmitted(one);
      throw error;
    }
  }

  *#processInSteps(
    body: Uint8Array,
    form: RequestForm,
    request: ReceivedRecords,
    findings: RequestFindings,
  ): Steps<Uint8Array> {
    const { processors } = this.#options;
    const protobuf = form.toProtobuf ? yield* form.toProtobuf(body, findings) : body;
    const isJson = form.toProtobuf !== undefined;
    const { sender } = request;
    const options = {
      loggers: this.#loggers,
      removesUnread: processors.some(({ failsClosed }) => failsClosed === true),
      findings: isJson ? undefined : findings,
    };
    return yield* processRequest(protobuf, options, (view, insert) => {
      const emitted: Emitted[] = [];
      this.#emitted = emitted;
      let result: ProcessOutcome;
      try {
        result = this.#process(view, sender, processors);
      } finally {
        this.#emitted = undefined;
        for (const one of emitted) {
          const processed = this.#processEmitted(one, sender);
          if (processed === undefined) continue;
          insert(processed.stored);
          request.inserted.push(processed);
        }
      }
      if (typeof result === "string" || !("status" in result)) return result;
      request.add(result);
      return undefined;
    });
  }

  /**
   * Runs what a processor has emitted through the others, and returns it to be inserted into the request; undefined if it
   * does not belong there: the sender has not sent it, may not send it, or an audit event would name the sender.
   */
  #processEmitted(
    { record, processors }: Emitted,
    { maySendSystemLogs }: Sender,
  ): ProcessedEmitted | undefined {
    let stored: EncodedRecord;
    let left = record;
    try {
      stored = encodeLogRecord(record);
      const result = this.#process(viewOf(stored, this.#loggers), ANYONE, processors);
      if (result !== "unchanged" && "status" in result) return undefined;
      if (result !== "unchanged") ({ record: left, after: stored } = result);
    } catch (error) {
      this.#rejectUnencodable(error, false);
      return undefined;
    }
    const processed = { parts: partsOfRecord(left), stored };
    if (maySendSystemLogs && !isAuditRecord(processed.parts, this.#loggers)) return processed;
    this.#acceptEmitted(processed);
    return undefined;
  }

  #acceptEmitted({ parts, stored }: ProcessedEmitted): void {
    this.#encode(parts, originOfEncoded(stored, false), this.#feed.encoderFor(parts), false);
    void this.#feed.schedule();
  }

  /** Accepts a request without processors; `request` knows what became of its other records. */
  async #encodedRequest(
    body: Uint8Array,
    form: RequestForm,
    sender: Sender,
    request: ReceivedRecords,
  ): Promise<Ingested> {
    const findings = new RequestFindings();
    const counts = form.encode(
      body,
      this.#feed.open,
      this.#lowest,
      this.#loggers,
      findings,
      sender,
    );
    if (counts === undefined) {
      const work = (): Promise<AcceptedRequest> => this.#largeRequest(body, form, request);
      const accepted = await this.#large.add(body.length, work);
      return accepted.answer;
    }
    this.#countReceived(counts);
    this.#countMalformed(findings);
    request.addCounts(counts);
    request.checkForbidden();
    const duplicates = this.#countDuplicates();
    if (counts.accepted > 0) await Promise.all([this.#feed.schedule(), ...duplicates]);
    return withFindings(request.answer(), findings);
  }

  /** Encodes a request in many turns, into batches of its own that are appended together. */
  async #largeRequest(
    body: Uint8Array,
    form: RequestForm,
    request: ReceivedRecords,
  ): Promise<AcceptedRequest> {
    this.#checkRunning();
    const { sender } = request;
    for (;;) {
      const events = new RequestEvents(this.#events);
      const findings = new RequestFindings();
      const open = new BatchBuilder(events, LARGE_SLAB_BYTES);
      this.#largeOpen = open;
      try {
        const counts = await this.#large.inTurns(
          form.encodeInSteps(body, open, this.#lowest, this.#loggers, findings, sender),
        );
        if (!events.admitAll()) continue;
        this.#countReceived(counts);
        this.#countMalformed(findings);
        request.addCounts(counts);
        request.checkForbidden();
        const stored = this.#appendLarge(open, events);
        const answer = (): Ingested => withFindings(request.answer(), findings);
        return { answer: stored.then(answer) };
      } finally {
        this.#largeOpen = undefined;
      }
    }
  }

  async #appendLarge(open: BatchBuilder, events: RequestEvents): Promise<void> {
    const stored = open
      .end()
      .map((batch) => this.#feed.follow(batch, this.#options.append(batch), events));
    await Promise.all([...stored, ...this.#receipts(events.duplicates)]);
  }

  #countReceived({ accepted, filtered, forbidden }: RequestCounts): void {
    this.counters.received += accepted + filtered + forbidden;
    this.counters.filtered += filtered;
    this.counters.drop(FORBIDDEN, forbidden);
  }

  #countMalformed({ rejected }: RequestFindings): void {
    if (rejected === 0) return;
    this.counters.received += rejected;
    this.counters.drop("malformed", rejected);
  }

  /** Counts duplicates of earlier events, which are not stored again. Returns the receipts of the originals. */
  #countDuplicates(): readonly Promise<Receipt>[] {
    if (!this.#events.hasDuplicates) return NO_RECEIPTS;
    return this.#receipts(this.#events.drainDuplicates());
  }

  #receipts(duplicates: readonly AcceptedEvent[]): readonly Promise<Receipt>[] {
    if (duplicates.length === 0) return NO_RECEIPTS;
    this.counters.filtered += duplicates.length;
    const receipts = duplicates.map((event) => this.#events.receipt(event));
    for (const receipt of receipts) receipt.catch(() => {});
    return receipts;
  }

  /** Accepts a record of a plugin. */
  #acceptReceived(record: LogRecord, options: ProcessOptions): IntakeOutcome {
    let sent: EncodedRecord;
    try {
      sent = encodeLogRecord(record);
    } catch (error) {
      return this.#rejectUnencodable(error, false);
    }
    return this.#acceptProcessed({ parts: partsOfRecord(record), sent, isOwn: false }, options);
  }

  /** Runs one record through the processors, and encodes it as it came if they change nothing. */
  #acceptProcessed(
    { parts, sent, isOwn }: GivenRecord,
    { encoder, sender = ANYONE, wantsReceipt = false, processors }: ProcessOptions,
  ): IntakeOutcome {
    const view = viewOf(sent, this.#loggers);
    const result = this.#process(view, sender, processors ?? this.#options.processors);
    if (result !== "unchanged" && "status" in result) return result;
    try {
      const stored =
        result === "unchanged" ? sent : changedRecord(sent, result.before, result.after);
      const remaining = stored === sent ? parts : partsOfChanged(result as ProcessedRecord, isOwn);
      const origin = originOfEncoded(stored, isOwn);
      const chosen = encoder ?? this.#feed.encoderFor(remaining);
      return this.#encode(remaining, origin, chosen, wantsReceipt, sender);
    } catch (error) {
      return this.#rejectUnencodable(error, view.type() === "audit_log");
    }
  }

  /** Processors may change the type of a record, so both types must be permitted; the encoder checks the second one. */
  #process(
    view: RequestView,
    sender: Sender,
    processors: readonly RunningProcessor[],
  ): ProcessOutcome {
    if (sender.lack !== "" && !permits(sender, view.type() === "audit_log")) {
      return this.#forbid(sender);
    }
    let result: Processed;
    try {
      result = runProcessors(view, processors, this.#loggers);
      if (typeof result === "object" && "after" in result) checkEncodable(result.after);
    } catch (error) {
      if (TailgateError.is(error) && error.code === "OTLP_UNDECODABLE") throw error;
      return this.#rejectUnencodable(error, view.type() === "audit_log");
    }
    if (result === "dropped") {
      this.countFiltered();
      return FILTERED;
    }
    if (!(result instanceof ProcessorRejection)) return result;
    const { reason, isAudit, isReported } = result;
    const outcome = this.#refuse(PROCESSOR_FAILED, reason, isAudit);
    return isReported ? { ...outcome, reason } : outcome;
  }

  /** Encodes a record into the open batch; drops it if there is no encoder, that is, no capacity. */
  #encode(
    parts: RecordParts,
    origin: Origin,
    encoder: EnvelopeEncoder | undefined,
    wantsReceipt: boolean,
    sender = ANYONE,
  ): IntakeOutcome {
    if (encoder === undefined) {
      this.#feed.marker.add("intake_full", rankOf(parts.severityNumber, parts.severityText));
      return this.reject("intake_full", overloaded());
    }
    try {
      const result = encoder.encode(parts, origin, 0, sender);
      if (result === "forbidden") return this.#forbid(sender);
      this.counters.received++;
      if (result === "filtered") {
        this.counters.filtered++;
        return FILTERED;
      }
      return wantsReceipt ? this.#acceptedEvent(parts) : ACCEPTED;
    } catch (error) {
      return this.#rejectUnencodable(error, isAuditRecord(parts, this.#loggers));
    }
  }

  #forbid(sender: Sender): RejectedRecord {
    return this.reject(FORBIDDEN, forbiddenRequest(sender, 1));
  }

  /** Returns the outcome for the record that was encoded last, with what its receipt needs. */
  #acceptedEvent(parts: RecordParts): IntakeOutcome {
    if (isAuditRecord(parts, this.#loggers)) {
      return { status: "accepted", event: this.#events.newest };
    }
    const batch = this.#feed.open.last;
    return { status: "accepted", event: this.#events.follow(batch, batch.length - 1) };
  }

  #rejectUnencodable(error: unknown, isAudit: boolean): RejectedRecord {
    this.#feed.abandon();
    const reason = textOf(error);
    return {
      ...this.#refuse("not_encodable", `It cannot be encoded: ${reason}.`, isAudit),
      reason,
    };
  }

  #refuse(counter: string, text: string, isAudit: boolean): RejectedRecord {
    const error = new TailgateError("AUDIT_REFUSED", text);
    if (isAudit) this.#feed.alarm.raise(1, error);
    return this.reject(counter, error);
  }

  #checkRunning(): void {
    if (this.#stopped) throw stopped();
  }

  #checkCapacity(): void {
    this.#checkRunning();
    if (this.#feed.isFull) throw overloaded();
  }

  /** Resolves when the large requests that have begun are through: they keep the processors that they began with. */
  async processed(): Promise<void> {
    await this.#large.done();
  }

  /** Appends everything that was accepted to the journal; resolves when it is durable or lost. */
  flush(): Promise<void> {
    return this.#feed.flush();
  }

  hold(): void {
    this.#feed.hold();
  }

  flushSync(flushNow: () => void): void {
    this.#feed.flushSync(flushNow);
  }

  /** Accepts no more records, reports the last losses, and flushes. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#feed.stop();
  }
}

interface ProcessOptions {
  /** Default: all. */
  readonly processors?: readonly RunningProcessor[];
  /** Default: the one for which there is capacity, if there is one. */
  readonly encoder?: EnvelopeEncoder;
  readonly sender?: Sender;
  readonly wantsReceipt?: boolean;
}

/** A record of a processor's own that has passed the others. */
interface ProcessedEmitted {
  readonly parts: RecordParts;
  readonly stored: EncodedRecord;
}

function permits({ maySendAuditEvents, maySendSystemLogs }: Sender, isAudit: boolean): boolean {
  return isAudit ? maySendAuditEvents : maySendSystemLogs;
}

/** A record of a processor's own, with the processors that it has yet to pass. */
interface Emitted {
  readonly record: LogRecord;
  readonly processors: readonly RunningProcessor[];
}

/** A record that is not part of a request, with its parts and as it is encoded. */
interface GivenRecord {
  readonly parts: RecordParts;
  readonly sent: EncodedRecord;
  /** Whether this process has logged it. */
  readonly isOwn: boolean;
}

function partsOfChanged({ record }: ProcessedRecord, isOwn: boolean): RecordParts {
  return { ...partsOfRecord(record), ...(isOwn && { service: "" }) };
}

/** Runs the steps for one turn of the event loop; returns undefined if that is not enough. */
function firstTurn<Result>(steps: Steps<Result>): Result | undefined {
  const endsAtMs = performance.now() + TURN_MS;
  do {
    const step = steps.next();
    if (step.done === true) return step.value;
  } while (performance.now() < endsAtMs);
  return undefined;
}

/** What became of the records of one request. */
class ReceivedRecords {
  readonly sender: Sender;
  readonly #reasons: string[] = [];
  /** What processors have inserted, which the sender did not send. */
  inserted: ProcessedEmitted[] = [];
  #forbidden = 0;
  #others = 0;

  constructor(sender: Sender) {
    this.sender = sender;
  }

  add(outcome: IntakeOutcome): void {
    const isRejected = outcome.status === "rejected";
    if (isRejected && outcome.error.code === "FORBIDDEN") this.#forbidden++;
    else this.#others++;
    if (isRejected && outcome.reason !== undefined) this.#reasons.push(outcome.reason);
  }

  addCounts({ accepted, filtered, forbidden }: RequestCounts): void {
    this.#others += accepted + filtered - this.takeInserted().length;
    this.#forbidden += forbidden;
  }

  /** Returns what was inserted and is not encoded yet. */
  takeInserted(): readonly ProcessedEmitted[] {
    const { inserted } = this;
    this.inserted = [];
    return inserted;
  }

  /** @throws TailgateError FORBIDDEN if the sender may send none of the records. */
  checkForbidden(): void {
    if (this.#forbidden > 0 && this.#others === 0) {
      throw forbiddenRequest(this.sender, this.#forbidden);
    }
  }

  answer(): Ingested {
    return withForbidden(ingested(this.#others, this.#reasons), this.sender, this.#forbidden);
  }
}

function stopped(): TailgateError {
  return new TailgateError("STOPPED", "The gateway accepts no more records.");
}
