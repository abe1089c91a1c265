import type { Envelope } from "../wire/envelope.ts";
import { Connection, type Session, type SessionEnd, type Surroundings } from "./session.ts";
import { UNKNOWN } from "./position.ts";

/** Records from a gateway that knows no subprotocol: one envelope a frame, the filter in the address. */
export class PlainSession implements Session {
  readonly ended: Promise<SessionEnd>;
  readonly #surroundings: Surroundings;
  readonly #connection: Connection;
  readonly #isFirst: boolean;
  #isReplaced = false;

  /** The first one of a stream gets records of the past where `start` asks for some; a later one would get them again. */
  constructor(surroundings: Surroundings, isFirst: boolean) {
    const { filters, dial, start } = surroundings;
    this.#surroundings = surroundings;
    this.#isFirst = isFirst;
    const { filter } = filters.wanted;
    const url = new URL(dial.url);
    const replay = isFirst ? start.replay : undefined;
    for (const [name, value] of Object.entries({ ...filter, replay })) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    this.#connection = new Connection(
      { ...dial, url, subprotocols: [] },
      { opened: () => this.#opened(), heard: (text) => this.#hear(text) },
    );
    this.ended = this.#connection.ended.then((end) => ({ ...end, isReplaced: this.#isReplaced }));
  }

  #opened(): void {
    const { start, filters, position, tell, connected, enter } = this.#surroundings;
    connected();
    enter("live", "", "plain");
    const { resume } = position;
    position.forget();
    // It is the one in the address: for another one this would not be the connection any more.
    filters.disconnect();
    tell(filters.taken(filters.ask().version));
    const isWhole = this.#isFirst && resume === undefined && start.since === undefined;
    if (!isWhole) tell([UNKNOWN]);
  }

  /** What is not an envelope is ignored, as by the clients that such a gateway has. */
  #hear(text: string): void {
    const envelope = envelopeOf(text);
    if (envelope === undefined) return;
    const entries = [{ sequence: 0, envelope }];
    this.#surroundings.tell([{ type: "records", entries, from: 0, to: 0 }]);
  }

  /** The address has another filter then. */
  filterChanged(): void {
    this.#isReplaced = true;
    this.#connection.end("Another filter needs another connection.");
  }

  /** There is nothing that such a gateway would answer. */
  check(): void {}

  end(): void {
    this.#connection.end("");
  }
}

function envelopeOf(text: string): Envelope | undefined {
  try {
    const envelope = JSON.parse(text) as Envelope | null;
    const isKnown = envelope?.type === "system_log" || envelope?.type === "audit_log";
    return isKnown && typeof envelope.data === "object" ? envelope : undefined;
  } catch {
    return undefined;
  }
}
