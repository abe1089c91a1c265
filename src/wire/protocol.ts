/**
 * The messages of the subprotocol `tailgate.v1`. Each is one JSON object in one text frame. The WebSocket exporter and
 * its clients, including browsers, share this file.
 *
 * A client's position is `to` of the last batch that it got, or `sequence` of `caught_up` if it got none. With that and the
 * epoch of the last hello it can resume after any loss of the connection.
 */

import type { Envelope, EnvelopeType } from "./envelope.ts";
import type { FilterQuery } from "./filter.ts";

/** The name of the WebSocket subprotocol. */
export const SUBPROTOCOL = "tailgate.v1";

/** The name of the plain protocol: envelopes and nothing else, as without a subprotocol. */
export const PLAIN_SUBPROTOCOL = "tailgate.plain";

/**
 * A page that cannot send a header or a cookie with its WebSocket offers this, followed by a ticket, as a second
 * subprotocol. The gateway never selects it.
 */
export const TICKET_PREFIX = "tailgate.ticket.";

interface Hello {
  readonly type: "hello";
  /** Identifies the numbering of records: sequences of different epochs are unrelated. */
  readonly epoch: string;
  /** The sequence of the newest record; 0 if there is none. */
  readonly sequence: number;
  /** The sequence up to which records are durable. */
  readonly durable: number;
  /** The version of the envelope. */
  readonly version: 1;
  readonly limits: {
    /** The maximum size of a message to the gateway. */
    readonly message_bytes: number;
    /** The maximum length of each parameter of a filter. */
    readonly filter_characters: number;
    /** The maximum of `replay`; larger numbers are capped. */
    readonly replay: number;
    /** The connection is closed after this many invalid messages. */
    readonly errors: number;
  };
}

/** All records from `from` to `to` that match the filter, except those covered by the gaps sent just before. */
export interface BatchMessage {
  readonly type: "batch";
  /** One more than `to` of the previous batch of the connection. */
  readonly from: number;
  readonly to: number;
  /** The sequence, at most `to`, up to which records were durable when the batch was sent. */
  readonly durable: number;
  /** The sequences of the envelopes. Absent if there is one envelope for each sequence of the range, or none at all. */
  readonly sequences?: readonly number[];
  readonly envelopes: readonly Envelope[];
}

/** Records that the client does not get. */
export interface GapMessage {
  readonly type: "gap";
  readonly from: number;
  readonly to: number;
  /**
   * `retention`: deleted because of their age or size; `not_stored`: the disk failed; `damaged`: unreadable; `slow`: the
   * client reads too slowly, or its filter is too expensive, as `text` then says; `epoch`: in another epoch these sequences
   * had other records, and they are sent again.
   */
  readonly reason: "retention" | "not_stored" | "damaged" | "slow" | "epoch";
  /** The type of the missing records; absent if the gap covers both types. */
  readonly record_type?: EnvelopeType;
  /** The same as `record_type`, under its previous name: both are sent, clients accept either. `type` is the message's own. */
  readonly lane?: EnvelopeType;
  readonly text?: string;
}

/** The requested history has been sent. Sent once per subscription. */
interface CaughtUp {
  readonly type: "caught_up";
  readonly sequence: number;
}

/** The following batches are made with the filter of this version. */
interface FilterApplied {
  readonly type: "filter";
  readonly version: number;
}

/** A message of the client was rejected and had no effect. */
interface ErrorMessage {
  readonly type: "error";
  readonly code: "MESSAGE_INVALID" | "FILTER_INVALID" | "ALREADY_SUBSCRIBED" | "NOT_SUBSCRIBED";
  readonly message: string;
}

/**
 * The last message before the gateway closes the connection. `unauthorized`: the token, session or certificate of the
 * client has expired or was revoked.
 */
interface Goodbye {
  readonly type: "goodbye";
  readonly reason: "stopping" | "stalled" | "misuse" | "failed" | "unauthorized";
}

/** A message of the gateway. */
export type ServerMessage =
  | Hello
  | BatchMessage
  | GapMessage
  | CaughtUp
  | FilterApplied
  | ErrorMessage
  | Goodbye;

/** The position of a client that resumes. */
export interface Resume {
  readonly epoch: string;
  readonly sequence: number;
  readonly durable?: number | undefined;
}

/** Where a subscription starts; at the head of the journal if nothing is set. */
export interface Start {
  /** Start with this many of the newest records that match. */
  readonly replay?: number | undefined;
  /** Start with the records from this time on: ISO 8601 with a time zone, or ms since 1970. */
  readonly since?: string | number | undefined;
  /** Start after this position. If `durable` is set, gaps report records after it that could not be stored. */
  readonly resume?: Resume | undefined;
}

interface Subscribe extends Start {
  readonly type: "subscribe";
  readonly filter?: FilterQuery | undefined;
  /** Returned in a filter message before the first batch. */
  readonly version?: number | undefined;
}

interface ChangeFilter {
  readonly type: "filter";
  readonly filter?: FilterQuery | undefined;
  readonly version: number;
}

/** A message of a client. */
export type ClientMessage = Subscribe | ChangeFilter;
