import type { Envelope } from "../wire/envelope.ts";
import { parseJson } from "./gateway.ts";
import { UNKNOWN_GAP } from "./position.ts";
import {
  ClientSocket,
  type SessionContext,
  type SessionResult,
  type StreamSession,
} from "./session.ts";

/** Records from a gateway without `tailgate.v1`: one envelope a frame, the filter in the URL's query. */
export class PlainSession implements StreamSession {
  readonly ended: Promise<SessionResult>;
  readonly #context: SessionContext;
  readonly #socket: ClientSocket;
  readonly #isFirst: boolean;
  #isReplaced = false;

  /** `isFirst`: only the stream's first session asks for a replay; later ones would get the same records again. */
  constructor(context: SessionContext, isFirst: boolean) {
    const { filters, start, gateway } = context;
    this.#context = context;
    this.#isFirst = isFirst;
    const parameters = { ...filters.wanted.filter, replay: isFirst ? start.replay : undefined };
    this.#socket = new ClientSocket(() => gateway.open([], parameters), {
      onOpen: () => this.#opened(),
      onText: (text) => this.#receive(text),
    });
    this.ended = this.#socket.ended.then((result) => ({ ...result, isReplaced: this.#isReplaced }));
  }

  #opened(): void {
    const { start, filters, position, emit, connected, enter, resumed } = this.#context;
    if (resumed()) this.pause();
    connected();
    enter("live", "", "plain");
    const { resume } = position;
    position.forget();
    // The filter is the one in the URL: another one would have replaced this connection.
    filters.disconnect();
    emit(filters.accept(filters.request().version));
    const isComplete = this.#isFirst && resume === undefined && start.since === undefined;
    if (!isComplete) emit([UNKNOWN_GAP]);
  }

  #receive(text: string): void {
    const envelope = parseEnvelope(text);
    if (envelope === undefined) return this.#context.emit([{ type: "unrecognized", text }]);
    const entry = { sequence: 0, envelope, ...(this.#context.raw && { raw: text }) };
    this.#context.emit([{ type: "records", entries: [entry], from: 0, to: 0 }]);
  }

  /** The filter is in the URL: another one needs another connection. */
  filterChanged(): void {
    this.#isReplaced = true;
    this.#socket.end();
  }

  /** Such a gateway answers no message, so there is no way to check. */
  check(): void {}

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }
}

function parseEnvelope(text: string): Envelope | undefined {
  const envelope = parseJson(text) as Envelope | null | undefined;
  const hasData = typeof envelope?.data === "object";
  return hasData && /^(system|audit)_log$/.test(envelope.type) ? envelope : undefined;
}
