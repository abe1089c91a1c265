import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import { TailgateError, textOf } from "../errors.ts";

/** What a follower tells. */
export interface FollowerEvents {
  /** A text frame. Answers false where no more should come before the promise of {@link drained} resolves. */
  text(text: string): boolean;
  drained(): Promise<void>;
  connected(): void;
  /** Called once for each loss, and once where the first connection is waited for. */
  disconnected(reason: string, wasConnected: boolean): void;
}

export interface FollowerOptions {
  /** Goes on trying where the first connection fails. */
  readonly waits: boolean;
  readonly signal: AbortSignal;
}

const FIRST_DELAY_MS = 1_000;
const DELAY_FACTOR = 1.5;
const DELAY_MS_MAX = 30_000;

const HANDSHAKE_MS_MAX = 10_000;

/** A peer that has not answered a ping by the next one is gone, though its socket may look open. */
const PING_INTERVAL_MS = 20_000;

const REFUSAL_BYTES_MAX = 4_096;

/**
 * Follows a gateway's WebSocket until `signal` aborts, over all losses of the connection. History (`replay`) is asked
 * for once only: after a loss it would repeat records.
 * @throws TailgateError USAGE where the gateway refuses the filter, GATEWAY_UNREACHABLE where it refuses otherwise or
 * is not there at first.
 */
export async function follow(
  url: URL,
  events: FollowerEvents,
  { waits, signal }: FollowerOptions,
): Promise<void> {
  const address = new URL(url);
  let wasConnected = false;
  let attempt = 0;
  while (!signal.aborted) {
    const end = await session(address, events, signal);
    if (signal.aborted) return;
    if (end.refusal) refuse(address, end.refusal);
    if (!end.wasOpen && !wasConnected && !waits) throw unreachable(address, end.reason);
    if (end.wasOpen || attempt === 0) events.disconnected(end.reason, end.wasOpen);
    if (end.wasOpen) {
      wasConnected = true;
      attempt = 0;
      address.searchParams.delete("replay");
    }
    await pause(attempt++, signal);
  }
}

interface Refusal {
  readonly status: number;
  readonly text: string;
}

interface SessionEnd {
  readonly wasOpen: boolean;
  readonly reason: string;
  /** The answer that stands for good: another attempt would get it again. */
  readonly refusal?: Refusal;
}

/** One connection, from its handshake to its end. */
async function session(
  address: URL,
  events: FollowerEvents,
  signal: AbortSignal,
): Promise<SessionEnd> {
  const socket = new WebSocket(address, {
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
    events.connected();
  });
  socket.on("message", (data: Buffer) => {
    if (!events.text(data.toString())) void holdBack(socket, events);
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

function unreachable(address: URL, reason: string): TailgateError {
  const place = `${address.protocol}//${address.host}${address.pathname}`;
  return new TailgateError("GATEWAY_UNREACHABLE", `No gateway answers at ${place}: ${reason}.`);
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
