import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { FilterQuery } from "../wire/filter.ts";
import { SUBPROTOCOL, type ClientMessage, type GapMessage } from "../wire/protocol.ts";
import { messageOf, Position } from "./position.ts";

/** What to follow. */
export interface Followed {
  /** Without what the other fields say. */
  readonly url: URL;
  readonly filter: FilterQuery;
  /** How many of the newest records come first. */
  readonly replay?: number | undefined;
  /** From when on records come first: ISO 8601 with a zone, or ms since 1970. */
  readonly since?: string | number | undefined;
}

/** What a follower tells. */
export interface FollowerEvents {
  /** An envelope. Answers false where no more should come before the promise of {@link drained} resolves. */
  text(text: string): boolean;
  /** Records that do not come, in their place. */
  gap(gap: GapMessage): boolean;
  drained(): Promise<void>;
  /** The gateway gives fewer of the newest records than were asked for. */
  limited(replayMax: number): void;
  /** `resumes`: it goes on where it was. */
  connected(resumes: boolean): void;
  /** Called once for each loss, and once where the first connection is waited for. */
  disconnected(reason: string, wasConnected: boolean): void;
}

export interface FollowerOptions {
  /** Goes on trying where the first connection fails. */
  readonly waits: boolean;
  /** Ends when all of the past has come. */
  readonly endsCaughtUp: boolean;
  readonly signal: AbortSignal;
}

const FIRST_DELAY_MS = 1_000;
const DELAY_FACTOR = 1.5;
const DELAY_MS_MAX = 30_000;

const HANDSHAKE_MS_MAX = 10_000;

/** A peer that has not answered a ping by the next one is gone, though its socket may look open. */
const PING_INTERVAL_MS = 20_000;

const REFUSAL_BYTES_MAX = 4_096;

/** How the ws package says that the server knows none of the subprotocols. */
const NO_SUBPROTOCOL = "Server sent no subprotocol";

/**
 * Follows a gateway's WebSocket until `signal` aborts, over all losses of the connection: it goes on behind what it
 * has. An older gateway has no `tailgate.v1`: what comes during a loss is missing then, and history (`replay`) is asked
 * for once only, as it would repeat records.
 * @throws TailgateError USAGE where the gateway refuses the filter or is too old for what is asked,
 * GATEWAY_UNREACHABLE where it refuses otherwise or is not there at first.
 */
export async function follow(
  followed: Followed,
  events: FollowerEvents,
  { waits, endsCaughtUp, signal }: FollowerOptions,
): Promise<void> {
  let dialogue: Dialogue = new Resumable(followed, endsCaughtUp);
  let wasConnected = false;
  let attempt = 0;
  while (!signal.aborted) {
    const end = await session(dialogue, events, signal);
    if (signal.aborted || end.isDone) return;
    if (end.fault) throw end.fault;
    if (end.reason === NO_SUBPROTOCOL) {
      if (endsCaughtUp || followed.since !== undefined) throw tooOld();
      dialogue = new Plain(followed);
      continue;
    }
    if (end.refusal) refuse(followed.url, end.refusal);
    if (!end.wasOpen && !wasConnected && !waits) throw unreachable(followed.url, end.reason);
    if (end.wasOpen || attempt === 0) events.disconnected(end.reason, end.wasOpen);
    if (end.wasOpen) {
      wasConnected = true;
      attempt = 0;
    }
    await pause(attempt++, signal);
  }
}

/** What is said on a connection, from one connection to the next. */
interface Dialogue {
  readonly address: URL;
  readonly subprotocols: readonly string[];
  readonly resumes: boolean;
  opened(socket: WebSocket): void;
  /** Answers false where no more should come for now, and "done" where nothing more is wanted. */
  heard(text: string, events: FollowerEvents): boolean | "done";
}

/** With `tailgate.v1`. */
class Resumable implements Dialogue {
  readonly address: URL;
  readonly subprotocols = [SUBPROTOCOL];
  readonly resumes = true;
  readonly #followed: Followed;
  readonly #endsCaughtUp: boolean;
  readonly #position = new Position();

  constructor(followed: Followed, endsCaughtUp: boolean) {
    this.address = followed.url;
    this.#followed = followed;
    this.#endsCaughtUp = endsCaughtUp;
  }

  opened(socket: WebSocket): void {
    const { filter, replay, since } = this.#followed;
    const { resume } = this.#position;
    const start = resume === undefined ? { replay, since } : { resume };
    const message: ClientMessage = { type: "subscribe", filter, ...start };
    socket.send(JSON.stringify(message));
  }

  heard(text: string, events: FollowerEvents): boolean | "done" {
    const message = messageOf(text);
    if (message.type === "error") {
      throw new TailgateError("USAGE", `The gateway refused this: ${message.message}`);
    }
    if (message.type === "hello") this.#compareLimit(message.limits.replay, events);
    const { gaps, envelopes } = this.#position.take(message, text);
    let isReady = true;
    for (const gap of gaps) isReady = events.gap(gap) && isReady;
    for (const envelope of envelopes) isReady = events.text(envelope) && isReady;
    return message.type === "caught_up" && this.#endsCaughtUp ? "done" : isReady;
  }

  #compareLimit(replayMax: number, events: FollowerEvents): void {
    const { replay = 0 } = this.#followed;
    if (this.#position.resume === undefined && replay > replayMax) events.limited(replayMax);
  }
}

/** Without a subprotocol: each frame is an envelope. */
class Plain implements Dialogue {
  readonly address: URL;
  readonly subprotocols = [];
  readonly resumes = false;

  constructor({ url, filter, replay }: Followed) {
    this.address = new URL(url);
    for (const [name, value] of Object.entries({ ...filter, replay })) {
      if (value !== undefined) this.address.searchParams.set(name, String(value));
    }
  }

  opened(): void {
    this.address.searchParams.delete("replay");
  }

  heard(text: string, events: FollowerEvents): boolean {
    return events.text(text);
  }
}

interface Refusal {
  readonly status: number;
  readonly text: string;
}

interface SessionEnd {
  readonly wasOpen: boolean;
  readonly reason: string;
  /** All has come that was wanted. */
  readonly isDone?: boolean;
  /** What was thrown about a message of the gateway. */
  readonly fault?: Error;
  /** The answer that stands for good: another attempt would get it again. */
  readonly refusal?: Refusal;
}

/** One connection, from its handshake to its end. */
async function session(
  dialogue: Dialogue,
  events: FollowerEvents,
  signal: AbortSignal,
): Promise<SessionEnd> {
  const socket = new WebSocket(dialogue.address, [...dialogue.subprotocols], {
    perMessageDeflate: false,
    handshakeTimeout: HANDSHAKE_MS_MAX,
  });
  const { promise: ended, resolve: end } = Promise.withResolvers<SessionEnd>();
  let wasOpen = false;
  let reason = "";
  const terminate = (): void => socket.terminate();
  signal.addEventListener("abort", terminate, { once: true });
  socket.on("open", () => {
    wasOpen = true;
    events.connected(dialogue.resumes);
    dialogue.opened(socket);
  });
  let isOver = false;
  socket.on("message", (data: Buffer) => {
    if (isOver) return;
    try {
      const heard = dialogue.heard(data.toString(), events);
      isOver = heard === "done";
      if (isOver) end({ wasOpen, reason, isDone: true });
      else if (!heard) void holdBack(socket, events);
    } catch (error) {
      isOver = true;
      end({ wasOpen, reason, fault: error as Error });
    }
  });
  socket.on("unexpected-response", (_, response) => {
    void readRefusal(response).then((refusal) => {
      reason = `HTTP ${refusal.status}: ${refusal.text}`;
      end({ wasOpen, reason, ...(isFinal(refusal.status) && { refusal }) });
      return terminate();
    });
  });
  socket.on("error", (error) => {
    reason ||= connectionErrorText(error);
  });
  socket.on("close", (code, closeReason) => {
    end({ wasOpen, reason: reason || `closed with ${code} ${closeReason.toString()}`.trimEnd() });
  });
  const stopPinging = pingRegularly(socket);
  try {
    return await ended;
  } finally {
    stopPinging();
    terminate();
    signal.removeEventListener("abort", terminate);
  }
}

/** Lets the gateway feel a reader that is slow; it will not gather what nobody reads. */
async function holdBack(socket: WebSocket, events: FollowerEvents): Promise<void> {
  if (socket.isPaused) return;
  socket.pause();
  await events.drained();
  socket.resume();
}

function pingRegularly(socket: WebSocket): () => void {
  let isAlive = true;
  socket.on("pong", () => {
    isAlive = true;
  });
  const timer = setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN || socket.isPaused) return;
    if (!isAlive) socket.terminate();
    isAlive = false;
    socket.ping();
  }, PING_INTERVAL_MS);
  return () => clearInterval(timer);
}

async function readRefusal(response: IncomingMessage): Promise<Refusal> {
  let text = "";
  try {
    for await (const chunk of response) {
      text += String(chunk);
      if (text.length > REFUSAL_BYTES_MAX) break;
    }
  } catch {
    // What has come so far has to do.
  }
  return { status: response.statusCode ?? 0, text: text.slice(0, REFUSAL_BYTES_MAX).trim() };
}

/** Too many requests and the 5xx pass; the other answers do not change by asking again. */
function isFinal(status: number): boolean {
  return status < 500 && status !== 429;
}

function refuse(address: URL, { status, text }: Refusal): never {
  if (status === 400) throw new TailgateError("USAGE", `The gateway refused this: ${text}`);
  throw unreachable(address, `HTTP ${status}: ${text}`);
}

function tooOld(): TailgateError {
  const text = "This gateway is older than this command: --since and --no-follow need tailgate.v1.";
  return new TailgateError("USAGE", text);
}

function unreachable(address: URL, reason: string): TailgateError {
  const place = `${address.protocol}//${address.host}${address.pathname}`;
  const why = reason.replace(/\.$/, "");
  return new TailgateError("GATEWAY_UNREACHABLE", `No gateway answers at ${place}: ${why}.`);
}

/** Node gathers the errors of all addresses of a name, and gives them no text. */
function connectionErrorText(error: Error): string {
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(textOf).join(", ");
  }
  return error.message;
}

/** Between half and all of the delay, so that the followers of a gateway that restarts do not come at once. */
async function pause(attempt: number, signal: AbortSignal): Promise<void> {
  const delayMs = Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * DELAY_FACTOR ** attempt);
  await delay(delayMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
}
