import type { FilterQuery } from "../wire/filter.ts";
import { isHidden } from "./browser-page.ts";
import {
  type HistoryError,
  type HistoryPage,
  type HistoryQuery,
  type LogHistory,
} from "./log-history.ts";
import type { PageRange } from "./position.ts";
import type { SessionContext } from "./session.ts";
import { delay } from "./timing.ts";

/** How often the gateway is asked when requests cannot wait for records. */
const INTERVAL_MS = 1_000;

/** The minimum time between two requests, so that records arrive in batches. */
const PACE_MS = 100;

/** Proxies end requests without a response, usually after 30 s or more. */
const WAIT_SECONDS = 20;
const WAIT_SECONDS_MIN = 1;

const PAGE_RECORDS = 1_000;

/** What is polled from the stream's position on. */
interface PollTarget {
  readonly filter: FilterQuery;
  readonly version: number;
  readonly epoch: string;
}

/**
 * Gets records over plain HTTP requests where WebSockets are blocked. It shares the stream's position, so that a
 * WebSocket can resume where it stopped and vice versa. At the head of the journal a request waits in the gateway for
 * new records (long polling). It polls in intervals instead with gateways that do not support waiting, if something in
 * between ends waiting requests, and on hidden pages, because browsers share six connections to a host between all pages.
 */
export class Poller {
  readonly #history: LogHistory;
  readonly #context: SessionContext;
  readonly #ended = new AbortController();
  /** Aborted when waiting is no longer useful. */
  #waiting = new AbortController();
  #waitSeconds = WAIT_SECONDS;
  /** Of the stream's start, while it is read. */
  #since: string | number | undefined;
  #isCaughtUp = false;

  constructor(history: LogHistory, context: SessionContext) {
    this.#history = history;
    this.#context = context;
  }

  /** Polls until `end()` or a failure, and resolves with its reason, in words. */
  async run(): Promise<string> {
    this.#context.filters.disconnect();
    try {
      for (;;) {
        const target = await this.#catchUp();
        if (target && this.#canWait) await this.#longPoll(target);
        else await this.#pause(INTERVAL_MS);
      }
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** Stops waiting and asks again: the filter has changed, or the network may have. */
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

  async #longPoll({ filter, version, epoch }: PollTarget): Promise<void> {
    const { position, filters, raw, emit, resumed } = this.#context;
    while (this.#canWait && filters.wanted.version === version) {
      await resumed();
      const startMs = performance.now();
      const { sequence } = position.resume!;
      const page = await this.#waitForPage({ filter, epoch, from: sequence + 1, raw });
      if (page?.epoch !== epoch) return;
      emit(position.advanceByPage(pageRange(page, sequence)));
      if (page.nextCursor === null) this.#waitSeconds = 0;
      if (page.entries.length === PAGE_RECORDS) continue;
      // A gateway that is stopping, or has too many waiting requests, responds at once.
      const hasMoved = position.resume!.sequence > sequence;
      await this.#pause(startMs + (hasMoved ? PACE_MS : INTERVAL_MS) - performance.now());
    }
  }

  /** Returns undefined if waiting was stopped or failed: requests that wait this long may not get through. */
  async #waitForPage(query: HistoryQuery): Promise<HistoryPage | undefined> {
    const { signal } = this.#waiting;
    const waitSeconds = this.#waitSeconds;
    try {
      const waiting = { ...query, order: "asc", limit: PAGE_RECORDS, waitSeconds, signal } as const;
      const page = await this.#history.page(waiting);
      signal.throwIfAborted();
      return page;
    } catch (error) {
      this.#ended.signal.throwIfAborted();
      // PARAMETER_INVALID: the gateway does not know the parameter `wait`.
      if (!signal.aborted)
        this.#waitSeconds = hasCode(error, "PARAMETER_INVALID") ? 0 : waitSeconds / 2;
      return undefined;
    }
  }

  async #pause(delayMs: number): Promise<void> {
    // Ends early when asking again is useful.
    await delay(Math.max(0, delayMs), this.#waiting.signal);
    this.#ended.signal.throwIfAborted();
  }

  /**
   * Catches up with the head of the journal, from the stream's position or start. Resolves with what to poll next, or undefined if it has to run again. Rejects if polling is impossible.
   */
  async #catchUp(): Promise<PollTarget | undefined> {
    const { position, filters, emit } = this.#context;
    const { signal } = this.#ended;
    const newest = await this.#history.newest(signal);
    signal.throwIfAborted();
    await this.#enterEpoch(newest.epoch);
    try {
      const { filter, version } = filters.request();
      // Only checks the filter: no record is that old.
      if (!filters.isAccepted(version)) await this.#page({ filter, until: 0, limit: 1 });
      emit(filters.accept(version));
      const target = { filter, version, epoch: newest.epoch };
      if (position.resume === undefined && !(await this.#start(target, newest.sequence))) {
        return undefined;
      }
      if (await this.#readTo(newest.sequence, target)) {
        const { sequence } = position.resume!;
        if (!this.#isCaughtUp) emit([{ type: "caught_up", sequence }]);
        this.#isCaughtUp = true;
        return target;
      }
      return filters.wanted.version === version ? undefined : this.#catchUp();
    } catch (error) {
      if (!hasCode(error, "FILTER_INVALID")) throw error;
      emit(filters.reject(error.message));
      if (filters.isRejected) throw error;
      return this.#catchUp();
    }
  }

  /** Records from here on are of this epoch, which may have changed. */
  async #enterEpoch(epoch: string): Promise<void> {
    const { position, emit } = this.#context;
    const { resume } = position;
    const hasChanged = resume !== undefined && resume.epoch !== epoch;
    const from = hasChanged ? await this.#firstLost(resume) : 0;
    position.connect(epoch);
    if (hasChanged) emit(position.reset(from));
  }

  /** Returns the first sequence that was assigned to another record in the new epoch. */
  async #firstLost(resume: { epoch: string; sequence: number }): Promise<number> {
    const { epoch, sequence } = resume;
    try {
      // In descending order the first gap tells what was lost of the requested epoch.
      const query = { order: "desc", epoch, from: sequence, limit: 1 } as const;
      const [lost] = (await this.#page(query)).gaps;
      return lost?.to === sequence && lost.reason === "not_stored" ? lost.from : sequence + 1;
    } catch (error) {
      if (hasCode(error, "CURSOR_GONE")) return 1;
      throw error;
    }
  }

  /** Reads the past that the stream starts with. Returns false if the epoch has changed. */
  async #start({ filter, epoch }: PollTarget, newest: number): Promise<boolean> {
    const { position, start, emit } = this.#context;
    const { since, replay } = position.startFrom(start);
    this.#since = since;
    if (since !== undefined) {
      const page = await this.#page({ filter, order: "asc", since, limit: PAGE_RECORDS });
      if (page.epoch !== epoch) return false;
      emit(position.caughtUp(0));
      emit(position.advanceByPage(pageRange(page, newest)));
    } else if (replay) {
      const limit = Math.min(replay, PAGE_RECORDS);
      const page = await this.#page({ filter, order: "desc", limit });
      if (page.epoch !== epoch) return false;
      const entries = page.entries.filter(({ sequence }) => sequence <= newest).toReversed();
      emit(position.caughtUp((entries[0]?.sequence ?? newest + 1) - 1));
      emit(position.advanceByPage({ to: newest, entries, gaps: [] }));
    } else emit(position.caughtUp(newest));
    return true;
  }

  /** Reads up to the sequence `newest`. Returns false if the filter or the epoch has changed. */
  async #readTo(newest: number, { filter, version, epoch }: PollTarget): Promise<boolean> {
    const { position, filters, emit } = this.#context;
    while (position.resume!.sequence < newest) {
      if (filters.wanted.version !== version) return false;
      const query = { filter, order: "asc", since: this.#since, limit: PAGE_RECORDS } as const;
      const page = await this.#page({ ...query, epoch, from: position.resume!.sequence + 1 });
      if (page.epoch !== epoch) return false;
      emit(position.advanceByPage(pageRange(page, newest)));
    }
    this.#since = undefined;
    return true;
  }

  async #page(query: HistoryQuery): Promise<HistoryPage> {
    const { raw, resumed } = this.#context;
    await resumed();
    const page = await this.#history.page({ ...query, raw, signal: this.#ended.signal });
    this.#ended.signal.throwIfAborted();
    return page;
  }
}

/** The last page does not say how far it reaches: at least to the sequence that was the newest before. */
function pageRange({ entries, gaps, nextCursor }: HistoryPage, newest: number): PageRange {
  if (nextCursor !== null) {
    const next = Number(nextCursor.split(":").at(-1));
    return { to: next - 1, entries, gaps };
  }
  const last = Math.max(newest, entries.at(-1)?.sequence ?? 0);
  const to = gaps.reduce((end, gap) => Math.max(end, gap.to), last);
  return { to, entries, gaps };
}

function hasCode(error: unknown, code: string): error is HistoryError {
  return (error as Partial<HistoryError>).code === code;
}
