import type { RawReader } from "./raw-json.ts";
import type { ClientMessage, Start } from "../wire/protocol.ts";
import type { FilterChanges } from "./filter-changes.ts";
import type { StreamPosition } from "./position.ts";
import type { StreamEvent, StreamStatus, Transport } from "./stream-events.ts";

/** What all transports share: the stream's position and filter, its options, and where events go. */
export interface SessionContext {
  readonly position: StreamPosition;
  readonly filters: FilterChanges;
  /** Where the stream starts while it has no position. */
  readonly start: Start;
  readonly socket: Omit<SocketOptions, "subprotocols">;
  /** Whether entries carry their JSON. */
  readonly raw: RawReader | undefined;
  emit(events: readonly StreamEvent[]): void;
  enter(state: StreamStatus["state"], reason: string, transport: Transport): void;
  /** A WebSocket is connected: polling ends. */
  connected(): void;
  /** Pending while the stream is paused, else undefined. */
  resumed(): Promise<void> | undefined;
}

/** One WebSocket connection to the gateway, with or without `tailgate.v1`. */
export interface StreamSession {
  readonly ended: Promise<SessionResult>;
  filterChanged(): void;
  /** Checks that the connection is still alive. */
  check(): void;
  pause(): void;
  resume(): void;
  end(): void;
}

export interface SessionResult {
  /** True if the gateway responded. */
  readonly wasOpen: boolean;
  readonly reason: string;
  /** True if it was ended in order to open another one. */
  readonly isReplaced?: boolean;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;

export interface SocketOptions {
  readonly WebSocket: typeof WebSocket;
  readonly url: URL;
  readonly subprotocols: readonly string[];
}

interface SocketEvents {
  onOpen(): void;
  onText(text: string): void;
}

/** A WebSocket, from its handshake to its end. Only one of the ws package can stop reading. */
export class ClientSocket {
  readonly ended: Promise<SessionResult>;
  readonly #end: (result: SessionResult) => void;
  #socket: (WebSocket & { pause?(): void; resume?(): void }) | undefined;
  #wasOpen = false;

  constructor(options: SocketOptions, events: SocketEvents) {
    const { promise, resolve } = Promise.withResolvers<SessionResult>();
    this.ended = promise;
    this.#end = resolve;
    try {
      this.#socket = this.#open(options, events);
    } catch (error) {
      // For example, browsers do not let a page that was loaded over TLS connect without it.
      resolve({ wasOpen: false, reason: `The browser blocked the connection: ${String(error)}.` });
    }
  }

  #open({ WebSocket, url, subprotocols }: SocketOptions, events: SocketEvents): WebSocket {
    const socket = new WebSocket(url.href, [...subprotocols]);
    const timer = setTimeout(() => this.end("The handshake timed out."), HANDSHAKE_TIMEOUT_MS);
    void this.ended.then(() => clearTimeout(timer));
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) return;
      clearTimeout(timer);
      this.#wasOpen = true;
      events.onOpen();
    });
    socket.addEventListener("message", ({ data }: { data: unknown }) => {
      if (socket !== this.#socket) return;
      if (typeof data === "string") events.onText(data);
      else this.end("The gateway sent a binary frame.");
    });
    // The close event follows and says as much; but ws throws an error that nothing listens for.
    socket.addEventListener("error", () => {});
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket === this.#socket) this.end(closeText(code, reason));
    });
    return socket;
  }

  /** The subprotocol that the gateway selected; "" if none. */
  get subprotocol(): string {
    return this.#socket?.protocol ?? "";
  }

  send(message: ClientMessage): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(message));
  }

  pause(): void {
    this.#socket?.pause?.();
  }

  resume(): void {
    this.#socket?.resume?.();
  }

  /** Ends it at once, without the closing handshake: on a dead network that would take minutes. */
  end(reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#end({ wasOpen: this.#wasOpen, reason });
    socket?.close();
  }
}

/** WebSocket.OPEN; a class passed as an option may lack the constants. */
const OPEN = 1;

function closeText(code: number, reason: string): string {
  // RFC 6455, 7.4.1: the connection ended without a close frame.
  if (code === 1006) return "Connection lost.";
  return `The gateway closed the connection: ${`${code} ${reason}`.trimEnd()}.`;
}
