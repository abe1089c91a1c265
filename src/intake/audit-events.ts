import { eventKeyOf, type EventKey } from "../envelope/event-key.ts";
import type { AuditGate, AuditSavepoint } from "../batch/batch-builder.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import { KEYED_EVENTS_MAX, type StoredEvent } from "../journal/journal.ts";

/** What `audit` resolves with: the event is durable. */
export interface Receipt {
  /** The event's place in the journal. */
  readonly seq: number;
  /**
   * What ties it to all events before it, as its line in the audit file has it; "" with the journal in memory, and for an
   * event that a processor made a system log.
   */
  readonly hash: string;
}

/** An event that is on its way to the journal. */
interface Pending {
  readonly batch: RecordBatch;
  readonly index: number;
  readonly id: string | undefined;
  /** The event's key, if an event with the same key and other contents was known before. */
  conflictingKey: string | undefined;
}

/** An event that was taken, now or by an attempt before. */
export type TakenEvent = Pending | Receipt;

const NO_EVENTS: readonly TakenEvent[] = [];

/**
 * What has become of audit events: where those are that were taken, for receipts, and which keys have been there, so
 * that an event which is sent again is one event (reliability.md, rule 10). The same key with other contents is
 * another event: it is kept, and told to the operator.
 */
export class AuditEvents implements AuditGate {
  readonly #known = new Map<string, TakenEvent>();
  /** For each key how many different contents it has come with. */
  readonly #contents = new Map<string, number>();
  /** Admitted to batches that the journal does not have yet. */
  #open: Pending[] = [];
  readonly #outcomes = new Map<RecordBatch, PromiseWithResolvers<void>>();
  #repeats: TakenEvent[] = [];
  #last: TakenEvent | undefined;
  readonly #conflict: (key: string) => void;

  /**
   * `stored`: the newest events with keys that the journal has; `conflict`: called when an event was stored whose key
   * another event has.
   */
  constructor(stored: readonly StoredEvent[], conflict: (key: string) => void) {
    this.#conflict = conflict;
    for (const { key, digest, seq, hash } of stored) {
      this.#remember({ key, digest }, { seq, hash });
      this.#evict();
    }
  }

  savepoint(): AuditSavepoint {
    return { open: this.#open.length, repeats: this.#repeats.length };
  }

  admits(batch: RecordBatch, index: number): boolean {
    const eventKey = eventKeyOf(batch.data(index));
    const id = eventKey && idOf(eventKey);
    const before = id === undefined ? undefined : this.#known.get(id);
    if (before !== undefined) {
      this.#last = before;
      this.#repeats.push(before);
      return false;
    }
    const isConflict = eventKey !== undefined && this.#contents.has(eventKey.key);
    const event = { batch, index, id, conflictingKey: isConflict ? eventKey.key : undefined };
    this.#last = event;
    this.#open.push(event);
    if (eventKey !== undefined) this.#remember(eventKey, event);
    return true;
  }

  /** Adds a record of the open batch that has a receipt, too, though it is no audit event. */
  add(batch: RecordBatch, index: number): TakenEvent {
    const event = { batch, index, id: undefined, conflictingKey: undefined };
    this.#open.push(event);
    return event;
  }

  rollback({ open, repeats }: AuditSavepoint): void {
    for (const { id } of this.#open.splice(open)) if (id !== undefined) this.#forget(id);
    this.#repeats.length = repeats;
  }

  /** A gate for one request, whose events nobody else sees before it is {@link RequestEvents.admitAll | admitted}. */
  forRequest(): RequestEvents {
    return new RequestEvents({
      known: (id) => this.#known.get(id),
      admit: (events) => this.#admitAll(events),
      settle: (batch, events, safe) => void this.#settle(batch, events, safe),
    });
  }

  #admitAll(events: ReadonlyMap<string, KeyedEvent>): boolean {
    for (const id of events.keys()) if (this.#known.has(id)) return false;
    for (const { eventKey, event } of events.values()) {
      if (this.#contents.has(eventKey.key)) event.conflictingKey = eventKey.key;
      this.#remember(eventKey, event);
    }
    return true;
  }

  #remember(eventKey: EventKey, event: TakenEvent): void {
    this.#known.set(idOf(eventKey), event);
    this.#contents.set(eventKey.key, (this.#contents.get(eventKey.key) ?? 0) + 1);
  }

  /**
   * Forgets the oldest keys beyond {@link KEYED_EVENTS_MAX}. Only stored events push others out: one that is rolled
   * back, or that the journal rejects, must leave no trace.
   */
  #evict(): void {
    for (const id of this.#known.keys()) {
      if (this.#known.size <= KEYED_EVENTS_MAX) return;
      this.#forget(id);
    }
  }

  #forget(id: string): void {
    if (!this.#known.delete(id)) return;
    const key = keyOf(id);
    const contents = this.#contents.get(key)! - 1;
    if (contents > 0) this.#contents.set(key, contents);
    else this.#contents.delete(key);
  }

  /** The event that was taken since the last call, or the one that it repeats. */
  takeLast(): TakenEvent | undefined {
    const last = this.#last;
    this.#last = undefined;
    return last;
  }

  /** The events that were repeated since the last call. */
  takeRepeats(): readonly TakenEvent[] {
    if (this.#repeats.length === 0) return NO_EVENTS;
    const repeats = this.#repeats;
    this.#repeats = [];
    return repeats;
  }

  /** The journal was given a batch, or it was given up: follows its events to the end. */
  follow(batch: RecordBatch, safe: Promise<void>): void {
    const events = this.#open.filter((event) => event.batch === batch);
    if (events.length === 0) return;
    this.#open = this.#open.filter((event) => event.batch !== batch);
    void this.#settle(batch, events, safe);
  }

  async #settle(
    batch: RecordBatch,
    events: readonly Pending[],
    safe: Promise<void>,
  ): Promise<void> {
    const outcome = this.#outcomeOf(batch);
    try {
      await safe;
      for (const event of events) this.#stored(event);
      this.#evict();
      outcome.resolve();
    } catch (error) {
      for (const { id } of events) if (id !== undefined) this.#forget(id);
      outcome.reject(error);
    }
    this.#outcomes.delete(batch);
  }

  #stored({ id, batch, index, conflictingKey }: Pending): void {
    if (conflictingKey !== undefined) this.#conflict(conflictingKey);
    if (id !== undefined && this.#known.has(id)) this.#known.set(id, receiptOf(batch, index));
  }

  /** Resolves when the event is durable; rejects with the journal's error. */
  async receiptOf(event: TakenEvent): Promise<Receipt> {
    if ("seq" in event) return event;
    await this.#outcomeOf(event.batch).promise;
    return receiptOf(event.batch, event.index);
  }

  #outcomeOf(batch: RecordBatch): PromiseWithResolvers<void> {
    let outcome = this.#outcomes.get(batch);
    if (outcome === undefined) {
      outcome = Promise.withResolvers();
      // Most events have nobody who waits for their receipt.
      outcome.promise.catch(() => {});
      this.#outcomes.set(batch, outcome);
    }
    return outcome;
  }
}

interface KeyedEvent {
  readonly eventKey: EventKey;
  readonly event: Pending;
}

/** What the events of one request need of all others. */
interface OtherEvents {
  known(id: string): TakenEvent | undefined;
  /** Whether all events with keys are new; then they are known from now on. */
  admit(events: ReadonlyMap<string, KeyedEvent>): boolean;
  settle(batch: RecordBatch, events: readonly Pending[], safe: Promise<void>): void;
}

/**
 * The audit events of a request that is encoded in many turns, into batches of its own. Others may take the same events
 * in the meantime: then the request has to be encoded again.
 */
export class RequestEvents implements AuditGate {
  readonly repeats: TakenEvent[] = [];
  readonly #others: OtherEvents;
  readonly #keyed = new Map<string, KeyedEvent>();
  readonly #open = new Map<RecordBatch, Pending[]>();
  #count = 0;

  constructor(others: OtherEvents) {
    this.#others = others;
  }

  admits(batch: RecordBatch, index: number): boolean {
    const eventKey = eventKeyOf(batch.data(index));
    const id = eventKey && idOf(eventKey);
    const before =
      id === undefined ? undefined : (this.#keyed.get(id)?.event ?? this.#others.known(id));
    if (before !== undefined) {
      this.repeats.push(before);
      return false;
    }
    const event: Pending = { batch, index, id, conflictingKey: undefined };
    const open = this.#open.get(batch);
    if (open === undefined) this.#open.set(batch, [event]);
    else open.push(event);
    this.#count++;
    if (eventKey !== undefined) this.#keyed.set(id!, { eventKey, event });
    return true;
  }

  savepoint(): AuditSavepoint {
    return { open: this.#count, repeats: this.repeats.length };
  }

  /** A request is encoded anew from its start, or not at all. */
  rollback(): void {
    this.#count = 0;
    this.repeats.length = 0;
    this.#keyed.clear();
    this.#open.clear();
  }

  /** False if others have taken one of the events in the meantime; nothing has happened then. */
  admitAll(): boolean {
    return this.#others.admit(this.#keyed);
  }

  /** The journal was given one of the request's batches. */
  follow(batch: RecordBatch, safe: Promise<void>): void {
    const events = this.#open.get(batch);
    if (events !== undefined) this.#others.settle(batch, events, safe);
  }
}

function receiptOf(batch: RecordBatch, index: number): Receipt {
  return { seq: batch.sequence(index), hash: batch.hash(index) };
}

/** The digest has always as many characters, so that the rest is the key. */
function idOf({ key, digest }: EventKey): string {
  return digest + key;
}

const DIGEST_CHARS = 44;

function keyOf(id: string): string {
  return id.slice(DIGEST_CHARS);
}
