import { setTimeout as wait } from "node:timers/promises";
import type {
  Batch,
  EnvelopeType,
  Filter,
  Gap,
  HostJournal,
  JournalPage,
  GapMessage,
  ServerMessage,
} from "tailgate/plugin";
import { unitsOf, type Unit } from "./batch-frames.ts";
import { newestStart, refusedOf, resumptionOf, type Resume } from "./opening.ts";
import type { Matcher, Waiter, Wanted } from "./matcher.ts";
import { SharedRuns } from "./shared-runs.ts";
import { sinceTime, type Since } from "./since.ts";

/** What a viewer wants to see. */
export interface Choice {
  readonly filter: Filter;
  /** The one type of record that the filter can match; undefined where it may match both. */
  readonly lane: EnvelopeType | undefined;
}

/** From where on; from now on where nothing of it is there. */
export interface Start {
  readonly replay?: number | undefined;
  readonly since?: string | number | undefined;
  readonly resume?: Resume | undefined;
}

/** Where a stream goes to. */
export interface Sink {
  readonly isOpen: boolean;
  /** While it is, nothing more should be written before it has drained. */
  readonly isFull: boolean;
  write(unit: Pick<Unit, "bytes" | "frames">): void;
  say(message: ServerMessage): void;
  failed(error: unknown): void;
}

interface StreamOptions {
  readonly journal: HostJournal;
  readonly matcher: Matcher;
  readonly turn: () => Promise<void>;
  /** Counts system logs that a slow viewer does not get. */
  skipped(records: number): void;
  /** Told when the filter takes too long to match for this client to follow. */
  tooExpensive(cost: string): void;
}

/** What has left memory and is not on the disk yet will be there soon. */
const UNREADABLE_PAUSE_MS = 20;

/**
 * `busy` reading, searching, or waiting for a match; `live` all has been sent, and the next record wakes it; `full` it goes on when the
 * socket has drained.
 */
type State = "busy" | "live" | "full" | "ended";

/**
 * The records of one subscription: a cursor over the journal, with two places. Everything before `#next` has been
 * looked at; everything up to `#told` is in batches that were sent, together with the gaps in it. What lies between has
 * nothing that matches, and is told with the next batch. Memory is read at once, the disk in pages, both only while
 * the socket takes data. Who was live once, and has fallen out of memory since, gets of what it missed the audit
 * events, and a gap for the rest.
 */
export class Stream implements Waiter {
  readonly #sink: Sink;
  readonly #options: StreamOptions;
  #choice: Choice;
  #since: Since | undefined;
  #wanted: Wanted;
  #state: State = "busy";
  #next: number;
  #told: number;
  /** What is missing between the two places. */
  #gaps: GapMessage[] = [];
  /** The last sequence of what was asked for of the past. */
  readonly #historyEnd: number;
  #isCaughtUp = false;
  #wasLive = false;
  /** System logs up to this sequence are left out. */
  #skipTo = 0;
  /** It waits for its filter to be matched; so it did when it fell behind. */
  #waitsForMatch = false;
  /** Why system logs are left out, if that is not for reading slowly. */
  #skipText: string | undefined;

  /** Nothing is sent before `begin`. */
  constructor(sink: Sink, choice: Choice, options: StreamOptions) {
    this.#sink = sink;
    this.#choice = choice;
    this.#wanted = choice.filter;
    this.#options = options;
    this.#historyEnd = options.journal.newest;
    this.#told = this.#historyEnd;
    this.#next = this.#told + 1;
  }

  get isFiltered(): boolean {
    return this.#wanted.key !== "";
  }

  /** How many records were appended and not handed to the socket. */
  get behind(): number {
    return this.#options.journal.newest - this.#next + 1;
  }

  begin({ replay, since, resume }: Start): void {
    if (replay !== undefined) this.#run(() => this.#replay(replay));
    else if (resume !== undefined) this.#run(() => this.#resume(resume));
    else {
      if (since !== undefined) this.#setSince(sinceTime(since));
      this.#go(this.#runs());
    }
  }

  #runs(): SharedRuns {
    const { journal, matcher } = this.#options;
    return new SharedRuns(journal, matcher);
  }

  async #replay(count: number): Promise<void> {
    const { journal, matcher, turn } = this.#options;
    let choice: Choice;
    let start: number;
    do {
      choice = this.#choice;
      start = await newestStart({
        journal,
        matcher,
        wanted: choice.filter,
        lane: choice.lane,
        count,
        last: this.#historyEnd,
        isOpen: () => this.#sink.isOpen,
        turn,
      });
    } while (choice !== this.#choice);
    this.#startAt(start);
  }

  async #resume(resume: Resume): Promise<void> {
    const { journal } = this.#options;
    const { shared, gaps } = resumptionOf(journal, resume);
    this.#startAt(shared + 1);
    for (const gap of gaps) this.#sink.say(gap);
    const refused = await refusedOf(journal, resume, shared);
    if (this.#sink.isOpen) for (const gap of refused) this.#sink.say(gap);
  }

  #setSince(since: Since): void {
    this.#since = since;
    this.#wanted = since.within(this.#choice.filter);
    this.#startAt(1);
  }

  #startAt(next: number): void {
    this.#next = next;
    this.#told = next - 1;
  }

  /** The journal has more. */
  wake(shared: SharedRuns): void {
    if (this.#state === "live") this.#go(shared);
  }

  drained(): void {
    if (this.#state === "full") this.#go(this.#runs());
  }

  get isOpen(): boolean {
    return this.#state === "busy" && this.#sink.isOpen;
  }

  /** The match that the stream waited for is done. */
  ready(shared: SharedRuns): void {
    if (this.#state === "busy") this.#go(shared);
  }

  end(): void {
    this.#state = "ended";
  }

  /** From here on another filter holds: what lies before was looked at with the old one, and is told. */
  change(choice: Choice, version: number): void {
    this.#tell();
    this.#choice = choice;
    this.#wanted = this.#since?.within(choice.filter) ?? choice.filter;
    this.#sink.say({ type: "filter", version });
  }

  /** Lets a viewer know how far it is where nothing has matched for a while. */
  tellProgress(): void {
    if (this.#state === "live" && !this.#sink.isFull) this.#tell();
  }

  /** The disk has refused records that may have been sent. */
  tellRefused({ from, to, reason }: Gap): void {
    if (this.#state === "ended" || from > this.#told) return;
    this.#sink.say({ type: "gap", from, to: Math.min(to, this.#told), reason });
  }

  #tell(): void {
    const to = this.#next - 1;
    if (this.#told >= to) return;
    const { durable } = this.#options.journal;
    const from = this.#told + 1;
    this.#pass(unitsOf({ from, to, records: undefined, gaps: this.#gaps, durable }), to);
  }

  /** Does what takes time, then goes on. */
  #run(work: () => Promise<void>): void {
    this.#state = "busy";
    void this.#goOnAfter(work);
  }

  async #goOnAfter(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      if (this.#state === "busy") this.#go(this.#runs());
    } catch (error) {
      this.#sink.failed(error);
    }
  }

  /** Sends what memory holds from the cursor on, until the socket is full, and reads on where memory has no more. */
  #go(shared: SharedRuns): void {
    try {
      this.#goOn(shared);
    } catch (error) {
      this.#sink.failed(error);
    }
  }

  #goOn(shared: SharedRuns): void {
    const { journal } = this.#options;
    if (!this.#sink.isOpen) return;
    this.#arrive();
    while (this.#next <= journal.newest) {
      if (this.#sink.isFull) {
        this.#state = "full";
        this.#waitsForMatch = false;
        return;
      }
      const run = this.#next <= this.#skipTo ? undefined : shared.from(this.#next);
      if (run === undefined) return this.#run(() => this.#read());
      const records = shared.matching(run, this.#wanted, this);
      if (records === undefined) {
        this.#state = "busy";
        this.#waitsForMatch = true;
        return;
      }
      this.#passRun(run, records, shared);
      this.#arrive();
    }
    this.#state = "live";
    this.#waitsForMatch = false;
    this.#wasLive = true;
  }

  #passRun(run: Batch, records: Batch, shared: SharedRuns): void {
    const to = run.sequence(run.length - 1);
    if (this.#gaps.length > 0) return this.#passRecords(records, to);
    const isEmpty = records.length === 0;
    this.#pass(isEmpty ? [] : shared.units(run, records, this.#told + 1, this.#wanted), to);
  }

  #passRecords(records: Batch, to: number): void {
    const { durable } = this.#options.journal;
    const from = this.#told + 1;
    const isEmpty = records.length === 0;
    this.#pass(isEmpty ? [] : unitsOf({ from, to, records, gaps: this.#gaps, durable }), to);
  }

  /** Sends the messages of a stretch up to `to`. Where the socket fills up it is taken up again behind the last one. */
  #pass(units: readonly Unit[], to: number): void {
    for (const [index, unit] of units.entries()) {
      if (index > 0 && this.#sink.isFull) {
        this.#next = this.#told + 1;
        return;
      }
      this.#sink.write(unit);
      this.#told = unit.to;
      this.#gaps = [];
    }
    this.#next = to + 1;
  }

  /** Says so, once, when all of the past has been sent. */
  #arrive(): void {
    if (this.#isCaughtUp || this.#next <= this.#historyEnd) return;
    this.#tell();
    this.#isCaughtUp = true;
    this.#since = undefined;
    this.#wanted = this.#choice.filter;
    this.#sink.say({ type: "caught_up", sequence: this.#told });
  }

  /** Passes the next page of what memory does not hold. */
  async #read(): Promise<void> {
    const { journal, matcher, turn } = this.#options;
    const choice = this.#choice;
    this.#skipWhereOutrun();
    const isSkipping = this.#next <= this.#skipTo;
    const page = isSkipping ? await this.#skippedPage() : await this.#page();
    if (page.to < page.from) {
      if (this.#next <= journal.newest) await wait(UNREADABLE_PAUSE_MS);
      return;
    }
    const gaps = await this.#gapsOf(page);
    const { from, to, records } = page;
    const matched =
      records && (await matcher.matched(records, this.#wanted, () => this.#sink.isOpen));
    // A page for another filter may lack what this one wants.
    if (choice !== this.#choice || !this.#sink.isOpen) return;
    this.#owe(gaps);
    if (matched === undefined) this.#pass([], to);
    else this.#passRecords(matched, to);
    if (isSkipping) this.#countSkipped(from, records);
    await turn();
  }

  /** Who was live and is no longer in memory would not catch up by reading everything from the disk. */
  #skipWhereOutrun(): void {
    const { journal, matcher, tooExpensive } = this.#options;
    const { newest, oldest } = journal;
    if (!this.#wasLive || this.#next >= oldest || this.#choice.lane === "audit_log") return;
    this.#skipTo = Math.max(this.#skipTo, newest);
    this.#skipText = undefined;
    if (!this.#waitsForMatch) return;
    const cost = matcher.costOf(this.#wanted);
    this.#skipText = `The filter is too expensive: ${cost}.`;
    tooExpensive(cost);
  }

  #page(): Promise<JournalPage> {
    const { journal } = this.#options;
    const { lane } = this.#choice;
    return journal.read({ from: this.#next, type: lane, sinceMs: this.#since?.ms });
  }

  /** What a viewer gets all the same of what it was too slow for. */
  async #skippedPage(): Promise<JournalPage> {
    const { journal } = this.#options;
    const from = this.#next;
    const nothing = { from, to: this.#skipTo, records: undefined, gaps: [] };
    if (this.#choice.lane === "system_log") return nothing;
    const page = await journal.read({ from, type: "audit_log" });
    return page.to <= this.#skipTo ? page : upTo(page, this.#skipTo);
  }

  async #gapsOf(page: JournalPage): Promise<GapMessage[]> {
    const { lane } = this.#choice;
    const gaps: GapMessage[] = [];
    if (this.#next <= this.#skipTo && lane !== "audit_log") {
      const { from, to } = page;
      const text = this.#skipText && { text: this.#skipText };
      gaps.push({ type: "gap", from, to, reason: "slow", lane: "system_log", ...text });
    }
    for (const gap of page.gaps) {
      const { from, to, type, reason } = gap;
      if (lane !== undefined && type !== undefined && type !== lane) continue;
      if (this.#since && !(await this.#since.concerns(gap, this.#options.journal))) continue;
      gaps.push({ type: "gap", from, to, reason, ...(type && { lane: type }) });
    }
    return gaps;
  }

  /** Gaps are told with the next batch; those that continue another one are one with it. */
  #owe(gaps: readonly GapMessage[]): void {
    for (const gap of gaps) {
      const before = this.#gaps.findIndex(
        ({ to, reason, lane, text }) =>
          to === gap.from - 1 && reason === gap.reason && lane === gap.lane && text === gap.text,
      );
      if (before < 0) this.#gaps.push(gap);
      else this.#gaps[before] = { ...gap, from: this.#gaps[before]!.from };
    }
  }

  #countSkipped(from: number, audit: Batch | undefined): void {
    let records = this.#next - from;
    for (let index = 0; index < (audit?.length ?? 0); index++) {
      if (audit!.sequence(index) < this.#next) records--;
    }
    this.#options.skipped(records);
  }
}

/** The page without what lies behind `last`. */
function upTo({ from, records, gaps }: JournalPage, last: number): JournalPage {
  const kept = records?.select((index) => records.sequence(index) <= last);
  return {
    from,
    to: last,
    records: kept?.length ? kept : undefined,
    gaps: gaps
      .filter((gap) => gap.from <= last)
      .map((gap) => ({ ...gap, to: Math.min(gap.to, last) })),
  };
}
