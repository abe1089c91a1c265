import type { Envelope, EnvelopeType } from "../wire/envelope.ts";
import type { GapMessage } from "../wire/protocol.ts";

/** One record. */
export interface LogEntry {
  /** Its place in the gateway's journal; 0 where an older gateway does not tell. */
  readonly sequence: number;
  readonly envelope: Envelope;
}

/**
 * `retention`, `not_stored`, `damaged`, `slow`: as the gateway says. `hole`: the gateway has left them out without a
 * word, which is a fault of it. `unknown`: what came while there was no connection to an older gateway; `from` and
 * `to` are 0 then.
 */
export type GapReason = Exclude<GapMessage["reason"], "epoch"> | "hole" | "unknown";

/** Records that do not come. */
export interface MissingRange {
  /** The first and the last sequence of the range. */
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason;
  /** Records of this type alone; all of the range where absent. */
  readonly lane?: EnvelopeType;
  /** Why, in words, if the gateway says more than the reason does. */
  readonly text?: string;
}

/** How the records come. */
export type Transport = "tailgate.v1" | "plain" | "polling";

/** How a stream is. */
export interface StreamStatus {
  /**
   * `connecting`, then `catching-up` while records of the past come, then `live`. `waiting` for the next attempt, or,
   * without `retryInMs`, for a filter that the gateway takes. `polling`: live over plain requests.
   */
  readonly state: "connecting" | "catching-up" | "live" | "waiting" | "polling" | "closed";
  /** Why it is not live, in words; "" when it is. */
  readonly reason: string;
  /** When the state has changed last, in ms since 1970. */
  readonly since: number;
  /** How long it waits before the next attempt, from the moment of the status event on. */
  readonly retryInMs?: number;
  readonly transport: Transport;
  /** Up to where records were handed on; with `durable` it is what another stream's `start.resume` takes. */
  readonly epoch?: string | undefined;
  readonly sequence?: number | undefined;
  readonly durable?: number | undefined;
}

/** What a stream tells. */
export type StreamEvent =
  /** All records from `from` to `to` that match the filter, in order of sequence, never one twice. It may be none. */
  | {
      readonly type: "records";
      readonly entries: readonly LogEntry[];
      readonly from: number;
      readonly to: number;
    }
  | { readonly type: "gap"; readonly gap: MissingRange }
  /** The past has come: what follows is new. Once for each connection. */
  | { readonly type: "caught_up"; readonly sequence: number }
  /** Records from here on match the filter of that version. */
  | { readonly type: "filter"; readonly version: number }
  /** The gateway does not take the filter of that version; the one before holds. */
  | { readonly type: "refused"; readonly version: number; readonly reason: string }
  /** What was handed on from `from` to `to` is not in the journal; other records come under these sequences. */
  | {
      readonly type: "reset";
      readonly epoch: string;
      readonly from: number;
      readonly to: number;
      readonly reason: string;
    }
  | { readonly type: "status"; readonly status: StreamStatus };

export type StreamListener = (event: StreamEvent) => void;

/** A listener that throws at every event is reported no more often than this. */
const REPORT_MS_MIN = 60_000;

interface Entry {
  readonly listener: StreamListener;
  /** How often it has thrown since it was reported last, and when that was. */
  failures: number;
  reportedAtMs: number;
}

/** Who hears a stream's events: each one all of them, in the same order, whatever another one does meanwhile. */
export class Listeners {
  readonly #listeners = new Set<Entry>();
  readonly #events: StreamEvent[] = [];
  #isTelling = false;
  #isOver = false;

  /** Answers the function that takes the listener off. */
  add(listener: StreamListener): () => void {
    const entry = { listener, failures: 0, reportedAtMs: -Infinity };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** Events that come while others are told follow them. Behind the status `closed` there are none. */
  tell(events: readonly StreamEvent[]): void {
    for (const event of events) {
      if (this.#isOver) return;
      this.#events.push(event);
      this.#isOver = event.type === "status" && event.status.state === "closed";
    }
    if (this.#isTelling) return;
    this.#isTelling = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) this.#tellAll(next);
    this.#isTelling = false;
  }

  #tellAll(event: StreamEvent): void {
    for (const entry of Array.from(this.#listeners)) {
      if (!this.#listeners.has(entry)) continue;
      try {
        entry.listener(event);
      } catch (error) {
        this.#report(entry, error);
      }
    }
  }

  #report(entry: Entry, error: unknown): void {
    entry.failures++;
    const nowMs = performance.now();
    if (nowMs - entry.reportedAtMs < REPORT_MS_MIN) return;
    const times = entry.failures === 1 ? "" : `, ${entry.failures} times since the last report`;
    entry.failures = 0;
    entry.reportedAtMs = nowMs;
    console.error(`A listener of a log stream has thrown${times}.`, error);
  }
}
