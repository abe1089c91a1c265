import type { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { Batch, Filter, JournalPage } from "tailgate/plugin";
import type { WebSocket } from "ws";
import {
  Connection,
  INTERNAL_ERROR,
  POLICY_VIOLATION,
  type CloseReason,
  type Surroundings,
  type Viewer,
} from "./connection.ts";
import { framesOf, framesOfAll, pieceOf, type Flush, type Frames } from "./frames.ts";
import type { Waiter } from "./matcher.ts";
import { newestStart } from "./opening.ts";
import { SharedRuns } from "./shared-runs.ts";

/** What has left memory and is not on the disk yet will be there soon. */
const UNREADABLE_PAUSE_MS = 20;

/**
 * One viewer: a cursor over the journal. While it is live it gets each batch as it comes. Where its socket is full it
 * leaves the live stream and goes on from its cursor through the journal's memory, at its own pace, until it has caught
 * up: so a slow client holds no more than its socket's buffer, and replay, slow and live clients get every record once.
 * What delivery leaves out between two batches is left out for live clients, too: delivery has counted it. What the
 * journal has lost, which there is no frame to tell of, is passed over and counted.
 */
export class Client implements Viewer, Waiter {
  readonly connection: Connection;
  /**
   * The connection's own, once more: of a thousand viewers no object is in the processor's cache when a flush comes to
   * it, and each one that it has to touch is a part of the time that a write takes.
   */
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #filter: Filter;
  readonly #surroundings: Surroundings;
  /** The sequence that is due next. */
  #next: number;
  #live = false;
  #wasLive = false;
  /** Since when the socket has been full, in ms of the monotonic clock; undefined while it takes data. */
  #fullSinceMs: number | undefined;
  /** It waits for its filter to be matched; so it did when it fell behind. */
  #waitsForMatch = false;

  /** Due from now on is what the journal takes after this moment; nothing is sent before `start`. */
  constructor(ws: WebSocket, socket: Duplex, filter: Filter, surroundings: Surroundings) {
    this.#ws = ws;
    this.#socket = socket;
    this.#filter = filter;
    this.#surroundings = surroundings;
    this.#next = surroundings.journal.newest + 1;
    this.connection = new Connection(ws, socket, this, surroundings);
  }

  /** Begins with the newest `replay` records that pass the filter. */
  start(replay: number): void {
    if (replay === 0) this.#goLive();
    else this.#replay(replay).catch((error: unknown) => this.#fail(error));
  }

  async #replay(count: number): Promise<void> {
    this.#next = await this.#startOf(count);
    this.#catchUp();
  }

  /** Returns the start of the newest `count` records that match, in memory or on the disk. */
  async #startOf(count: number): Promise<number> {
    const { journal, matcher, turn } = this.#surroundings;
    const end = this.#next;
    const isAll = this.#filter.key === "";
    if (isAll && (journal.oldest <= 1 || end - count >= journal.oldest)) {
      return Math.max(journal.oldest, end - count);
    }
    return newestStart({
      journal,
      matcher,
      wanted: this.#filter,
      lane: this.#filter.type,
      count,
      last: end - 1,
      isOpen: () => this.connection.isOpen,
      turn,
    });
  }

  #goLive(): void {
    this.#live = true;
    this.#wasLive = true;
    this.#waitsForMatch = false;
  }

  /** Takes a batch of the live stream. It never waits and never throws. */
  take(flush: Flush): void {
    if (!this.#live || this.#ws.readyState !== this.#ws.OPEN) return;
    if (flush.first < this.#next) {
      // Delivery came later than the journal: all of the batch has been sent, or the journal has the rest.
      this.#live = false;
      return this.#catchUp();
    }
    try {
      const frames = flush.frames(this.#filter);
      if (frames === undefined) {
        this.#live = false;
        this.#catchUp();
      } else if (!this.#sendWhole(frames)) this.#send(frames);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Hands all of the frames to the socket where it has room for them; else nothing, and answers false. */
  #sendWhole({ records, bytes, next }: Frames): boolean {
    const { writableLength, writableHighWaterMark } = this.#socket;
    const { bufferBytesMax } = this.#surroundings;
    if (writableLength >= writableHighWaterMark) return false;
    if (bytes.length > bufferBytesMax - writableHighWaterMark) return false;
    if (bytes.length > 0) {
      this.#socket.write(bytes);
      this.#surroundings.sent(records.length, bytes.length);
    }
    this.#next = next;
    return true;
  }

  /** Sends what memory holds from the cursor on, until the socket is full or nothing is left. */
  #catchUp(shared?: SharedRuns): void {
    const { journal, matcher } = this.#surroundings;
    const runs = shared ?? new SharedRuns(journal, matcher);
    try {
      while (this.#next <= journal.newest) {
        if (!this.connection.isOpen) return;
        const run = runs.from(this.#next);
        if (!run) return this.#goOnBeyondMemory();
        const frames = runs.frames(run, this.#filter, this);
        if (frames === undefined) {
          this.#waitsForMatch = true;
          return;
        }
        if (!this.#send(frames)) return;
      }
      this.#goLive();
    } catch (error) {
      this.#fail(error);
    }
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  /** The match that the client waited for is done. */
  ready(shared: SharedRuns): void {
    this.#catchUp(shared);
  }

  /** Who was live, and fell behind, would not catch up from the disk. */
  #goOnBeyondMemory(): void {
    if (this.#isOutrun) return this.#endOutrun();
    this.#passPage().catch((error: unknown) => this.#fail(error));
  }

  get #isOutrun(): boolean {
    return this.#wasLive && this.#next < this.#surroundings.journal.oldest;
  }

  async #passPage(): Promise<void> {
    const { journal, turn } = this.#surroundings;
    const page = await journal.read({ from: this.#next });
    const { from, to, records } = page;
    if (to < from) await wait(UNREADABLE_PAUSE_MS);
    else {
      const frames = records && (await this.#pageFrames(records));
      if (!this.connection.isOpen) return;
      const isSent = frames === undefined || this.#send(frames);
      if (isSent) this.#next = to + 1;
      this.#countUnavailable(page);
      if (!isSent) return;
      await turn();
    }
    this.#catchUp();
  }

  async #pageFrames(records: Batch): Promise<Frames | undefined> {
    if (this.#filter.key === "") return framesOfAll(records);
    const { matcher } = this.#surroundings;
    const matched = await matcher.matched(records, this.#filter, () => this.isOpen);
    return matched && framesOf(records, matched);
  }

  /** Of what has been passed of the page. */
  #countUnavailable({ from, records }: JournalPage): void {
    let unavailable = this.#next - from;
    for (let index = 0; index < (records?.length ?? 0); index++) {
      if (records!.sequence(index) < this.#next) unavailable--;
    }
    if (unavailable > 0) this.#surroundings.unavailable(unavailable);
  }

  /**
   * Hands frames to the socket and moves the cursor behind them. Answers false where the socket was full before the
   * last one; the client then goes on when it has drained.
   */
  #send({ records, bytes, next }: Frames): boolean {
    const { connection } = this;
    const { pieceBytesMax } = connection;
    let start = 0;
    let sent = 0;
    while (start < bytes.length && !connection.isFull) {
      const piece =
        bytes.length - start <= pieceBytesMax
          ? { end: bytes.length, count: records.length - sent }
          : pieceOf(bytes, start, pieceBytesMax);
      connection.write(bytes.subarray(start, piece.end));
      start = piece.end;
      sent += piece.count;
    }
    if (sent > 0) this.#surroundings.sent(sent, start);
    const done = start === bytes.length;
    this.#next = done ? next : records.sequence(sent);
    if (!done) this.#waitForDrain();
    return done;
  }

  #waitForDrain(): void {
    this.#live = false;
    this.#waitsForMatch = false;
    this.#fullSinceMs = performance.now();
  }

  drained(): void {
    if (this.#fullSinceMs === undefined) return;
    this.#fullSinceMs = undefined;
    this.connection.hear();
    this.#catchUp();
  }

  /** Ends the connection where the socket has been full for that long, or memory has moved past the cursor. */
  endIfTooSlow(stallMs: number): void {
    if (this.#fullSinceMs === undefined || !this.connection.isOpen) return;
    if (this.#isOutrun) return this.#endOutrun();
    if (performance.now() - this.#fullSinceMs < stallMs) return;
    const text = `too slow: nothing was read for ${stallMs / 1000} s, ${this.behind} records behind`;
    this.close("stalled", POLICY_VIOLATION, text);
  }

  #endOutrun(): void {
    if (this.#waitsForMatch) return this.#endExpensive();
    const text = `too slow: ${this.behind} records behind, the oldest are no longer in memory`;
    this.close("outrun", POLICY_VIOLATION, text);
  }

  #endExpensive(): void {
    const { matcher, tooExpensive } = this.#surroundings;
    const cost = matcher.costOf(this.#filter);
    tooExpensive(cost);
    const text = `filter too expensive: ${cost}, ${this.behind} records behind`;
    this.close("expensive", POLICY_VIOLATION, text);
  }

  #fail(error: unknown): void {
    if (!this.connection.isOpen) return;
    this.#surroundings.log.error("A viewer was disconnected because of a fault.", error);
    this.close("failed", INTERNAL_ERROR, "internal error");
  }

  close(reason: CloseReason, code: number, text: string): void {
    this.connection.close(reason, code, text);
  }

  ending(): void {
    this.#live = false;
    this.#fullSinceMs = undefined;
  }

  get behind(): number {
    return this.#surroundings.journal.newest - this.#next + 1;
  }
}
