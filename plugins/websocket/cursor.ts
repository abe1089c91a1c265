import { setTimeout as wait } from "node:timers/promises";
import {
  bothFilters,
  type Access,
  type Batch,
  type Filter,
  type Gap,
  type GapMessage,
  type HostJournal,
  type JournalPage,
  type ServerMessage,
} from "tailgate/plugin";
import type { Connection } from "./connection.ts";
import type { Chunk, Encoder } from "./encoders.ts";
import { countMissing, cutPage, mergeGaps, toGapMessage } from "./gaps.ts";
import { findReplayStart, Since, type ReadPage } from "./history.ts";
import type { Matcher, MatchWaiter, Selector } from "./matcher.ts";
import { findNotStored } from "./not-stored.ts";
import { SharedFrames } from "./shared-frames.ts";
import type { ResumePosition, StartPosition } from "./subscription.ts";

/** What the cursors of all clients share. */
export interface CursorContext {
  readonly journal: HostJournal;
  readonly readPage: ReadPage;
  readonly matcher: Matcher;
  /** The cursors of all subscriptions; a cursor adds and removes itself. */
  readonly cursors: Set<SubscriptionCursor>;
  /** Resolves in a turn of the event loop that no other client has: reading pages takes time. */
  nextTurn(): Promise<void>;
  countSent(frames: number, bytes: number): void;
  /** Counts records that the journal has lost and that the client cannot be told about. */
  countUnavailable(records: number): void;
  /** Counts system logs that a lagging client was told about in a gap. */
  countSkipped(records: number): void;
  /** Counts and logs that a client lags because its filter takes too long to match. */
  reportExpensiveFilter(cost: string): void;
}

export interface CursorOwner {
  /**
   * Called if the cursor cannot catch up and the protocol cannot express gaps.
   * @param filterCost how long matching takes, if the filter is the reason
   */
  lagging(filterCost: string | undefined): void;
  failed(error: unknown): void;
  /** Called once with the number of stored records that were sent, unless it is 0. */
  historyRead(records: number): void;
  /** Sends a control message, if the protocol has any. */
  say(message: ServerMessage): void;
}

interface CursorOptions {
  readonly connection: Connection;
  readonly encoder: Encoder;
  /** What the client may read: it gets nothing else, whatever its filter is. */
  readonly access: Access;
  /** What the client asks for. */
  readonly filter: Filter;
  readonly owner: CursorOwner;
  readonly context: CursorContext;
}

/** The pause before reading again what has left memory and is not on the disk yet. */
const UNREADABLE_PAUSE_MS = 20;

/**
 * `busy`: reading, searching, or waiting for a match; `live`: everything was sent, waiting for new records; `full`:
 * waiting for the socket to drain.
 */
type State = "busy" | "live" | "full" | "ended";

/**
 * The position of one subscription in the journal. It replays, resumes or catches up from memory and from the disk, at
 * the pace of the client's socket, and then switches to live with no gaps and no duplicates. A slow client thus holds no
 * more than its socket's buffer. A client that was live and has fallen out of the journal's memory could not catch up
 * by reading everything from the disk: it gets the audit events and a gap for the rest, or is disconnected if its
 * protocol cannot express gaps.
 *
 * Everything before `#next` has been examined; everything up to `#sent` is covered by messages that were sent. Between
 * the two, nothing matches; the next message covers it.
 */
export class SubscriptionCursor implements MatchWaiter {
  readonly #connection: Connection;
  readonly #encoder: Encoder;
  readonly #owner: CursorOwner;
  readonly #context: CursorContext;
  readonly #access: Access;
  /** What the client may read and asks for. */
  #filter: Filter;
  #since: Since | undefined;
  #selector: Selector;
  #state: State = "busy";
  #next: number;
  #sent: number;
  #gaps: GapMessage[] = [];
  readonly #historyEnd: number;
  #isCaughtUp = false;
  /** How many stored records were sent. */
  #historyRecords = 0;
  #wasLive = false;
  /** System logs up to this sequence are skipped. */
  #skipTo = 0;
  /** Why system logs are skipped, if not for reading slowly. */
  #skipText: string | undefined;
  /** Whether the cursor waits for its filter to be matched, or did so when it fell behind. */
  #waitsForMatch = false;

  constructor({ connection, encoder, access, filter, owner, context }: CursorOptions) {
    this.#connection = connection;
    this.#encoder = encoder;
    this.#owner = owner;
    this.#context = context;
    this.#access = access;
    this.#filter = bothFilters(access.filter, filter);
    this.#selector = this.#filter;
    this.#historyEnd = context.journal.newest;
    this.#sent = this.#historyEnd;
    this.#next = this.#sent + 1;
    context.cursors.add(this);
  }

  get isOpen(): boolean {
    return this.#connection.isOpen;
  }

  get isFiltered(): boolean {
    return this.#selector.key !== "";
  }

  get reportsGaps(): boolean {
    return this.#encoder.reportsGaps;
  }

  /** How many records were appended to the journal and not yet examined. */
  get lag(): number {
    return this.#context.journal.newest - this.#next + 1;
  }

  start({ replay, since, resume }: StartPosition): void {
    if (replay) return void this.#run(() => this.#replay(replay));
    if (resume) return void this.#run(() => this.#resume(resume));
    if (since !== undefined) this.#startSince(Since.parse(since));
    this.#tryAdvance(this.#share());
  }

  async #replay(count: number): Promise<void> {
    let filter: Filter;
    let start: number;
    do {
      filter = this.#filter;
      const isOpen = (): boolean => this.isOpen;
      const search = { filter, count, last: this.#historyEnd, isOpen };
      start = await findReplayStart(this.#context, search);
    } while (filter !== this.#filter);
    this.#moveTo(start);
  }

  /** Resumes after the last record that the client and the journal have in common; all records if the epoch is unknown. */
  async #resume(resume: ResumePosition): Promise<void> {
    const { journal, readPage } = this.#context;
    const { epoch, sequence } = resume;
    const shared = journal.sharedUpTo(epoch, sequence) ?? 0;
    this.#moveTo(shared + 1);
    if (shared < sequence) {
      this.#owner.say({ type: "gap", from: shared + 1, to: sequence, reason: "epoch" });
    }
    for (const gap of await findNotStored(readPage, resume, shared)) this.#owner.say(gap);
  }

  #startSince(since: Since): void {
    this.#since = since;
    this.#selector = since.restrict(this.#filter);
    this.#moveTo(1);
  }

  #moveTo(next: number): void {
    this.#next = next;
    this.#sent = next - 1;
  }

  /** Handles a batch that the exporter was given. Never waits and never throws. */
  deliver(shared: SharedFrames): void {
    if (this.#state !== "live" || !this.#connection.isOpen) return;
    try {
      if (!this.#sendDelivered(shared)) this.#advance(shared);
    } catch (error) {
      this.#owner.failed(error);
    }
  }

  /**
   * Sends the delivered batch without consulting the journal, which is the fast path. Returns false if it does not
   * continue where the cursor is. Delivery may leave out records (it counts them); a client that gets every sequence
   * then reads them from the journal.
   */
  #sendDelivered(shared: SharedFrames): boolean {
    const { delivered, firstSequence } = shared;
    if (delivered === undefined || firstSequence < this.#next || this.#connection.isFull) {
      return false;
    }
    if (this.#encoder.reportsGaps && (firstSequence > this.#next || !shared.isContiguous)) {
      return false;
    }
    const records = shared.matchNow(delivered, this.#selector);
    if (records === undefined) return false;
    this.#sendRun(shared, delivered, records);
    if (this.#next <= shared.lastSequence) this.#state = "full";
    return true;
  }

  ready(shared: SharedFrames): void {
    if (this.#state === "busy") this.#tryAdvance(shared);
  }

  drained(): void {
    if (this.#state === "full") this.#tryAdvance(this.#share());
  }

  end(): void {
    this.#state = "ended";
    this.#reportHistory();
    this.#context.cursors.delete(this);
  }

  /** Replaces the filter; what was examined with the old one is reported first. */
  changeFilter(filter: Filter, version: number): void {
    this.#report();
    this.#filter = bothFilters(this.#access.filter, filter);
    this.#selector = this.#since?.restrict(this.#filter) ?? this.#filter;
    this.#owner.say({ type: "filter", version });
  }

  /** Tells a client how far the subscription has come if nothing has matched for a while. */
  reportProgress(): void {
    if (this.#state === "live" && !this.#connection.isFull) this.#report();
  }

  /** Tells a client that records which it may have got could not be stored. */
  reportNotStored({ from, to, reason }: Gap): void {
    if (this.#state === "ended" || from > this.#sent) return;
    this.#owner.say({ type: "gap", from, to: Math.min(to, this.#sent), reason });
  }

  /** Checks whether the cursor has fallen out of memory while the socket is full. */
  checkLag(): void {
    if (this.#state === "full" && !this.reportsGaps && this.#isLagging) {
      this.#owner.lagging(undefined);
    }
  }

  #share(): SharedFrames {
    const { journal, matcher } = this.#context;
    return new SharedFrames(journal, matcher);
  }

  async #run(work: () => Promise<void>): Promise<void> {
    this.#state = "busy";
    try {
      await work();
      if (this.#state === "busy") this.#advance(this.#share());
    } catch (error) {
      this.#owner.failed(error);
    }
  }

  #tryAdvance(shared: SharedFrames): void {
    try {
      this.#advance(shared);
    } catch (error) {
      this.#owner.failed(error);
    }
  }

  /** Sends records from memory until the socket is full; reads a page if memory does not hold the next record. */
  #advance(shared: SharedFrames): void {
    const { journal } = this.#context;
    if (!this.#connection.isOpen) return;
    this.#completeHistory();
    while (this.#next <= journal.newest) {
      if (this.#connection.isFull) {
        this.#state = "full";
        this.#waitsForMatch = false;
        return;
      }
      const run = this.#next <= this.#skipTo ? undefined : shared.runFrom(this.#next);
      if (run === undefined) return void this.#run(() => this.#sendPage());
      const records = shared.match(run, this.#selector, this);
      if (records === undefined) {
        this.#state = "busy";
        this.#waitsForMatch = true;
        return;
      }
      this.#sendRun(shared, run, records);
      this.#completeHistory();
    }
    this.#state = "live";
    this.#waitsForMatch = false;
    this.#wasLive = true;
  }

  #sendRun(shared: SharedFrames, run: Batch, records: Batch): void {
    const to = run.sequence(run.length - 1);
    if (records.length === 0) this.#send([], to);
    else if (this.#gaps.length > 0) this.#send(this.#encode(records, to), to);
    else {
      const { isFiltered } = this;
      const from = this.#sent + 1;
      this.#send(shared.encode(this.#encoder, { run, records, from, isFiltered }), to);
    }
    if (!this.#isCaughtUp) this.#countHistory(records);
  }

  /** Counts those of the records that were sent before the socket was full. */
  #countHistory(records: Batch): void {
    let count = records.length;
    while (count > 0 && records.sequence(count - 1) >= this.#next) count--;
    this.#historyRecords += count;
  }

  #reportHistory(): void {
    if (this.#historyRecords > 0) this.#owner.historyRead(this.#historyRecords);
    this.#historyRecords = 0;
  }

  #encode(records: Batch | undefined, to: number): Chunk[] {
    const { isFiltered } = this;
    const { durable } = this.#context.journal;
    const from = this.#sent + 1;
    return this.#encoder.encode({ from, to, records, isFiltered, gaps: this.#gaps, durable });
  }

  /** Sends the chunks of a range that ends at `to`. If the socket fills up, the cursor stays after the last chunk sent. */
  #send(chunks: readonly Chunk[], to: number): void {
    for (let index = 0; index < chunks.length; index++) {
      if (index > 0 && this.#connection.isFull) {
        this.#next = this.#sent + 1;
        return;
      }
      const { bytes, frames, to: end } = chunks[index]!;
      this.#connection.write(bytes);
      this.#context.countSent(frames, bytes.length);
      this.#sent = end;
      if (this.#gaps.length > 0) this.#gaps = [];
    }
    this.#next = to + 1;
    if (!this.#encoder.reportsGaps) this.#sent = to;
  }

  #report(): void {
    const to = this.#next - 1;
    if (this.#sent < to) this.#send(this.#encode(undefined, to), to);
  }

  /** Says so, once, when all of the history has been sent. */
  #completeHistory(): void {
    if (this.#isCaughtUp || this.#next <= this.#historyEnd) return;
    this.#report();
    this.#isCaughtUp = true;
    this.#reportHistory();
    this.#since = undefined;
    this.#selector = this.#filter;
    this.#owner.say({ type: "caught_up", sequence: this.#sent });
  }

  async #sendPage(): Promise<void> {
    const { journal, matcher, nextTurn, readPage } = this.#context;
    const filter = this.#filter;
    if (this.#isLagging && !this.#skipSystemLogs()) return;
    const isSkipping = this.#next <= this.#skipTo;
    const query = { from: this.#next, type: filter.type, sinceMs: this.#since?.ms };
    const page = isSkipping ? await this.#readAuditPage() : await readPage(query);
    if (page.to < page.from) {
      if (this.#next <= journal.newest) await wait(UNREADABLE_PAUSE_MS);
      return;
    }
    const gaps = await this.#gapsOf(page);
    const { to, records } = page;
    const matched = records && (await matcher.matched(records, this.#selector, () => this.isOpen));
    // A page that was read for another filter may lack records that this one matches.
    if (filter !== this.#filter || !this.isOpen) return;
    if (this.reportsGaps) mergeGaps(this.#gaps, gaps);
    this.#send(matched?.length ? this.#encode(matched, to) : [], to);
    if (matched && !this.#isCaughtUp) this.#countHistory(matched);
    const last = this.#next - 1;
    if (!this.reportsGaps) this.#context.countUnavailable(countMissing(gaps, records, last));
    if (isSkipping) this.#context.countSkipped(countMissing([page], records, last));
    await nextTurn();
  }

  get #isLagging(): boolean {
    if (this.reportsGaps && this.#filter.type === "audit_log") return false;
    return this.#wasLive && this.#next < this.#context.journal.oldest;
  }

  /** Skips the system logs up to the newest record. Returns false if the protocol cannot express that. */
  #skipSystemLogs(): boolean {
    const { journal, matcher, reportExpensiveFilter } = this.#context;
    const cost = this.#waitsForMatch ? matcher.costText(this.#selector) : undefined;
    if (cost !== undefined) reportExpensiveFilter(cost);
    if (!this.reportsGaps) {
      this.#owner.lagging(cost);
      return false;
    }
    this.#skipTo = Math.max(this.#skipTo, journal.newest);
    this.#skipText = cost && `The filter is too expensive: ${cost}.`;
    return true;
  }

  async #readAuditPage(): Promise<JournalPage> {
    const from = this.#next;
    const last = this.#skipTo;
    if (this.#filter.type === "system_log") {
      return { from, to: last, records: undefined, gaps: [] };
    }
    const page = await this.#context.readPage({ from, type: "audit_log" });
    return page.to <= last ? page : cutPage(page, last);
  }

  /** Returns the gaps of a page that concern this subscription. */
  async #gapsOf(page: JournalPage): Promise<GapMessage[]> {
    const wanted = this.#filter.type;
    const reader = { readPage: this.#context.readPage, access: this.#access };
    const gaps: GapMessage[] = [];
    if (this.#next <= this.#skipTo && wanted !== "audit_log") {
      const { from, to } = page;
      gaps.push(toGapMessage({ from, to, reason: "slow", type: "system_log" }, this.#skipText));
    }
    for (const gap of page.gaps) {
      if (wanted !== undefined && gap.type !== undefined && gap.type !== wanted) continue;
      if (this.#since && !(await this.#since.concerns(gap, reader))) continue;
      gaps.push(toGapMessage(gap));
    }
    return gaps;
  }
}
