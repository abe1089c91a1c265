import { once } from "node:events";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";

/**
 * Why a connection ended. `closed`: by the client; `lost`: without a close frame; `protocol`: the client violated RFC
 * 6455; `misuse`: it sent too many invalid `tailgate.v1` messages; `stalled`: it stopped reading; `outrun`: it read too
 * slowly; `expensive`: its filter took too long to match; `unauthorized`: its access ended; `dead`: it did not answer
 * pings; `failed`: an internal error; `stopping`: the gateway is shutting down.
 */
export const CLOSE_REASONS = [
  "closed",
  "lost",
  "protocol",
  "misuse",
  "stalled",
  "outrun",
  "expensive",
  "unauthorized",
  "dead",
  "failed",
  "stopping",
] as const;

export type CloseReason = (typeof CLOSE_REASONS)[number];

/** Close codes (RFC 6455, section 7.4.1). */
export const GOING_AWAY = 1001;
const NO_CLOSE_FRAME = 1006;
export const POLICY_VIOLATION = 1008;
export const INTERNAL_ERROR = 1011;

export interface ConnectionListener {
  drained(): void;
  /** Called before the gateway closes or cuts the connection: from then on nothing more may be written. */
  closing(reason: CloseReason): void;
  closed(reason: CloseReason): void;
}

/** A client's socket: writing with backpressure, heartbeat, and an end with a reason. */
export class Connection {
  readonly ws: WebSocket;
  readonly #socket: Duplex;
  readonly #listener: ConnectionListener;
  /** Whether there was a sign of life since the last ping. */
  #isAlive = true;
  #reason: CloseReason | undefined;
  /** How much the socket held unsent at the last check. */
  #unsentBytes = 0;
  /** When a check first found the socket full, with nothing read since; undefined if it was not full or has been read. */
  #stuckSinceMs: number | undefined;

  constructor(ws: WebSocket, socket: Duplex, listener: ConnectionListener) {
    this.ws = ws;
    this.#socket = socket;
    this.#listener = listener;
    const confirmAlive = (): void => {
      this.#isAlive = true;
    };
    socket.on("drain", () => {
      confirmAlive();
      this.#stuckSinceMs = undefined;
      listener.drained();
    });
    ws.on("message", confirmAlive).on("ping", confirmAlive).on("pong", confirmAlive);
    // ws answers a violation with the close code for it; errors of the socket end in a close without a frame.
    ws.on("error", () => {
      this.#reason ??= "protocol";
    });
    ws.once("close", (code) => {
      listener.closed(this.#reason ?? (code === NO_CLOSE_FRAME ? "lost" : "closed"));
    });
  }

  get isOpen(): boolean {
    return this.ws.readyState === this.ws.OPEN;
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** If true, write nothing more: the stream will emit a drain event. */
  get isFull(): boolean {
    return this.#socket.writableLength >= this.#socket.writableHighWaterMark;
  }

  write(frames: Uint8Array): void {
    this.#socket.write(frames);
  }

  ping(): void {
    if (!this.isOpen) return;
    if (!this.#isAlive) return this.terminate("dead");
    this.#isAlive = false;
    this.ws.ping();
  }

  /** Returns whether nothing was read from a full socket for that long. To be called several times within that time. */
  isStalled(stallMs: number): boolean {
    const { unsentBytes } = this;
    const hasRead = unsentBytes < this.#unsentBytes;
    this.#unsentBytes = unsentBytes;
    if (hasRead) this.#isAlive = true;
    if (hasRead || !this.isFull) {
      this.#stuckSinceMs = undefined;
      return false;
    }
    this.#stuckSinceMs ??= performance.now();
    return this.isOpen && performance.now() - this.#stuckSinceMs >= stallMs;
  }

  /** Sends a close frame after what the socket holds. `text` has at most 123 bytes (RFC 6455, section 5.5). */
  close(reason: CloseReason, code: number, text: string): void {
    if (!this.isOpen) return;
    this.#end(reason);
    this.ws.close(code, text);
  }

  terminate(reason: CloseReason): void {
    if (this.isOpen) this.#end(reason);
    this.ws.terminate();
  }

  #end(reason: CloseReason): void {
    this.#reason = reason;
    this.#listener.closing(reason);
  }

  /** Resolves when the connection has ended; rejects when the signal aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    await once(this.ws, "close", { signal });
  }
}
