import {
  HistoryError,
  type HistoryPage,
  type HistoryQuery,
  type LogHistory,
} from "./log-history.ts";
import { isHidden } from "./browser-page.ts";
import type { Surroundings } from "./session.ts";
import type { FilterQuery } from "../wire/filter.ts";
import type { Stretch } from "./position.ts";

/** How often the gateway is asked where its requests do not wait. */
const INTERVAL_MS = 1_000;

/** Requests follow one another no faster: what comes meanwhile comes together. */
const PACE_MS = 100;

/** Proxies cut a request that is not answered, as a rule not before 30 s. */
const WAIT_SECONDS = 20;
const WAIT_SECONDS_MIN = 1;

/**
 * Records over plain requests, where no WebSocket opens. It shares the stream's position, so that a WebSocket goes on
 * where it has come to, and the other way round. At the newest end one request waits in the gateway for what comes.
 * It asks in intervals where that is not possible: with an older gateway, where something on the way lets no request
 * wait, and on a page that nobody sees, as a browser has only six connections to a host for all of its pages.
 */
export class Poller {
  readonly #history: LogHistory;
  readonly #surroundings: Surroundings;
  readonly #ended = new AbortController();
  /** Aborted when what is waited for is of no use any more. */
  #waiting = new AbortController();
  #waitSeconds = WAIT_SECONDS;

  constructor(history: LogHistory, surroundings: Surroundings) {
    this.#history = history;
    this.#surroundings = surroundings;
  }

  /** Asks again and again until its end; resolves with what keeps it from going on, in words. */
  async run(): Promise<string> {
    this.#surroundings.filters.disconnect();
    const catchUp = new CatchUp(this.#history, this.#surroundings, this.#ended.signal);
    try {
      for (;;) {
        const course = await catchUp.run();
        if (course && this.#canWait) await this.#follow(course);
        else await this.#pause(INTERVAL_MS);
      }
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Does not wait any longer: another filter is wanted, or the network may be another one. */
  askAgain(): void {
    this.#waiting.abort();
    this.#waiting = new AbortController();
  }

  end(): void {
    this.#ended.abort();
    this.#waiting.abort();
  }

  get #canWait(): boolean {
    return this.#waitSeconds >= WAIT_SECONDS_MIN && !isHidden();
  }

  /** Lets one request after the other wait for what comes, as long as all is as it was. */
  async #follow({ filter, version, epoch }: Course): Promise<void> {
    const { position, filters, tell } = this.#surroundings;
    while (this.#canWait && filters.wanted.version === version) {
      const startMs = performance.now();
      const { sequence } = position.resume!;
      const page = await this.#waitingPage({ filter, epoch, from: sequence + 1 });
      if (page?.epoch !== epoch) return;
      tell(position.takePage(stretchOf(page, sequence)));
      if (page.nextCursor === null) this.#waitSeconds = 0;
      if (page.entries.length === PAGE_RECORDS) continue;
      // A gateway with which too many wait, or that stops, answers at once.
      const hasMoved = position.resume!.sequence > sequence;
      await this.#pause(startMs + (hasMoved ? PACE_MS : INTERVAL_MS) - performance.now());
    }
  }

  /** Undefined where it was not waited for any longer, or has failed: so long a request may not get through. */
  async #waitingPage(query: HistoryQuery): Promise<HistoryPage | undefined> {
    const { signal } = this.#waiting;
    const waitSeconds = this.#waitSeconds;
    try {
      const asked = { ...query, order: "asc", limit: PAGE_RECORDS, waitSeconds, signal } as const;
      const page = await this.#history.page(asked);
      signal.throwIfAborted();
      return page;
    } catch (error) {
      this.#ended.signal.throwIfAborted();
      if (!signal.aborted) this.#waitSeconds = isOlderGateway(error) ? 0 : waitSeconds / 2;
      return undefined;
    }
  }

  /** Also over when nothing is waited for any more. */
  async #pause(delayMs: number): Promise<void> {
    const { signal } = this.#waiting;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.max(0, delayMs));
    const giveUp = (): void => resolve();
    signal.addEventListener("abort", giveUp);
    await promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", giveUp);
    this.#ended.signal.throwIfAborted();
  }
}

/** It does not know that requests can wait. */
function isOlderGateway(error: unknown): boolean {
  return error instanceof HistoryError && error.code === "PARAMETER_INVALID";
}

export const PAGE_RECORDS = 1_000;

/** The newest record and its numbering. */
interface Newest {
  readonly epoch: string;
  readonly sequence: number;
}

/** What is followed, from where the position is. */
export interface Course {
  readonly filter: FilterQuery;
  readonly version: number;
  readonly epoch: string;
}

/** Comes up to the newest record over plain requests, from wherever the stream is. */
export class CatchUp {
  readonly #history: LogHistory;
  readonly #surroundings: Surroundings;
  readonly #signal: AbortSignal;
  #since: string | number | undefined;
  #isCaughtUp = false;

  constructor(history: LogHistory, surroundings: Surroundings, signal: AbortSignal) {
    this.#history = history;
    this.#surroundings = surroundings;
    this.#signal = signal;
  }

  /** Answers how to go on at the end, undefined where that is not clear yet. Rejects where it is of no use. */
  async run(): Promise<Course | undefined> {
    const { position, filters, tell } = this.#surroundings;
    const newest = await this.#history.newest(this.#signal);
    this.#signal.throwIfAborted();
    await this.#number(newest.epoch);
    try {
      const { filter, version } = filters.ask();
      // Looks for nothing: no record is that old.
      if (!filters.isTaken(version)) await this.#page({ filter, until: 0, limit: 1 });
      tell(filters.taken(version));
      if (position.resume === undefined && !(await this.#begin(filter, newest))) return undefined;
      const course = { filter, version, epoch: newest.epoch };
      if (await this.#read(course, newest.sequence)) {
        this.#arrive();
        return course;
      }
      return filters.wanted.version === version ? undefined : this.run();
    } catch (error) {
      if (!isRefusedFilter(error)) throw error;
      tell(filters.refused(error.message));
      if (filters.isRefused) throw error;
      return this.run();
    }
  }

  /** What is read from here on is in that numbering; it may be another one than before. */
  async #number(epoch: string): Promise<void> {
    const { position, tell } = this.#surroundings;
    const { resume } = position;
    const isAnother = resume !== undefined && resume.epoch !== epoch;
    const from = isAnother ? await this.#firstLost(resume) : 0;
    position.connect(epoch);
    if (isAnother) tell(position.reset(from));
  }

  /** The first sequence that means another record now, or none. */
  async #firstLost(resume: { epoch: string; sequence: number }): Promise<number> {
    const { epoch, sequence } = resume;
    try {
      // Downwards the history says first what was lost of the numbering that it is asked for.
      const query = { order: "desc", epoch, from: sequence, limit: 1 } as const;
      const [lost] = (await this.#page(query)).gaps;
      return lost?.to === sequence && lost.reason === "not_stored" ? lost.from : sequence + 1;
    } catch (error) {
      if (error instanceof HistoryError && error.code === "CURSOR_GONE") return 1;
      throw error;
    }
  }

  /** Finds the place to start at; what is wanted of the past is behind it. Answers false in another numbering. */
  async #begin(filter: FilterQuery, { epoch, sequence: newest }: Newest): Promise<boolean> {
    const { position, start, tell } = this.#surroundings;
    const { since, replay } = position.startOf(start);
    this.#since = since;
    if (since !== undefined) {
      const page = await this.#page({ filter, order: "asc", since, limit: PAGE_RECORDS });
      if (page.epoch !== epoch) return false;
      tell(position.caughtUp(0));
      tell(position.takePage(stretchOf(page, newest)));
    } else if (replay) {
      const limit = Math.min(replay, PAGE_RECORDS);
      const page = await this.#page({ filter, order: "desc", limit });
      if (page.epoch !== epoch) return false;
      const past = page.entries.filter(({ sequence }) => sequence <= newest).toReversed();
      tell(position.caughtUp((past[0]?.sequence ?? newest + 1) - 1));
      tell(position.takePage({ to: newest, entries: past, gaps: [] }));
    } else tell(position.caughtUp(newest));
    return true;
  }

  /** Answers whether everything up to the newest record has come, and not another filter or numbering. */
  async #read({ filter, version, epoch }: Course, newest: number): Promise<boolean> {
    const { position, filters, tell } = this.#surroundings;
    while (position.resume!.sequence < newest) {
      if (filters.wanted.version !== version) return false;
      const query = { filter, order: "asc", since: this.#since, limit: PAGE_RECORDS } as const;
      const page = await this.#page({ ...query, epoch, from: position.resume!.sequence + 1 });
      if (page.epoch !== epoch) return false;
      tell(position.takePage(stretchOf(page, newest)));
    }
    this.#since = undefined;
    return true;
  }

  async #page(query: HistoryQuery): Promise<HistoryPage> {
    const page = await this.#history.page({ ...query, signal: this.#signal });
    this.#signal.throwIfAborted();
    return page;
  }

  #arrive(): void {
    const { position, tell } = this.#surroundings;
    if (this.#isCaughtUp) return;
    this.#isCaughtUp = true;
    tell([{ type: "caught_up", sequence: position.resume!.sequence }]);
  }
}

/** At the end of the journal a page does not say how far it goes: at least as far as the newest record before. */
export function stretchOf({ entries, gaps, nextCursor }: HistoryPage, newest: number): Stretch {
  if (nextCursor !== null) {
    const next = Number(nextCursor.slice(nextCursor.lastIndexOf(":") + 1));
    return { to: next - 1, entries, gaps };
  }
  const last = Math.max(newest, entries.at(-1)?.sequence ?? 0);
  const to = gaps.reduce((end, gap) => Math.max(end, gap.to), last);
  return { to, entries, gaps };
}

function isRefusedFilter(error: unknown): error is HistoryError {
  return error instanceof HistoryError && error.code === "FILTER_INVALID";
}
