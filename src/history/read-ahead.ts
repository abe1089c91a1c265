import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import type { StoredBlock } from "../batch/block.ts";
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

/** After so many pages of which a reader used only envelopes, those that follow have nothing else. */
const COMPLETE_PAGES = 3;

interface ReadAheadOptions {
  read(query: HistoryQuery): Promise<HistoryPage>;
  /** Returns the OTLP request of a block from which it was left out. */
  requestOf(block: StoredBlock): Uint8Array;
  /** Whether the history has that sequence. */
  has(sequence: number): boolean;
}

/** Somebody who reads one page after the other. */
interface Reader {
  pages: number;
  /** Whether the OTLP request of a page was needed. */
  usesRequests: boolean;
}

interface AheadPage {
  readonly reading: Promise<HistoryPage>;
  readonly isWithoutRequests: boolean;
}

/**
 * Reads pages, and once a reader has continued where a page ended, the next ones ahead: threads make them while the reader
 * uses those before. Most readers need either the envelopes or the OTLP requests of all pages, so after some pages the
 * requests are left out for those that need none; one that is needed nevertheless is read at once.
 */
export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** By their queries; the oldest comes first. */
  readonly #ahead = new Map<string, AheadPage>();
  /** By the queries with which they continue. */
  readonly #readers = new Map<string, Reader>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  async read(query: HistoryQuery): Promise<HistoryPage> {
    const key = keyOf(query);
    const known = this.#readers.get(key);
    this.#readers.delete(key);
    const reader = known ?? { pages: 0, usesRequests: false };
    const ahead = this.#ahead.get(key);
    this.#ahead.delete(key);
    const isUsable = ahead !== undefined && !(ahead.isWithoutRequests && reader.usesRequests);
    const reading = isUsable ? ahead.reading : this.#start(query, reader).reading;
    reader.pages++;
    // Whoever asks for a page that cannot be read gets the error.
    if (known !== undefined) this.#continue(query, reading, reader).catch(() => {});
    const page = await reading;
    const next = this.#following(query, page);
    if (next !== undefined) this.#expect(keyOf(next), reader);
    return { ...page, blocks: page.blocks.map((block) => this.#watched(block, reader)) };
  }

  #start(query: HistoryQuery, { pages, usesRequests }: Reader): AheadPage {
    const isWithoutRequests = pages >= COMPLETE_PAGES && !usesRequests;
    const reading = this.#options.read({ ...query, isWithoutRequests });
    return { reading, isWithoutRequests };
  }

  #expect(key: string, reader: Reader): void {
    const other = this.#readers.get(key);
    // Of two readers at the same position, either may continue first.
    if (other?.usesRequests === true) reader.usesRequests = true;
    this.#readers.set(key, reader);
    for (const oldest of this.#readers.keys()) {
      if (this.#readers.size <= READERS_MAX) return;
      this.#readers.delete(oldest);
    }
  }

  #watched(block: StoredBlock, reader: Reader): StoredBlock {
    const onRequest = (request: Uint8Array): Uint8Array => {
      reader.usesRequests = true;
      return request.length > 0 ? request : this.#options.requestOf(block);
    };
    return { ...block, onRequest };
  }

  /** Discards what was read ahead: it may have expired since. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#ahead.clear();
  }

  /** Reads the pages after the one that is being read. */
  async #continue(
    query: HistoryQuery,
    reading: Promise<HistoryPage>,
    reader: Reader,
  ): Promise<void> {
    let last = { query, reading };
    for (let pages = 0; pages < PAGES_AHEAD; pages++) {
      const page = await last.reading;
      const next = this.#following(last.query, page);
      if (next === undefined || bytesOf(page) > PAGE_BYTES_MAX) return;
      last = { query: next, reading: this.#readAhead(next, reader).reading };
    }
  }

  #readAhead(query: HistoryQuery, reader: Reader): AheadPage {
    const key = keyOf(query);
    const known = this.#ahead.get(key);
    if (known !== undefined) return known;
    const ahead = this.#start(query, reader);
    ahead.reading.catch(() => this.#ahead.delete(key));
    this.#ahead.set(key, ahead);
    for (const oldest of this.#ahead.keys()) {
      if (this.#ahead.size > PAGES_AHEAD_MAX) this.#ahead.delete(oldest);
    }
    this.#timer ??= setTimeout(() => this.clear(), AHEAD_MS).unref();
    return ahead;
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
