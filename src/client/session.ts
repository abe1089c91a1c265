import type { ClientMessage, Start } from "../wire/protocol.ts";
import type { FilterChanges } from "./filter-changes.ts";
import type { Position } from "./position.ts";
import type { StreamEvent, StreamStatus, Transport } from "./stream-events.ts";

/** What all ways of getting records share: how far the stream is, what it is asked for, and where events go. */
export interface Surroundings {
  readonly position: Position;
  readonly filters: FilterChanges;
  /** How it starts where the position is not known. */
  readonly start: Start;
  readonly dial: Omit<Dial, "subprotocols">;
  tell(events: readonly StreamEvent[]): void;
  enter(state: StreamStatus["state"], reason: string, transport: Transport): void;
  /** The connection is there, and nothing else should bring records. */
  connected(): void;
}

export interface SessionEnd {
  /** The gateway has spoken. */
  readonly wasOpen: boolean;
  readonly reason: string;
  /** It was ended for the sake of another one. */
  readonly isReplaced?: boolean;
}

/** One connection to the gateway. */
export interface Session {
  readonly ended: Promise<SessionEnd>;
  filterChanged(): void;
  /** Makes sure that the connection is still one. */
  check(): void;
  end(): void;
}

const HANDSHAKE_MS_MAX = 10_000;

/** What one WebSocket needs. */
export interface Dial {
  readonly WebSocket: typeof WebSocket;
  readonly url: URL;
  readonly subprotocols: readonly string[];
}

export interface ConnectionEvents {
  opened(): void;
  heard(text: string): void;
}

export interface ConnectionEnd {
  readonly wasOpen: boolean;
  /** In words; "" where the browser does not say. */
  readonly reason: string;
}

/** One WebSocket, from its handshake to its end. */
export class Connection {
  readonly ended: Promise<ConnectionEnd>;
  readonly #end: (end: ConnectionEnd) => void;
  #socket: WebSocket | undefined;
  #wasOpen = false;

  constructor(dial: Dial, events: ConnectionEvents) {
    const { promise, resolve } = Promise.withResolvers<ConnectionEnd>();
    this.ended = promise;
    this.#end = resolve;
    try {
      this.#socket = this.#dial(dial, events);
    } catch (error) {
      // A browser does not let a page connect without TLS that came with it, for one.
      resolve({ wasOpen: false, reason: `This browser refuses to connect: ${String(error)}.` });
    }
  }

  #dial({ WebSocket, url, subprotocols }: Dial, events: ConnectionEvents): WebSocket {
    const socket = new WebSocket(url.href, [...subprotocols]);
    const timer = setTimeout(() => this.end("The handshake took too long."), HANDSHAKE_MS_MAX);
    void this.ended.then(() => clearTimeout(timer));
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) return;
      clearTimeout(timer);
      this.#wasOpen = true;
      events.opened();
    });
    socket.addEventListener("message", ({ data }: { data: unknown }) => {
      if (socket !== this.#socket) return;
      if (typeof data === "string") events.heard(data);
      else this.end("The gateway sent a binary frame.");
    });
    // It says no more than the close that follows; but ws takes an error that nobody hears for a bug, and throws it.
    socket.addEventListener("error", () => {});
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket === this.#socket) this.end(closeText(code, reason));
    });
    return socket;
  }

  /** The subprotocol that the gateway has chosen; "" without one. */
  get subprotocol(): string {
    return this.#socket?.protocol ?? "";
  }

  send(message: ClientMessage): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** Nothing is heard any more. The closing handshake is not waited for: over a dead network it would take minutes. */
  end(reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#end({ wasOpen: this.#wasOpen, reason });
    socket?.close();
  }
}

/** WebSocket.OPEN; a class that somebody gives may lack the constants. */
const OPEN = 1;

/** RFC 6455, 7.4.1: there was no close frame. */
const NO_CLOSE_FRAME = 1006;

function closeText(code: number, reason: string): string {
  if (code === NO_CLOSE_FRAME) return "The connection was lost.";
  return `The connection was closed: ${`${code} ${reason}`.trimEnd()}.`;
}
