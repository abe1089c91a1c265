import type { Envelope, EnvelopeType } from "../wire/envelope.ts";
import type { GapMessage } from "../wire/protocol.ts";
import type { AccessCode } from "./gateway.ts";

/** One record. */
export interface LogEntry {
  /** The record's sequence number in the gateway's journal; 0 from a gateway without `tailgate.v1`. */
  readonly sequence: number;
  readonly envelope: Envelope;
  /** The envelope's JSON exactly as the gateway sent it; present only with the option `raw`. */
  readonly raw?: string;
}

/**
 * Why records are missing. `retention`, `not_stored`, `damaged` and `slow` are the gateway's own reasons. `hole`: the
 * gateway skipped them without reporting a gap, which is a bug of the gateway. `unknown`: records may have been logged
 * while there was no connection to a gateway without `tailgate.v1`; `from` and `to` are 0 then.
 */
export type GapReason = Exclude<GapMessage["reason"], "epoch"> | "hole" | "unknown";

/** Records that cannot be delivered. */
export interface MissingRange {
  /** The first and the last sequence of the range. */
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason;
  /** The type of the missing records; absent if the gap applies to both types. */
  readonly type?: EnvelopeType;
  /** @deprecated Use `type`, which has the same value. */
  readonly lane?: EnvelopeType;
  /** More about the reason, in words. */
  readonly text?: string;
}

/** How records are received. */
export type Transport = "tailgate.v1" | "plain" | "polling";

/** The state of a stream. */
export interface StreamStatus {
  /**
   * `connecting`, then `catching-up` while past records arrive, then `live`. `waiting`: for the next attempt or, without
   * `retryInMs`, for a filter that the gateway accepts. `polling`: live over plain HTTP requests. `unauthorized`: the
   * gateway rejected the credentials; only `retry()` makes another attempt.
   */
  readonly state:
    | "connecting"
    | "catching-up"
    | "live"
    | "waiting"
    | "polling"
    | "unauthorized"
    | "closed";
  /** Why the stream is not live, in words; "" when it is. */
  readonly reason: string;
  /** When the state last changed, in ms since 1970. */
  readonly since: number;
  /** Time to the next attempt, in ms, counted from the status event. */
  readonly retryInMs?: number | undefined;
  /** How records are received, or were last. */
  readonly transport: Transport;
  /** The position up to which records were delivered; with `durable`, another stream can start there (`start.resume`). */
  readonly epoch?: string | undefined;
  readonly sequence?: number | undefined;
  readonly durable?: number | undefined;
}

/** What a stream tells its listeners. */
export type StreamEvent =
  /** All records from `from` to `to` that match the filter, in order and without duplicates. There may be none. */
  | {
      readonly type: "records";
      readonly entries: readonly LogEntry[];
      readonly from: number;
      readonly to: number;
    }
  /** Records that cannot be delivered. */
  | { readonly type: "gap"; readonly gap: MissingRange }
  /** The past records have been delivered: what follows is live. Sent once for each connection. */
  | { readonly type: "caught_up"; readonly sequence: number }
  /** Records from here on match the filter of this version. */
  | { readonly type: "filter"; readonly version: number }
  /** The gateway rejected the filter of this version; the previous one stays in effect. */
  | { readonly type: "refused"; readonly version: number; readonly reason: string }
  /** Records delivered from `from` to `to` are no longer in the journal; their sequences are assigned to other records. */
  | {
      readonly type: "reset";
      readonly epoch: string;
      readonly from: number;
      readonly to: number;
      readonly reason: string;
    }
  /** The gateway replays at most `replay` records, fewer than `start.replay` asks for. */
  | { readonly type: "replay_limited"; readonly replay: number }
  /** A gateway without `tailgate.v1` sent a frame that is not an envelope. */
  | { readonly type: "unrecognized"; readonly text: string }
  /**
   * The gateway rejected the credentials, and the stream waits for `retry()`. `UNAUTHENTICATED`: there are none, or they are
   * not valid or no longer so; `FORBIDDEN`: they do not permit reading records.
   */
  | { readonly type: "error"; readonly code: AccessCode; readonly message: string }
  /** The status has changed. */
  | { readonly type: "status"; readonly status: StreamStatus };

/** Called with each event, in order. */
export type StreamListener = (event: StreamEvent) => void;

/** The minimum time between two reports of a listener that throws. */
const REPORT_INTERVAL_MS_MIN = 60_000;

interface ListenerEntry {
  readonly listener: StreamListener;
  /** Exceptions since the last report. */
  failures: number;
  reportedAtMs: number;
}

/** Delivers a stream's events to its listeners, to each of them in the same order. Isolates their exceptions. */
export class Listeners {
  readonly #listeners = new Set<ListenerEntry>();
  readonly #queue: StreamEvent[] = [];
  #isDelivering = false;
  #isClosed = false;

  /** Returns the function that removes the listener. */
  add(listener: StreamListener): () => void {
    const entry = { listener, failures: 0, reportedAtMs: -Infinity };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** Delivers events. Those emitted by a listener follow the current ones; none follow the status `closed`. */
  emit(events: readonly StreamEvent[]): void {
    for (const event of events) {
      if (this.#isClosed) return;
      this.#queue.push(event);
      this.#isClosed = event.type === "status" && event.status.state === "closed";
    }
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    // Also those that listeners emit meanwhile.
    for (const event of this.#queue) this.#deliver(event);
    this.#queue.length = 0;
    this.#isDelivering = false;
  }

  #deliver(event: StreamEvent): void {
    for (const entry of Array.from(this.#listeners)) {
      if (!this.#listeners.has(entry)) continue;
      try {
        entry.listener(event);
      } catch (error) {
        this.#report(entry, error);
      }
    }
  }

  #report(entry: ListenerEntry, error: unknown): void {
    entry.failures++;
    const nowMs = performance.now();
    if (nowMs - entry.reportedAtMs < REPORT_INTERVAL_MS_MIN) return;
    const times = entry.failures === 1 ? "" : ` ${entry.failures} times since the last report`;
    entry.failures = 0;
    entry.reportedAtMs = nowMs;
    console.error(`A listener of a log stream threw an exception${times}.`, error);
  }
}
