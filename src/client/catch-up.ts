import type { FilterQuery } from "../wire/filter.ts";
import {
  HistoryError,
  type HistoryPage,
  type HistoryQuery,
  type LogHistory,
} from "./log-history.ts";
import type { Stretch } from "./position.ts";
import type { Surroundings } from "./session.ts";

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
