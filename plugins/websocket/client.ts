import { once } from "node:events";
import type { Duplex } from "node:stream";
import type { Filter, HostJournal, HostLogger } from "tailgate/plugin";
import type { WebSocket } from "ws";
import { framesOf, pieceOf, type Flush, type Frames } from "./frames.ts";
import { replayStart, TURN_RECORDS_MAX } from "./replay.ts";

/** What all clients share. */
export interface Surroundings {
  readonly journal: HostJournal;
  readonly log: HostLogger;
  /** What the socket of one client may hold unsent. */
  readonly bufferBytesMax: number;
  /** Resolves at the next turn of the event loop that no other client has: reading records for filters takes time. */
  readonly turn: () => Promise<void>;
  /** Counts what was handed to a socket. */
  sent(frames: number, bytes: number): void;
  /** Counts what a client was still due when the gateway ended its connection. */
  missed(records: number, reason: CloseReason): void;
  /** Told once, at the end of the connection. */
  gone(client: Client, reason: CloseReason): void;
}

/**
 * `closed` by the client; `lost` without a goodbye; `protocol` what it sent was no WebSocket; `stalled` it did not
 * read; `outrun` it read too slowly; `dead` it did not answer pings; `failed` through a fault of ours; `stopping` the
 * gateway.
 */
export type CloseReason =
  | "closed"
  | "lost"
  | "protocol"
  | "stalled"
  | "outrun"
  | "dead"
  | "failed"
  | "stopping";

/** Close codes (RFC 6455, 7.4.1). */
const NO_CLOSE_FRAME = 1006;
const POLICY_VIOLATION = 1008;
const INTERNAL_ERROR = 1011;

/**
 * One viewer: a cursor over the journal. While it is live it gets each batch as it comes. Where its socket is full it
 * leaves the live stream and goes on from its cursor through the journal's memory, at its own pace, until it has caught
 * up: so a slow client holds no more than its socket's buffer, and replay, slow and live clients get every record once.
 * What delivery leaves out between two batches is left out for live clients, too: delivery has counted it.
 */
export class Client {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #filter: Filter;
  readonly #surroundings: Surroundings;
  /** Together with what makes the socket full it stays within the buffer. */
  readonly #pieceBytesMax: number;
  /** The sequence that is due next. */
  #next: number;
  #live = false;
  /** Since when the socket has been full, in ms of the monotonic clock; undefined while it takes data. */
  #fullSinceMs: number | undefined;
  /** Whether there was a sign of life since the last ping. */
  #heard = true;
  #reason: CloseReason | undefined;

  /** Due from now on is what the journal takes after this moment; nothing is sent before `start`. */
  constructor(ws: WebSocket, socket: Duplex, filter: Filter, surroundings: Surroundings) {
    this.#ws = ws;
    this.#socket = socket;
    this.#filter = filter;
    this.#surroundings = surroundings;
    this.#pieceBytesMax = surroundings.bufferBytesMax - socket.writableHighWaterMark;
    this.#next = surroundings.journal.newest + 1;
    socket.on("drain", () => this.#drained());
    const hear = (): void => {
      this.#heard = true;
    };
    ws.on("message", hear).on("ping", hear).on("pong", hear);
    // ws answers a violation with the close code for it; the socket's own errors come as a close without a frame.
    ws.on("error", () => {
      this.#reason ??= "protocol";
    });
    ws.once("close", (code) => {
      this.#surroundings.gone(this, this.#reason ?? (code === NO_CLOSE_FRAME ? "lost" : "closed"));
    });
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Begins with the newest `replay` records that pass the filter. */
  start(replay: number): void {
    if (replay === 0) this.#live = true;
    else this.#replay(replay).catch((error: unknown) => this.#fail(error));
  }

  async #replay(count: number): Promise<void> {
    const { journal, turn } = this.#surroundings;
    const start = await replayStart({
      journal,
      filter: this.#filter,
      count,
      end: this.#next,
      isWanted: () => this.#isOpen,
      turn,
    });
    // The oldest ones may have left memory during the search.
    this.#next = Math.max(start, journal.oldest);
    this.#catchUp();
  }

  /** Takes a batch of the live stream. It never waits and never throws. */
  take(flush: Flush): void {
    if (!this.#live || !this.#isOpen) return;
    if (flush.first < this.#next) {
      // Delivery came later than the journal: all of the batch has been sent, or the journal has the rest.
      this.#live = false;
      return this.#catchUp();
    }
    try {
      this.#send(flush.frames(this.#filter));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Sends what memory holds from the cursor on, until the socket is full or nothing is left. */
  #catchUp(): void {
    const { journal, turn } = this.#surroundings;
    let examined = 0;
    try {
      while (this.#next <= journal.newest) {
        if (!this.#isOpen) return;
        if (examined >= TURN_RECORDS_MAX) return void turn().then(() => this.#catchUp());
        const run = journal.readFrom(this.#next);
        if (!run) return this.#endOutrun();
        if (!this.#send(framesOf(run, this.#filter))) return;
        // Without a filter nothing is looked at, and the socket sets the limit.
        if (this.#filter.key !== "") examined += run.length;
      }
      this.#live = true;
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Hands frames to the socket and moves the cursor behind them. Answers false where the socket was full before the
   * last one; the client then goes on when it has drained.
   */
  #send({ records, bytes, next }: Frames): boolean {
    let start = 0;
    let sent = 0;
    while (start < bytes.length && !this.#isFull) {
      const piece =
        bytes.length - start <= this.#pieceBytesMax
          ? { end: bytes.length, count: records.length - sent }
          : pieceOf(bytes, start, this.#pieceBytesMax);
      this.#socket.write(bytes.subarray(start, piece.end));
      start = piece.end;
      sent += piece.count;
    }
    if (sent > 0) this.#surroundings.sent(sent, start);
    const done = start === bytes.length;
    this.#next = done ? next : records.sequence(sent);
    if (!done) this.#waitForDrain();
    return done;
  }

  /** At this point the stream has promised a drain event. */
  get #isFull(): boolean {
    return this.#socket.writableLength >= this.#socket.writableHighWaterMark;
  }

  #waitForDrain(): void {
    this.#live = false;
    this.#fullSinceMs = performance.now();
  }

  #drained(): void {
    if (this.#fullSinceMs === undefined) return;
    this.#fullSinceMs = undefined;
    this.#heard = true;
    this.#catchUp();
  }

  /** Ends the connection where nothing was heard since the last ping, else sends one. */
  ping(): void {
    if (!this.#isOpen) return;
    if (!this.#heard) return this.terminate("dead");
    this.#heard = false;
    this.#ws.ping();
  }

  /** Ends the connection where the socket has been full for that long, or memory has moved past the cursor. */
  endIfTooSlow(stallMs: number): void {
    if (this.#fullSinceMs === undefined || !this.#isOpen) return;
    if (this.#next < this.#surroundings.journal.oldest) return this.#endOutrun();
    if (performance.now() - this.#fullSinceMs < stallMs) return;
    const text = `too slow: nothing was read for ${stallMs / 1000} s, ${this.#behind} records behind`;
    this.close("stalled", POLICY_VIOLATION, text);
  }

  #endOutrun(): void {
    const text = `too slow: ${this.#behind} records behind, the oldest are no longer in memory`;
    this.close("outrun", POLICY_VIOLATION, text);
  }

  #fail(error: unknown): void {
    if (!this.#isOpen) return;
    this.#surroundings.log.error("A viewer was disconnected because of a fault.", error);
    this.close("failed", INTERNAL_ERROR, "internal error");
  }

  /** Says goodbye behind what the socket holds. `text`: at most 123 bytes (RFC 6455, 5.5). */
  close(reason: CloseReason, code: number, text: string): void {
    if (!this.#isOpen) return;
    this.#end(reason);
    this.#ws.close(code, text);
  }

  /** Cuts the connection off. */
  terminate(reason: CloseReason): void {
    if (this.#isOpen) this.#end(reason);
    this.#ws.terminate();
  }

  #end(reason: CloseReason): void {
    this.#reason = reason;
    this.#live = false;
    this.#fullSinceMs = undefined;
    if (this.#behind > 0) this.#surroundings.missed(this.#behind, reason);
  }

  /** How many records were appended and not handed to the socket. */
  get #behind(): number {
    return this.#surroundings.journal.newest - this.#next + 1;
  }

  get #isOpen(): boolean {
    return this.#ws.readyState === this.#ws.OPEN;
  }

  /** Resolves at the end of the connection; rejects when the signal aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    await once(this.#ws, "close", { signal });
  }
}
