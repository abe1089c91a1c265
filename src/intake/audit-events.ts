import { eventKeyOf, type EventKey } from "../envelope/event-key.ts";
import type { AuditGate, AuditSavepoint } from "../batch/batch-builder.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import { KEYED_EVENTS_MAX, type StoredEvent } from "../journal/journal.ts";

/** Confirms that an audit event is durable. */
export interface Receipt {
  /** The event's sequence number in the journal. */
  readonly seq: number;
  /**
   * The event's hash in the hash chain of the audit trail, as in its line of the audit file. "" if the journal is in
   * memory, and for an event that a processor turned into a system log.
   */
  readonly hash: string;
}

interface PendingEvent {
  readonly batch: RecordBatch;
  readonly index: number;
  readonly id: string | undefined;
  /** The event's key, if a different event with the same key was known before. */
  conflictingKey: string | undefined;
}

/** An event that was accepted, now or in an earlier attempt. */
export type AcceptedEvent = PendingEvent | Receipt;

/**
 * Follows audit events to the journal for their receipts, and detects duplicates by their idempotency key
 * (reliability.md, rule 10). Two events with the same key and different contents are two events: both are stored, and
 * the operator is warned.
 */
export class AuditEvents implements AuditGate {
  /** Events with keys, by {@link eventId}. */
  readonly #known = new Map<string, AcceptedEvent>();
  readonly #contents = new Map<string, number>();
  /** Whether events are in batches that were not appended yet. A field, because it is read for each batch. */
  hasOpen = false;
  /** Whether duplicates were not counted yet. A field, because it is read for each record. */
  hasDuplicates = false;
  #open: PendingEvent[] = [];
  readonly #outcomes = new Map<RecordBatch, PromiseWithResolvers<void>>();
  #duplicates: AcceptedEvent[] = [];
  /** The event that was admitted last, or the original of the duplicate that was not. */
  newest: AcceptedEvent | undefined;
  readonly #onConflict: (key: string) => void;

  /**
   * `stored` holds the journal's newest events with keys. `onConflict` is called when an event was stored whose key a
   * different event has.
   */
  constructor(stored: readonly StoredEvent[], onConflict: (key: string) => void) {
    this.#onConflict = onConflict;
    for (const { key, digest, seq, hash } of stored) {
      this.#remember({ key, digest }, { seq, hash });
      this.#evict();
    }
  }

  savepoint(): AuditSavepoint {
    return { open: this.#open.length, repeats: this.#duplicates.length };
  }

  admits(batch: RecordBatch, index: number): boolean {
    const eventKey = eventKeyOf(batch.data(index));
    const id = eventKey && eventId(eventKey);
    const original = id === undefined ? undefined : this.#known.get(id);
    if (original !== undefined) {
      this.newest = original;
      this.#duplicates.push(original);
      this.hasDuplicates = true;
      return false;
    }
    const isConflict = eventKey !== undefined && this.#contents.has(eventKey.key);
    const event = { batch, index, id, conflictingKey: isConflict ? eventKey.key : undefined };
    this.newest = event;
    this.#open.push(event);
    this.hasOpen = true;
    if (eventKey !== undefined) this.#remember(eventKey, event);
    return true;
  }

  /** Follows a record of the open batch that gets a receipt although it is a system log. */
  follow(batch: RecordBatch, index: number): AcceptedEvent {
    const event = { batch, index, id: undefined, conflictingKey: undefined };
    this.#open.push(event);
    this.hasOpen = true;
    return event;
  }

  rollback({ open, repeats }: AuditSavepoint): void {
    for (const { id } of this.#open.splice(open)) if (id !== undefined) this.#forget(id);
    this.#duplicates.length = repeats;
    this.hasOpen = open > 0;
    this.hasDuplicates = repeats > 0;
  }

  find(id: string): AcceptedEvent | undefined {
    return this.#known.get(id);
  }

  /** Makes the events known, unless one of them is known already. Returns whether it did. */
  admitAll(events: ReadonlyMap<string, KeyedEvent>): boolean {
    for (const id of events.keys()) if (this.#known.has(id)) return false;
    for (const { eventKey, event } of events.values()) {
      if (this.#contents.has(eventKey.key)) event.conflictingKey = eventKey.key;
      this.#remember(eventKey, event);
    }
    return true;
  }

  #remember(eventKey: EventKey, event: AcceptedEvent): void {
    this.#known.set(eventId(eventKey), event);
    this.#contents.set(eventKey.key, (this.#contents.get(eventKey.key) ?? 0) + 1);
  }

  /**
   * Forgets the oldest keys beyond {@link KEYED_EVENTS_MAX}. Called for stored events only: an event that is rolled back
   * or rejected must not evict another.
   */
  #evict(): void {
    for (const id of this.#known.keys()) {
      if (this.#known.size <= KEYED_EVENTS_MAX) return;
      this.#forget(id);
    }
  }

  #forget(id: string): void {
    if (!this.#known.delete(id)) return;
    const key = id.slice(DIGEST_CHARS);
    const contents = this.#contents.get(key)! - 1;
    if (contents > 0) this.#contents.set(key, contents);
    else this.#contents.delete(key);
  }

  /** Returns the originals of the duplicates since the last call. */
  drainDuplicates(): readonly AcceptedEvent[] {
    const duplicates = this.#duplicates;
    this.#duplicates = [];
    this.hasDuplicates = false;
    return duplicates;
  }

  /** Settles the batch's events when `stored` settles. */
  appended(batch: RecordBatch, stored: Promise<void>): void {
    const events = this.#open.filter((event) => event.batch === batch);
    if (events.length === 0) return;
    this.#open = this.#open.filter((event) => event.batch !== batch);
    this.hasOpen = this.#open.length > 0;
    void this.settle(batch, events, stored);
  }

  async settle(
    batch: RecordBatch,
    events: readonly PendingEvent[],
    stored: Promise<void>,
  ): Promise<void> {
    const outcome = this.#outcome(batch);
    try {
      await stored;
      for (const event of events) this.#confirm(event);
      this.#evict();
      outcome.resolve();
    } catch (error) {
      for (const { id } of events) if (id !== undefined) this.#forget(id);
      outcome.reject(error);
    }
    this.#outcomes.delete(batch);
  }

  #confirm({ id, batch, index, conflictingKey }: PendingEvent): void {
    if (conflictingKey !== undefined) this.#onConflict(conflictingKey);
    if (id !== undefined && this.#known.has(id)) this.#known.set(id, createReceipt(batch, index));
  }

  /** Resolves with the event's receipt when it is durable; rejects with the journal's error. */
  async receipt(event: AcceptedEvent): Promise<Receipt> {
    if ("seq" in event) return event;
    await this.#outcome(event.batch).promise;
    return createReceipt(event.batch, event.index);
  }

  #outcome(batch: RecordBatch): PromiseWithResolvers<void> {
    let outcome = this.#outcomes.get(batch);
    if (outcome === undefined) {
      outcome = Promise.withResolvers();
      // Most receipts are not awaited.
      outcome.promise.catch(() => {});
      this.#outcomes.set(batch, outcome);
    }
    return outcome;
  }
}

interface KeyedEvent {
  readonly eventKey: EventKey;
  readonly event: PendingEvent;
}

/**
 * The audit events of a request that is encoded in many turns into batches of its own. If one of its events arrives from
 * elsewhere in the meantime, the request has to be encoded again.
 */
export class RequestEvents implements AuditGate {
  readonly duplicates: AcceptedEvent[] = [];
  /** Whether events are in batches that were not appended yet. */
  hasOpen = false;
  readonly #shared: AuditEvents;
  readonly #keyed = new Map<string, KeyedEvent>();
  readonly #open = new Map<RecordBatch, PendingEvent[]>();
  #count = 0;

  constructor(shared: AuditEvents) {
    this.#shared = shared;
  }

  admits(batch: RecordBatch, index: number): boolean {
    const eventKey = eventKeyOf(batch.data(index));
    const id = eventKey && eventId(eventKey);
    const original =
      id === undefined ? undefined : (this.#keyed.get(id)?.event ?? this.#shared.find(id));
    if (original !== undefined) {
      this.duplicates.push(original);
      return false;
    }
    const event: PendingEvent = { batch, index, id, conflictingKey: undefined };
    const open = this.#open.get(batch);
    if (open === undefined) this.#open.set(batch, [event]);
    else open.push(event);
    this.#count++;
    this.hasOpen = true;
    if (eventKey !== undefined) this.#keyed.set(id!, { eventKey, event });
    return true;
  }

  savepoint(): AuditSavepoint {
    return { open: this.#count, repeats: this.duplicates.length };
  }

  /** Forgets all events: a request is encoded again from its start, or not at all. */
  rollback(): void {
    this.#count = 0;
    this.hasOpen = false;
    this.duplicates.length = 0;
    this.#keyed.clear();
    this.#open.clear();
  }

  /** Makes the events known. Returns false, with nothing done, if one of them arrived from elsewhere in the meantime. */
  admitAll(): boolean {
    return this.#shared.admitAll(this.#keyed);
  }

  /** Settles the batch's events when `stored` settles. */
  appended(batch: RecordBatch, stored: Promise<void>): void {
    const events = this.#open.get(batch);
    if (events !== undefined) void this.#shared.settle(batch, events, stored);
  }
}

function createReceipt(batch: RecordBatch, index: number): Receipt {
  return { seq: batch.sequence(index), hash: batch.hash(index) };
}

/** Returns the digest, whose length is fixed, followed by the key. */
function eventId({ key, digest }: EventKey): string {
  return digest + key;
}

const DIGEST_CHARS = 44;
