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
