import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";

/** The pages that are read before a reader asks for them, of one reader and of all. */
const PAGES_AHEAD = 2;
const PAGES_AHEAD_MAX = 8;

/** After a larger page, the next one is not read ahead. */
const PAGE_BYTES_MAX = 4 << 20;

/** What was read ahead is discarded after this time: its reader has stopped, or is too slow to need it. */
const AHEAD_MS = 5_000;

/** The readers that are known by where they will continue. */
const READERS_MAX = 64;

interface ReadAheadOptions {
  read(query: HistoryQuery): Promise<HistoryPage>;
  /** Whether the history has that sequence. */
  has(sequence: number): boolean;
}

/**
 * Reads pages, and once a reader has continued where a page ended, the next ones ahead: threads make them while the reader
 * uses those before.
 */
export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** By their queries; the oldest comes first. */
  readonly #ahead = new Map<string, Promise<HistoryPage>>();
  /** The queries with which readers continue. */
  readonly #continuations = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  async read(query: HistoryQuery): Promise<HistoryPage> {
    const key = keyOf(query);
    const ahead = this.#ahead.get(key);
    this.#ahead.delete(key);
    const reading = ahead ?? this.#options.read(query);
    // Whoever asks for a page that cannot be read gets the error.
    if (this.#continuations.delete(key)) this.#continue(query, reading).catch(() => {});
    const page = await reading;
    const next = this.#following(query, page);
    if (next !== undefined) addTo(this.#continuations, keyOf(next));
    return page;
  }

  /** Discards what was read ahead: it may have expired since. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#ahead.clear();
  }

  /** Reads the pages after the one that is being read. */
  async #continue(query: HistoryQuery, reading: Promise<HistoryPage>): Promise<void> {
    let last = { query, reading };
    for (let pages = 0; pages < PAGES_AHEAD; pages++) {
      const page = await last.reading;
      const next = this.#following(last.query, page);
      if (next === undefined || bytesOf(page) > PAGE_BYTES_MAX) return;
      last = { query: next, reading: this.#readAhead(next) };
    }
  }

  #readAhead(query: HistoryQuery): Promise<HistoryPage> {
    const key = keyOf(query);
    const known = this.#ahead.get(key);
    if (known !== undefined) return known;
    const reading = this.#options.read(query);
    reading.catch(() => this.#ahead.delete(key));
    this.#ahead.set(key, reading);
    for (const oldest of this.#ahead.keys()) {
      if (this.#ahead.size > PAGES_AHEAD_MAX) this.#ahead.delete(oldest);
    }
    this.#timer ??= setTimeout(() => this.clear(), AHEAD_MS).unref();
    return reading;
  }

  #following(query: HistoryQuery, { from, to }: HistoryPage): HistoryQuery | undefined {
    if (to < from) return undefined;
    const next = query.order === "asc" ? to + 1 : from - 1;
    return this.#options.has(next) ? { ...query, from: next } : undefined;
  }
}

function keyOf({ from, order, type, sinceMs, untilMs }: HistoryQuery): string {
  return JSON.stringify([from, order, type, sinceMs, untilMs]);
}

function bytesOf({ blocks }: HistoryPage): number {
  return blocks.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

function addTo(keys: Set<string>, key: string): void {
  keys.add(key);
  for (const oldest of keys) {
    if (keys.size <= READERS_MAX) return;
    keys.delete(oldest);
  }
}
