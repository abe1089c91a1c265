import { once } from "node:events";
import type { Duplex } from "node:stream";
import type { HostJournal, HostLogger } from "tailgate/plugin";
import type { WebSocket } from "ws";
import type { Matcher } from "./matcher.ts";

/** What all viewers share. */
export interface Surroundings {
  readonly journal: HostJournal;
  readonly matcher: Matcher;
  readonly log: HostLogger;
  /** What the socket of one viewer may hold unsent. */
  readonly bufferBytesMax: number;
  /** Resolves at the next turn of the event loop that no other viewer has: reading records for filters takes time. */
  readonly turn: () => Promise<void>;
  /** Counts what was handed to a socket. */
  sent(frames: number, bytes: number): void;
  /** Counts what a viewer was still due when the gateway ended its connection. */
  missed(records: number, reason: CloseReason): void;
  /** Counts and logs that a client could not follow because its filter takes too long to match. */
  tooExpensive(cost: string): void;
  /** Counts what a viewer that cannot be told of gaps did not get because the journal has lost it. */
  unavailable(records: number): void;
  /** Told once, at the end of the connection. */
  gone(viewer: Viewer, reason: CloseReason): void;
}

/**
 * `closed` by the viewer; `lost` without a goodbye; `protocol` what it sent was no WebSocket; `misuse` its messages were
 * no `tailgate.v1`; `stalled` it did not read; `outrun` it read too slowly; `expensive` its filter took too long to match; `dead` it did not answer pings; `failed`
 * through a fault of ours; `stopping` the gateway.
 */
export const CLOSE_REASONS = [
  "closed",
  "lost",
  "protocol",
  "misuse",
  "stalled",
  "outrun",
  "expensive",
  "dead",
  "failed",
  "stopping",
] as const;

export type CloseReason = (typeof CLOSE_REASONS)[number];

/** Close codes (RFC 6455, 7.4.1). */
export const GOING_AWAY = 1001;
const NO_CLOSE_FRAME = 1006;
export const POLICY_VIOLATION = 1008;
export const INTERNAL_ERROR = 1011;

/** Whoever reads records and hands them to the socket of a connection. */
export interface Viewer {
  readonly connection: Connection;
  /** How many records were appended and not handed to the socket. */
  readonly behind: number;
  /** The socket has taken what it held. */
  drained(): void;
  /** Told before the connection is closed or cut by the gateway: nothing more is handed to it. */
  ending(): void;
  /** Ends the connection where nothing was read for that long. */
  endIfTooSlow(stallMs: number): void;
  /** Says goodbye behind what the socket holds. */
  close(reason: "stopping", code: number, text: string): void;
}

/** The life of a viewer's socket: signs of life, and an end with a reason. */
export class Connection {
  readonly ws: WebSocket;
  readonly #socket: Duplex;
  readonly #surroundings: Surroundings;
  readonly #viewer: Viewer;
  /** Whether there was a sign of life since the last ping. */
  #heard = true;
  #reason: CloseReason | undefined;

  constructor(ws: WebSocket, socket: Duplex, viewer: Viewer, surroundings: Surroundings) {
    this.ws = ws;
    this.#socket = socket;
    this.#viewer = viewer;
    this.#surroundings = surroundings;
    socket.on("drain", () => viewer.drained());
    const hear = (): void => this.hear();
    ws.on("message", hear).on("ping", hear).on("pong", hear);
    // ws answers a violation with the close code for it; the socket's own errors come as a close without a frame.
    ws.on("error", () => {
      this.#reason ??= "protocol";
    });
    ws.once("close", (code) => {
      surroundings.gone(viewer, this.#reason ?? (code === NO_CLOSE_FRAME ? "lost" : "closed"));
    });
  }

  get isOpen(): boolean {
    return this.ws.readyState === this.ws.OPEN;
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** At this point the stream has promised a drain event. */
  get isFull(): boolean {
    return this.#socket.writableLength >= this.#socket.writableHighWaterMark;
  }

  /** What may be written at once where the socket is not full, so that it stays within the buffer. */
  get pieceBytesMax(): number {
    return this.#surroundings.bufferBytesMax - this.#socket.writableHighWaterMark;
  }

  /** Whole frames. */
  write(frames: Uint8Array): void {
    this.#socket.write(frames);
  }

  /** Takes note of a sign of life. */
  hear(): void {
    this.#heard = true;
  }

  /** Ends the connection where nothing was heard since the last ping, else sends one. */
  ping(): void {
    if (!this.isOpen) return;
    if (!this.#heard) return this.terminate("dead");
    this.#heard = false;
    this.ws.ping();
  }

  /** Says goodbye behind what the socket holds. `text`: at most 123 bytes (RFC 6455, 5.5). */
  close(reason: CloseReason, code: number, text: string): void {
    if (!this.isOpen) return;
    this.#end(reason);
    this.ws.close(code, text);
  }

  /** Cuts the connection off. */
  terminate(reason: CloseReason): void {
    if (this.isOpen) this.#end(reason);
    this.ws.terminate();
  }

  #end(reason: CloseReason): void {
    this.#reason = reason;
    this.#viewer.ending();
    const { behind } = this.#viewer;
    if (behind > 0) this.#surroundings.missed(behind, reason);
  }

  /** Resolves at the end of the connection; rejects when the signal aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    await once(this.ws, "close", { signal });
  }
}
