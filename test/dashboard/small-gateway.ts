import type { Envelope } from "tailgate";
import type { FilterQuery } from "tailgate/plugin";
import type {
  HistoryPage,
  HistoryQuery,
  LogEntry,
  MissingRange,
  StreamEvent,
  StreamStatus,
} from "tailgate/client";

type Level = Envelope["data"]["level"];

/**
 * A model of what `LogStream` and `LogHistory` guarantee to a store, not a fake gateway: it lets a property test choose
 * the order of batches, late responses and clicks thousands of times, which sockets would not allow, and it knows the
 * expected result. Other tests check that a real journal behaves like it, and that the store works with a real gateway
 * in browsers (`following.browser.ts`, `cuts.browser.ts`).
 */
export class SmallGateway {
  readonly entries: LogEntry[] = [];
  /** Older records are deleted. */
  oldest = 1;
  filter: FilterQuery = {};
  readonly status: StreamStatus = {
    state: "live",
    reason: "",
    since: 0,
    transport: "tailgate.v1",
    epoch: "e",
  };
  #dispatch: (event: StreamEvent) => void = () => {};
  #version = 0;
  /** True while history responses are held back. */
  #held: (() => void)[] | undefined;

  listen(listener: (event: StreamEvent) => void): () => void {
    this.#dispatch = listener;
    return () => {};
  }

  setFilter(filter: FilterQuery): number {
    this.filter = filter;
    return ++this.#version;
  }

  /** The gateway accepts the filter that was set last. */
  takeFilter(): void {
    this.#dispatch({ type: "filter", version: this.#version });
  }

  dispatch(event: StreamEvent): void {
    this.#dispatch(event);
  }

  get newest(): number {
    return this.entries.length;
  }

  matching(): LogEntry[] {
    return this.entries.filter((entry) => entry.sequence >= this.oldest && this.#matches(entry));
  }

  /** Records that the stream delivers or skips. */
  emit(levels: readonly Level[], isTold = true): void {
    const from = this.newest + 1;
    for (const level of levels) this.entries.push(entryOf(this.newest + 1, level));
    const to = this.newest;
    if (to < from) return;
    if (!isTold) return this.#dispatch({ type: "gap", gap: { from, to, reason: "slow" } });
    const entries = this.entries.slice(from - 1).filter((entry) => this.#matches(entry));
    this.#dispatch({ type: "records", entries, from, to });
  }

  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    for (const answer of this.#held ?? []) answer();
    this.#held = undefined;
  }

  async page({ order, limit = 100, from, cursor, filter }: HistoryQuery): Promise<HistoryPage> {
    const start = cursor === undefined ? from! : Number(cursor);
    if (this.#held) await new Promise<void>((resolve) => this.#held!.push(resolve));
    const isUp = order === "asc";
    const entries: LogEntry[] = [];
    // A search scans a bounded number of records, and so may find none.
    let [at, looks] = [start, 3 * limit];
    for (; this.#isThere(at) && entries.length < limit && looks > 0; at += isUp ? 1 : -1, looks--) {
      const entry = this.entries[at - 1]!;
      if (matches(entry, filter)) entries.push(entry);
    }
    const gone = this.#goneOf(start, at, isUp);
    const isOver = isUp ? at > this.newest : at < this.oldest;
    return { epoch: "e", entries, gaps: gone, nextCursor: isOver ? null : String(at) };
  }

  #isThere(sequence: number): boolean {
    return sequence >= this.oldest && sequence <= this.newest;
  }

  #goneOf(start: number, at: number, isUp: boolean): MissingRange[] {
    const isReached = !isUp && at < this.oldest && this.oldest > 1;
    const to = Math.min(start, this.oldest - 1);
    return isReached && to >= 1 ? [{ from: 1, to, reason: "retention" }] : [];
  }

  #matches(entry: LogEntry): boolean {
    return matches(entry, this.filter);
  }
}

function matches({ envelope }: LogEntry, filter: FilterQuery | undefined): boolean {
  return !filter?.level || envelope.data.level === filter.level;
}

function entryOf(sequence: number, level: Level): LogEntry {
  const place = { module: "", function: "", line: 0 };
  const data = { timestamp: "2025-10-13T09:27:24.339163Z", level, logger: "a", message: "m" };
  return { sequence, envelope: { type: "system_log", data: { ...data, ...place } } };
}
