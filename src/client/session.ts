import type { Gateway } from "./gateway.ts";
import type { RawReader } from "./raw-json.ts";
import type { ClientMessage, Start } from "../wire/protocol.ts";
import type { FilterChanges } from "./filter-changes.ts";
import type { StreamPosition } from "./position.ts";
import type { StreamEvent, StreamStatus, Transport } from "./stream-events.ts";
import { ANSWER_TIMEOUT_MS } from "./timing.ts";

/** What all transports share: the stream's position and filter, its options, and where events go. */
export interface SessionContext {
  readonly position: StreamPosition;
  readonly filters: FilterChanges;
  /** Where the stream starts while it has no position. */
  readonly start: Start;
  /** Whether entries carry their JSON. */
  readonly raw: RawReader | undefined;
  readonly gateway: Gateway;
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
  /** In words, if it was open. */
  readonly reason: string;
  /** True if it was ended in order to open another one. */
  readonly isReplaced?: boolean;
}

interface SocketEvents {
  onOpen(): void;
  onText(text: string): void;
}

/** A WebSocket, from its handshake to its end. Only one of the ws package can stop reading. */
export class ClientSocket {
  readonly #ended = Promise.withResolvers<SessionResult>();
  readonly ended = this.#ended.promise;
  #socket: (WebSocket & { pause?(): void; resume?(): void }) | undefined;
  #wasOpen = false;

  constructor(open: () => WebSocket, events: SocketEvents) {
    try {
      this.#socket = this.#watch(open(), events);
    } catch {
      // For example, browsers do not let a page that was loaded over TLS connect without it.
      this.end();
    }
  }

  #watch(socket: WebSocket, events: SocketEvents): WebSocket {
    const timer = setTimeout(() => this.end(), ANSWER_TIMEOUT_MS);
    void this.ended.then(() => clearTimeout(timer));
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) return;
      clearTimeout(timer);
      this.#wasOpen = true;
      events.onOpen();
    });
    socket.addEventListener("message", ({ data }: { data: unknown }) => {
      // No gateway sends binary frames; their text is not valid JSON.
      if (socket === this.#socket) events.onText(String(data));
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

  /**
   * Ends it at once, without the closing handshake: on a dead network that would take minutes. `reason`: if it was open;
   * otherwise a diagnosis follows.
   */
  end(reason = ""): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#ended.resolve({ wasOpen: this.#wasOpen, reason });
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
