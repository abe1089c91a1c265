import type { Duplex } from "node:stream";
import {
  bothFilters,
  FILTER_CHARACTERS_MAX,
  parseFilter,
  type Access,
  type AddressedRequest,
  type ClientMessage,
  type Filter,
  type HostLogger,
  type ServerMessage,
} from "tailgate/plugin";
import type { WebSocket } from "ws";
import {
  Connection,
  INTERNAL_ERROR,
  POLICY_VIOLATION,
  type CloseReason,
  type ConnectionListener,
} from "./connection.ts";
import { SubscriptionCursor, type CursorContext, type CursorOwner } from "./cursor.ts";
import type { Encoder } from "./encoders.ts";
import { MessageError, parseClientMessage, type StartPosition } from "./subscription.ts";

/** What all clients share. */
export interface ClientContext extends CursorContext {
  readonly log: HostLogger;
  /** The exporter's own level and filter: no client gets other records. */
  readonly selection: Filter;
  readonly messageBytesMax: number;
  readonly replayMax: number;
  /** How many of the newest records a client gets that does not say where to start. */
  readonly defaultReplay: number;
  /** Counts the records that a client did not get because the gateway ended its connection. */
  countMissed(records: number, reason: CloseReason): void;
  /** Called with the number of stored records that a client was sent. */
  recordsRead(request: AddressedRequest, records: number): void;
  /** Called once, after a client's connection has ended. */
  closed(client: Client, reason: CloseReason): void;
}

/** Who has connected. */
export interface Peer {
  readonly ws: WebSocket;
  readonly socket: Duplex;
  /** What the client may read, and until when. */
  readonly access: Access;
  /** The request of the handshake. */
  readonly request: AddressedRequest;
}

/** How long a client whose access has ended may take to answer the close frame. */
const LEAVE_MS = 500;

/** The connection is closed after this many invalid messages. */
const ERRORS_MAX = 100;

type GoodbyeReason = Extract<ServerMessage, { type: "goodbye" }>["reason"];

/**
 * A connected client, with its subscription if it has one. Clients of `tailgate.v1` get hello first and may send
 * messages; for plain clients, control messages encode to nothing and what they send is ignored.
 */
export class Client implements ConnectionListener, CursorOwner {
  readonly connection: Connection;
  readonly #encoder: Encoder;
  readonly #access: Access;
  readonly #request: AddressedRequest;
  readonly #context: ClientContext;
  #cursor: SubscriptionCursor | undefined;
  #errors = 0;

  constructor({ ws, socket, access, request }: Peer, encoder: Encoder, context: ClientContext) {
    this.#encoder = encoder;
    this.#access = access;
    this.#request = request;
    this.#context = context;
    this.connection = new Connection(ws, socket, this);
    access.signal?.addEventListener("abort", this.#endAccess);
    if (encoder.reportsGaps) {
      ws.on("message", (data: Buffer, isBinary) => this.#receive(data, isBinary));
    }
    const { epoch, newest, durable } = context.journal;
    this.say({
      type: "hello",
      epoch,
      sequence: newest,
      durable,
      version: 1,
      limits: {
        message_bytes: context.messageBytesMax,
        filter_characters: FILTER_CHARACTERS_MAX,
        replay: context.replayMax,
        errors: ERRORS_MAX,
      },
    });
    // It does not abort a second time.
    if (access.signal?.aborted) this.#endAccess();
  }

  /** How many records the client has yet to get. */
  get lag(): number {
    return this.#cursor?.lag ?? 0;
  }

  /** To be called once. */
  subscribe(filter: Filter, start: StartPosition, version?: number): void {
    const { replayMax, defaultReplay } = this.#context;
    const saysStart = start.since !== undefined || start.resume !== undefined;
    const replay = start.replay ?? (saysStart ? undefined : defaultReplay);
    this.#cursor = new SubscriptionCursor({
      connection: this.connection,
      encoder: this.#encoder,
      access: this.#access,
      filter,
      owner: this,
      context: this.#context,
    });
    if (version !== undefined) this.say({ type: "filter", version });
    this.#cursor.start({ ...start, replay: replay && Math.min(replay, replayMax) });
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (!this.connection.isOpen) return;
    try {
      this.#handle(parseClientMessage(data, isBinary));
    } catch (error) {
      this.#reject(error);
    }
    // A client that does not read the replies is not read either.
    if (this.connection.isFull) this.connection.ws.pause();
  }

  #handle(message: ClientMessage): void {
    if (message.type === "subscribe") {
      if (this.#cursor) {
        const text =
          "This connection already has a subscription; send a filter message to change its filter.";
        throw new MessageError("ALREADY_SUBSCRIBED", text);
      }
      const { version, replay, since, resume } = message;
      return this.subscribe(this.#parseFilter(message), { replay, since, resume }, version);
    }
    if (!this.#cursor) throw new MessageError("NOT_SUBSCRIBED", "There is no subscription yet.");
    this.#cursor.changeFilter(this.#parseFilter(message), message.version);
  }

  #parseFilter({ filter = {} }: ClientMessage): Filter {
    return bothFilters(this.#context.selection, parseFilter(filter));
  }

  #reject(error: unknown): void {
    const rejection = MessageError.from(error);
    if (rejection === undefined) return this.failed(error);
    this.say({ type: "error", code: rejection.code, message: rejection.message });
    if (++this.#errors < ERRORS_MAX) return;
    this.close("misuse", POLICY_VIOLATION, `${ERRORS_MAX} invalid messages`);
  }

  say(message: ServerMessage): void {
    const bytes = this.connection.isOpen ? this.#encoder.encodeMessage(message) : undefined;
    if (bytes === undefined) return;
    this.connection.write(bytes);
    this.#context.countSent(1, bytes.length);
  }

  drained(): void {
    this.#resumeReading();
    this.#cursor?.drained();
  }

  #resumeReading(): void {
    const { ws } = this.connection;
    if (ws.isPaused) ws.resume();
  }

  /** Ends the connection if the client has fallen behind too far, or has read nothing for that long. */
  checkSpeed(stallMs: number): void {
    this.#cursor?.checkLag();
    if (!this.connection.isStalled(stallMs)) return;
    const text = `too slow: nothing was read for ${stallMs / 1000} s, ${this.lag} records behind`;
    this.close("stalled", POLICY_VIOLATION, text);
  }

  lagging(filterCost: string | undefined): void {
    if (filterCost === undefined) {
      const text = `too slow: ${this.lag} records behind, the oldest are no longer in memory`;
      return this.connection.close("outrun", POLICY_VIOLATION, text);
    }
    const text = `filter too expensive: ${filterCost}, ${this.lag} records behind`;
    this.connection.close("expensive", POLICY_VIOLATION, text);
  }

  historyRead(records: number): void {
    this.#context.recordsRead(this.#request, records);
  }

  failed(error: unknown): void {
    if (!this.connection.isOpen) return;
    this.#context.log.error("A client was disconnected because of an internal error.", error);
    this.close("failed", INTERNAL_ERROR, "internal error");
  }

  readonly #endAccess = (): void => {
    this.close("unauthorized", POLICY_VIOLATION, "unauthorized: access expired or was revoked");
    setTimeout(() => this.connection.terminate("unauthorized"), LEAVE_MS).unref();
  };

  /** Says goodbye, and closes the connection after what the socket holds. */
  close(reason: GoodbyeReason, code: number, text: string): void {
    this.say({ type: "goodbye", reason });
    this.connection.close(reason, code, text);
  }

  closing(reason: CloseReason): void {
    // The client's close frame has to be read.
    this.#resumeReading();
    const { lag } = this;
    if (lag > 0) this.#context.countMissed(lag, reason);
    this.#cursor?.end();
  }

  closed(reason: CloseReason): void {
    this.#access.signal?.removeEventListener("abort", this.#endAccess);
    this.#cursor?.end();
    this.#context.closed(this, reason);
  }
}
