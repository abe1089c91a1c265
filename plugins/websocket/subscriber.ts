import type { Duplex } from "node:stream";
import {
  FILTER_CHARACTERS_MAX,
  type ClientMessage,
  type FilterQuery,
  type Gap,
  type Level,
  type ServerMessage,
} from "tailgate/plugin";
import type { WebSocket } from "ws";
import type { Unit } from "./batch-frames.ts";
import { faultOf, MessageFault, parseClientMessage } from "./client-message.ts";
import {
  Connection,
  INTERNAL_ERROR,
  POLICY_VIOLATION,
  type Surroundings,
  type Viewer,
} from "./connection.ts";
import { viewerFilter } from "./handshake.ts";
import type { SharedRuns } from "./shared-runs.ts";
import { Stream, type Choice, type Sink, type Start } from "./stream.ts";
import { textFrame } from "./text-frame.ts";

/** What all viewers with the subprotocol share. */
export interface SubscriberSurroundings extends Surroundings {
  /** The exporter's own level. */
  readonly lowest: Level | undefined;
  readonly replayMax: number;
  /** How many earlier records a client gets that does not say where to start. */
  readonly defaultReplay: number;
  readonly messageBytesMax: number;
  /** Counts system logs that a slow viewer is told of in a gap. */
  skipped(records: number): void;
}

/** So many messages that are not understood are answered. */
const ERRORS_MAX = 100;

/** A viewer with the subprotocol `tailgate.v1`: what it says is answered here, what it sees is its stream's to send. */
export class Subscriber implements Viewer, Sink {
  readonly connection: Connection;
  readonly #surroundings: SubscriberSurroundings;
  #stream: Stream | undefined;
  #errors = 0;
  /** What the socket held when it was looked at last, and when it last held less than before. */
  #unsentBytes = 0;
  #takenAtMs = performance.now();

  /** Says hello. Without a subscription it waits for one. */
  constructor(ws: WebSocket, socket: Duplex, surroundings: SubscriberSurroundings) {
    this.#surroundings = surroundings;
    this.connection = new Connection(ws, socket, this, surroundings);
    ws.on("message", (data: Buffer, isBinary) => this.#hear(data, isBinary));
    const { epoch, newest, durable } = surroundings.journal;
    this.say({
      type: "hello",
      epoch,
      sequence: newest,
      durable,
      version: 1,
      limits: {
        message_bytes: surroundings.messageBytesMax,
        filter_characters: FILTER_CHARACTERS_MAX,
        replay: surroundings.replayMax,
        errors: ERRORS_MAX,
      },
    });
  }

  get isSubscribed(): boolean {
    return this.#stream !== undefined;
  }

  /** True if matching records takes time. */
  get isFiltered(): boolean {
    return this.#stream?.isFiltered ?? false;
  }

  get behind(): number {
    return this.#stream?.behind ?? 0;
  }

  /** @throws TailgateError FILTER_INVALID, MessageFault ALREADY_SUBSCRIBED */
  subscribe(query: FilterQuery, { replay, ...start }: Start, version?: number): void {
    if (this.#stream) {
      const text = "This connection has its subscription; a filter message changes its filter.";
      throw new MessageFault("ALREADY_SUBSCRIBED", text);
    }
    this.#stream = new Stream(this, this.#choiceOf(query), this.#surroundings);
    if (version !== undefined) this.say({ type: "filter", version });
    this.#stream.begin({ ...start, replay: this.#replayOf(replay, start) });
  }

  #replayOf(replay: number | undefined, { since, resume }: Start): number | undefined {
    const { replayMax, defaultReplay } = this.#surroundings;
    if (replay !== undefined) return Math.min(replay, replayMax);
    const isSaid = since !== undefined || resume !== undefined;
    return isSaid || defaultReplay === 0 ? undefined : defaultReplay;
  }

  #choiceOf(query: FilterQuery): Choice {
    const filter = viewerFilter(query, this.#surroundings.lowest);
    return { filter, lane: filter.type };
  }

  #hear(data: Buffer, isBinary: boolean): void {
    if (!this.isOpen) return;
    try {
      this.#obey(parseClientMessage(data, isBinary));
    } catch (error) {
      this.#refuse(error);
    }
    // Who does not read the answers is not read either.
    if (this.isFull) this.connection.ws.pause();
  }

  #obey(message: ClientMessage): void {
    if (message.type === "subscribe") {
      const { filter = {}, version, replay, since, resume } = message;
      return this.subscribe(filter, { replay, since, resume }, version);
    }
    if (!this.#stream) throw new MessageFault("NOT_SUBSCRIBED", "There is no subscription yet.");
    this.#stream.change(this.#choiceOf(message.filter ?? {}), message.version);
  }

  #refuse(error: unknown): void {
    const fault = faultOf(error);
    if (fault === undefined) return this.failed(error);
    this.say({ type: "error", code: fault.code, message: fault.message });
    if (++this.#errors < ERRORS_MAX) return;
    const text = `${ERRORS_MAX} messages were not understood`;
    this.close("misuse", POLICY_VIOLATION, text);
  }

  wake(shared: SharedRuns): void {
    this.#stream?.wake(shared);
  }

  tellProgress(): void {
    this.#stream?.tellProgress();
  }

  tellRefused(gap: Gap): void {
    this.#stream?.tellRefused(gap);
  }

  drained(): void {
    this.connection.hear();
    this.connection.ws.resume();
    this.#stream?.drained();
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  get isFull(): boolean {
    return this.connection.isFull;
  }

  write({ bytes, frames }: Pick<Unit, "bytes" | "frames">): void {
    this.connection.write(bytes);
    this.#surroundings.sent(frames, bytes.length);
  }

  say(message: ServerMessage): void {
    if (this.isOpen) this.write({ bytes: textFrame(JSON.stringify(message)), frames: 1 });
  }

  failed(error: unknown): void {
    if (!this.isOpen) return;
    this.#surroundings.log.error("A viewer was disconnected because of a fault.", error);
    this.close("failed", INTERNAL_ERROR, "internal error");
  }

  /** Ends the connection where the socket has been full for that long and nothing at all was taken from it. */
  endIfTooSlow(stallMs: number): void {
    const { unsentBytes } = this.connection;
    const isTaking = unsentBytes < this.#unsentBytes;
    this.#unsentBytes = unsentBytes;
    if (isTaking) this.connection.hear();
    if (isTaking || !this.isFull) this.#takenAtMs = performance.now();
    if (performance.now() - this.#takenAtMs < stallMs || !this.isOpen) return;
    const text = `too slow: nothing was read for ${stallMs / 1000} s, ${this.behind} records behind`;
    this.close("stalled", POLICY_VIOLATION, text);
  }

  close(reason: GoodbyeReason, code: number, text: string): void {
    this.say({ type: "goodbye", reason });
    this.connection.close(reason, code, text);
  }

  ending(): void {
    // So that the answer to the close is heard.
    this.connection.ws.resume();
    this.#stream?.end();
  }
}

/** The gateway closes these viewers for no other reason. */
type GoodbyeReason = Extract<ServerMessage, { type: "goodbye" }>["reason"];
