import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Gap, HostJournal } from "../../plugin/index.ts";
import { chunksOf, type ResponseBudget, type ResponseMemory } from "../server/response-budget.ts";
import type { JournalSearch, JournalSearches, Searcher, SearchResult } from "./journal-search.ts";
import { cursorText } from "./query.ts";
import { gapJson, LINES, RecordPage } from "./record-page.ts";

/** The most records of one part of the response; its bytes are limited as those of any page. */
const PART_RECORDS_MAX = 10_000;

/** A line with gaps is written when this many are waiting. */
const GAPS_MAX = 64;

/** How long the response waits for memory that other responses have. */
const MEMORY_DELAY_MS = 100;

interface RecordStreamOptions {
  readonly journal: HostJournal;
  readonly searches: JournalSearches;
  readonly budget: ResponseBudget;
  readonly response: ServerResponse;
  readonly searcher: Searcher;
  /** True if the response has to end soon. */
  readonly isStopping: () => boolean;
}

/** A part of the response. */
interface Part {
  readonly page: RecordPage;
  readonly result: SearchResult;
}

/**
 * All records that match, up to those that the journal has when the request arrives, as lines. It searches part by part, each
 * when the client has read the one before, so that it takes neither memory nor a search of others from a slow client. After
 * the records, a line without `sequence` has the epoch, the gaps, and the cursor with which to continue: null at the end. The
 * same line may be among the records, with the gaps before it.
 */
export class RecordStream {
  /** The records that were handed over so far. */
  records = 0;
  readonly #options: RecordStreamOptions;
  readonly #search: JournalSearch;
  readonly #epoch: string;
  readonly #newest: number;
  readonly #memory: ResponseMemory;
  #gaps: Gap[] = [];
  #next: number | undefined;

  constructor(search: JournalSearch, lost: Gap | undefined, options: RecordStreamOptions) {
    const { journal, budget, response } = options;
    this.#options = options;
    this.#search = search;
    this.#epoch = journal.epoch;
    this.#newest = journal.newest;
    this.#memory = budget.open(response);
    this.#next = search.from;
    if (lost) this.#gaps.push(lost);
  }

  /**
   * Searches the first part. Only then it is known that there is a response.
   * @throws HttpError as a search does, and ANSWERS_UNREAD
   */
  async begin(): Promise<AsyncIterable<Buffer>> {
    const first = await this.#searchPart(false);
    if (first.page.isRejected) throw this.#options.budget.exceeded();
    return this.#chunks(first);
  }

  async *#chunks(first: Part): AsyncGenerator<Buffer> {
    for (let part = first; ; part = await this.#searchPart(true)) {
      if (this.#options.response.destroyed) return;
      if (this.#options.journal.epoch !== this.#epoch) throw new Error("the journal has changed");
      yield* this.#chunksOf(part);
      // What is still in the stream is small, and its response must not wait for its own memory.
      this.#memory.releaseAll();
      const isEnd = this.#next === undefined || this.#options.isStopping();
      if (isEnd || this.#gaps.length >= GAPS_MAX) yield this.#statusLine();
      if (isEnd) return;
      if (part.page.isRejected) await delay(MEMORY_DELAY_MS);
    }
  }

  *#chunksOf({ page, result }: Part): Generator<Buffer> {
    const buffers = page.takeBuffers();
    for (let buffer = buffers.shift(); buffer; buffer = buffers.shift()) yield* chunksOf(buffer);
    this.records += page.count;
    this.#gaps.push(...result.gaps);
    const isPast = result.next !== undefined && result.next > this.#newest;
    this.#next = isPast ? undefined : result.next;
  }

  async #searchPart(isContinued: boolean): Promise<Part> {
    const { budget, searches, searcher } = this.#options;
    const memory = { budget, memory: this.#memory };
    const page = new RecordPage(PART_RECORDS_MAX, LINES, memory, this.#newest);
    const search = { ...this.#search, from: this.#next!, isContinued };
    return { page, result: await searches.run(search, page, searcher) };
  }

  #statusLine(): Buffer {
    const epoch = this.#epoch;
    const next = this.#next;
    const line = {
      epoch,
      gaps: this.#gaps.splice(0).map(gapJson),
      next_cursor: next === undefined ? null : cursorText(epoch, next),
    };
    return Buffer.from(`${JSON.stringify(line)}\n`);
  }
}
