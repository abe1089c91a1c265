import type { RawReader } from "./raw-json.ts";
import { SUBPROTOCOL, type ClientMessage, type ServerMessage } from "../wire/protocol.ts";
import {
  ClientSocket,
  type SessionContext,
  type SessionResult,
  type StreamSession,
} from "./session.ts";
import { ANSWER_TIMEOUT_MS } from "./timing.ts";

/** Browsers do not report a lost network: after this much silence the gateway is asked for a sign of life. */
const SILENCE_MS_MAX = 30_000;

/** Records over `tailgate.v1`. */
export class SubprotocolSession implements StreamSession {
  readonly ended: Promise<SessionResult>;
  readonly #context: SessionContext;
  readonly #socket: ClientSocket;
  #hasHello = false;
  #subscription: "none" | "requested" | "accepted" = "none";
  #goodbye = "";
  /** The gateway closes a connection on which a message is larger. */
  #messageBytesMax = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(context: SessionContext) {
    this.#context = context;
    this.#socket = new ClientSocket(() => context.gateway.open([SUBPROTOCOL]), {
      onOpen: () => this.#opened(),
      onText: (text) => this.#receive(text),
    });
    this.ended = this.#socket.ended.then(({ reason }) => {
      clearTimeout(this.#timer);
      return { wasOpen: this.#hasHello, reason: this.#goodbye || reason };
    });
  }

  end(): void {
    this.#socket.end();
  }

  #opened(): void {
    // Browsers reject a connection without the requested subprotocol; other implementations may not.
    if (this.#socket.subprotocol !== SUBPROTOCOL) this.#socket.end();
    // A gateway that selected the subprotocol but sends no hello does not know it.
    else this.#after(ANSWER_TIMEOUT_MS, () => this.#socket.end());
  }

  #receive(text: string): void {
    try {
      const message = parseMessage(text, this.#context.raw);
      if ((message.type === "hello") === this.#hasHello) {
        throw new Error("unexpected order");
      }
      this.#handle(message);
      this.#startSilenceTimer();
    } catch (error) {
      this.#socket.end(`The gateway sent an invalid message: ${String(error)}.`);
    }
  }

  #handle(message: ReceivedMessage): void {
    const { position, filters, emit } = this.#context;
    switch (message.type) {
      case "hello":
        this.#hasHello = true;
        this.#messageBytesMax = message.limits?.message_bytes ?? Infinity;
        position.connect(message.epoch);
        this.#context.connected();
        if (this.#context.resumed()) this.pause();
        filters.disconnect();
        this.#checkReplay(message.limits?.replay);
        return this.#subscribe();
      case "batch":
        return emit(position.advanceByBatch(message));
      case "gap":
        return emit(position.addGap(message));
      case "caught_up":
        emit(position.caughtUp(message.sequence));
        this.#enter("live", "");
        return emit([{ type: "caught_up", sequence: message.sequence }]);
      case "filter":
        emit(filters.accept(message.version));
        if (this.#subscription !== "requested") return;
        this.#subscription = "accepted";
        if (filters.wanted.version !== message.version) this.#sendFilter();
        return;
      case "error":
        return this.#rejected(message.message);
      case "goodbye":
        this.#goodbye = GOODBYES[message.reason] ?? "";
    }
  }

  #checkReplay(replayMax = Infinity): void {
    const { position, start, emit } = this.#context;
    const { replay = 0 } = position.resume ? {} : start;
    if (replay > replayMax) emit([{ type: "replay_limited", replay: replayMax }]);
  }

  #subscribe(): void {
    const { position, filters, start } = this.#context;
    const { resume } = position;
    const { filter, version } = filters.request();
    this.#subscription = "requested";
    this.#enter("catching-up", "Loading past records.");
    const from = resume === undefined ? position.startFrom(start) : { resume };
    this.#send({ type: "subscribe", filter, version, ...from }, version);
  }

  /** Sends a message with the filter of this version; rejects the filter here if the message would be too long. */
  #send(message: ClientMessage, version: number): void {
    const bytes = new TextEncoder().encode(JSON.stringify(message)).length;
    if (bytes <= this.#messageBytesMax) return this.#socket.send(message);
    const text = `The filter is too long: its message has ${bytes} bytes, and the gateway accepts messages of at most ${this.#messageBytesMax} bytes.`;
    this.#rejected(text, version);
  }

  #enter(state: "catching-up" | "live" | "waiting", reason: string): void {
    this.#context.enter(state, reason, SUBPROTOCOL);
  }

  /** Rejecting a filter changes nothing on an accepted subscription; a requested one has not been made. */
  #rejected(reason: string, version?: number): void {
    const { filters, emit } = this.#context;
    emit(filters.reject(reason, version));
    if (this.#subscription !== "requested") return;
    this.#subscription = "none";
    if (filters.isRejected) this.#enter("waiting", reason);
    else this.#subscribe();
  }

  /** While a subscription is pending nothing else may be requested. */
  filterChanged(): void {
    if (this.#subscription === "accepted") this.#sendFilter();
    else if (this.#subscription === "none" && this.#hasHello) this.#subscribe();
  }

  #sendFilter(): void {
    const { filter, version } = this.#context.filters.request();
    this.#send({ type: "filter", filter, version }, version);
  }

  check(): void {
    // While it is paused, silence means nothing.
    if (this.#subscription === "none" || this.#context.resumed()) return;
    // Sends the filter that is in effect: the answer is the sign of life.
    if (this.#subscription === "accepted") this.#sendFilter();
    this.#after(ANSWER_TIMEOUT_MS, () => this.#socket.end("Connection lost."));
  }

  pause(): void {
    clearTimeout(this.#timer);
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
    if (this.#hasHello) this.#startSilenceTimer();
  }

  #startSilenceTimer(): void {
    this.#after(SILENCE_MS_MAX, () => this.check());
  }

  /** Replaces what was to be done before. */
  #after(delayMs: number, work: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(work, delayMs);
  }
}

const GOODBYES = {
  stopping: "The gateway is stopping.",
  stalled: "The gateway closed the connection: this client did not read.",
  misuse: "The gateway closed the connection: this client sent invalid messages.",
  failed: "The gateway closed the connection because of an internal error.",
  unauthorized: "The gateway closed the connection: this client's access has ended.",
};

/** A message, with the JSON of a batch's envelopes if that was requested. */
type ReceivedMessage = ServerMessage & { readonly raw?: readonly string[] };

/** @throws Error */
function parseMessage(text: string, raw: RawReader | undefined): ReceivedMessage {
  const message = JSON.parse(text) as ServerMessage | null;
  if (typeof message?.type !== "string") throw new Error("no type");
  if (!raw || message.type !== "batch") return message;
  return { ...message, raw: raw(text, "envelopes") };
}
