import { SUBPROTOCOL, type ClientMessage, type ServerMessage } from "../wire/protocol.ts";
import { Connection, type Session, type SessionEnd, type Surroundings } from "./session.ts";
import { ProtocolFault } from "./position.ts";

/** A gateway that has chosen the subprotocol, and has not spoken by then, does not know it. */
const HELLO_MS_MAX = 10_000;

/** A browser does not tell that a network has gone: after so much silence the gateway is asked for a sign of life. */
const SILENCE_MS_MAX = 30_000;
const SIGN_OF_LIFE_MS_MAX = 10_000;

/** Records over `tailgate.v1`. */
export class SubprotocolSession implements Session {
  readonly ended: Promise<SessionEnd>;
  readonly #surroundings: Surroundings;
  readonly #connection: Connection;
  #wasGreeted = false;
  #subscription: "none" | "asked" | "taken" = "none";
  #goodbye = "";
  /** What one message may have; the gateway closes a connection on which one has more. */
  #messageBytesMax = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
    this.#connection = new Connection(
      { ...surroundings.dial, subprotocols: [SUBPROTOCOL] },
      { opened: () => this.#opened(), heard: (text) => this.#hear(text) },
    );
    this.ended = this.#connection.ended.then(({ reason }) => {
      clearTimeout(this.#timer);
      return { wasOpen: this.#wasGreeted, reason: this.#goodbye || reason };
    });
  }

  end(): void {
    this.#connection.end("");
  }

  #opened(): void {
    // Browsers do not open a connection whose subprotocol was not chosen; other implementations may.
    if (this.#connection.subprotocol !== SUBPROTOCOL) this.#connection.end(NO_SUBPROTOCOL);
    else this.#endAfter(HELLO_MS_MAX, NO_SUBPROTOCOL);
  }

  #hear(text: string): void {
    try {
      const message = messageOf(text);
      if ((message.type === "hello") === this.#wasGreeted) {
        throw new ProtocolFault("hello has its place at the beginning");
      }
      this.#take(message);
      this.#awaitSilence();
    } catch (error) {
      this.#connection.end(`The gateway sent what is not understood: ${String(error)}.`);
    }
  }

  #take(message: ServerMessage): void {
    const { position, filters, tell } = this.#surroundings;
    switch (message.type) {
      case "hello":
        this.#wasGreeted = true;
        this.#messageBytesMax = message.limits?.message_bytes ?? Infinity;
        position.connect(message.epoch);
        this.#surroundings.connected();
        filters.disconnect();
        return this.#subscribe();
      case "batch":
        return tell(position.takeBatch(message));
      case "gap":
        return tell(position.takeGap(message));
      case "caught_up":
        return this.#caughtUp(message.sequence);
      case "filter":
        tell(filters.taken(message.version));
        return this.#filterTaken(message.version);
      case "error":
        return this.#refused(message.message);
      case "goodbye":
        this.#goodbye = GOODBYES[message.reason] ?? "";
    }
  }

  #subscribe(): void {
    const { position, filters, start } = this.#surroundings;
    const { resume } = position;
    const { filter, version } = filters.ask();
    this.#subscription = "asked";
    this.#enter("catching-up", "What there is of the past is on its way.");
    const from = resume === undefined ? position.startOf(start) : { resume };
    this.#send({ type: "subscribe", filter, version, ...from }, version);
  }

  /** Sends the message with the filter of that version, which is refused here if the message is too long. */
  #send(message: ClientMessage, version: number): void {
    const bytes = new TextEncoder().encode(JSON.stringify(message)).length;
    if (bytes <= this.#messageBytesMax) return this.#connection.send(message);
    const limit = `the gateway takes ${this.#messageBytesMax} bytes in one message`;
    this.#refused(`The filter is too long: it takes ${bytes} bytes, and ${limit}.`, version);
  }

  #caughtUp(sequence: number): void {
    this.#surroundings.tell(this.#surroundings.position.caughtUp(sequence));
    this.#enter("live", "");
    this.#surroundings.tell([{ type: "caught_up", sequence }]);
  }

  #enter(state: "catching-up" | "live" | "waiting", reason: string): void {
    this.#surroundings.enter(state, reason, SUBPROTOCOL);
  }

  #filterTaken(version: number): void {
    if (this.#subscription !== "asked") return;
    this.#subscription = "taken";
    if (this.#surroundings.filters.wanted.version !== version) this.#sendFilter();
  }

  /** A filter that is refused changes nothing; a subscription has not come about then. */
  #refused(reason: string, version?: number): void {
    const { filters, tell } = this.#surroundings;
    tell(filters.refused(reason, version));
    if (this.#subscription !== "asked") return;
    this.#subscription = "none";
    if (filters.isRefused) this.#enter("waiting", reason);
    else this.#subscribe();
  }

  /** Before the subscription is answered nothing may be asked on top of it. */
  filterChanged(): void {
    if (this.#subscription === "taken") this.#sendFilter();
    else if (this.#subscription === "none" && this.#wasGreeted) this.#subscribe();
  }

  #sendFilter(): void {
    const { filter, version } = this.#surroundings.filters.ask();
    this.#send({ type: "filter", filter, version }, version);
  }

  check(): void {
    if (this.#subscription === "none") return;
    // The filter that holds already: the answer is the sign.
    if (this.#subscription === "taken") this.#sendFilter();
    this.#endAfter(SIGN_OF_LIFE_MS_MAX, "The connection was lost without a word.");
  }

  #awaitSilence(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.check(), SILENCE_MS_MAX);
  }

  #endAfter(delayMs: number, reason: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connection.end(reason), delayMs);
  }
}

const NO_SUBPROTOCOL = "The gateway does not speak tailgate.v1.";

const GOODBYES = {
  stopping: "The gateway is stopping.",
  stalled: "The gateway ended the connection: records were not taken from it for too long.",
  misuse: "The gateway ended the connection: it did not understand what it was sent.",
  failed: "The gateway ended the connection because of a fault of its own; its log says more.",
};

/** @throws ProtocolFault, SyntaxError */
function messageOf(text: string): ServerMessage {
  const message = JSON.parse(text) as ServerMessage | null;
  if (typeof message?.type !== "string") throw new ProtocolFault("a message has no type");
  return message;
}
