/**
 * The subprotocol `tailgate.v1`: what the gateway and a viewer say to each other, each message one JSON object in one
 * text frame. Nearly types only: the WebSocket exporter and the clients, in a browser too, share this file.
 *
 * A viewer's position is `to` of the last batch that it has, or where none has come `sequence` of `caught_up`; with the
 * epoch of the last hello it can go on there after any loss of the connection.
 */

import type { Envelope, EnvelopeType } from "./envelope.ts";
import type { FilterQuery } from "./filter.ts";

export const SUBPROTOCOL = "tailgate.v1";

/** The first message on a connection. */
interface Hello {
  readonly type: "hello";
  /** Which numbering of records the sequences belong to. */
  readonly epoch: string;
  /** The newest record's sequence, 0 before the first. */
  readonly sequence: number;
  /** The sequence up to which records are as safe as the journal makes them. */
  readonly durable: number;
  /** The version of the envelope. */
  readonly version: 1;
  readonly limits: {
    /** What one message to the gateway may have. */
    readonly message_bytes: number;
    /** How many characters each of the filter's parameters may have. */
    readonly filter_characters: number;
    /** What `replay` may ask for; more is taken as so many. */
    readonly replay: number;
    /** How many messages that are not understood are answered before the connection is closed. */
    readonly errors: number;
  };
}

/** All records from `from` to `to` that match the filter, but for those that gaps right before it tell of. */
export interface RecordBatch {
  readonly type: "batch";
  /** One more than `to` of the batch before, but for the first one of a connection. */
  readonly from: number;
  readonly to: number;
  /** Up to which sequence of those the records were as safe as the journal makes them. */
  readonly durable: number;
  /** Of the envelopes, in their order. Left out where there is one envelope for each sequence, or none at all. */
  readonly sequences?: readonly number[];
  readonly envelopes: readonly Envelope[];
}

/** Records that a viewer does not get. */
export interface GapMessage {
  readonly type: "gap";
  /** The first and the last sequence of the range. */
  readonly from: number;
  readonly to: number;
  /**
   * `retention`: deleted for their age or their size; `not_stored`: the disk took them not; `damaged`: unreadable;
   * `slow`: this viewer was too slow for them, or its filter too expensive, as `text` then says; `epoch`: these sequences meant other records before, and are given anew.
   */
  readonly reason: "retention" | "not_stored" | "damaged" | "slow" | "epoch";
  /** Records of this type alone; all of the range where absent. */
  readonly lane?: EnvelopeType;
  /** Why, in words, if there is more to say than the reason does. */
  readonly text?: string;
}

/** What was asked for of the past has been sent; comes once. */
interface CaughtUp {
  readonly type: "caught_up";
  readonly sequence: number;
}

/** Batches from here on are made with the filter of that version. */
interface FilterHolds {
  readonly type: "filter";
  readonly version: number;
}

/** A message was not understood; it changed nothing. */
interface MessageError {
  readonly type: "error";
  readonly code: "MESSAGE_INVALID" | "FILTER_INVALID" | "ALREADY_SUBSCRIBED" | "NOT_SUBSCRIBED";
  readonly message: string;
}

/** The last message on a connection that the gateway ends. */
interface Goodbye {
  readonly type: "goodbye";
  readonly reason: "stopping" | "stalled" | "misuse" | "failed";
}

export type ServerMessage =
  | Hello
  | RecordBatch
  | GapMessage
  | CaughtUp
  | FilterHolds
  | MessageError
  | Goodbye;

/** What a viewer has when it comes back. */
export interface Resume {
  readonly epoch: string;
  readonly sequence: number;
  readonly durable?: number | undefined;
}

/** Where a subscription starts; from now on where nothing of it is there. */
export interface Start {
  /** With the newest so many records that match. */
  readonly replay?: number | undefined;
  /** With the records from that time on: ISO 8601 with a zone, or ms since 1970. */
  readonly since?: string | number | undefined;
  /** Behind what the viewer has. With `durable` it is told which of that turned out not to be stored. */
  readonly resume?: Resume | undefined;
}

interface Subscribe extends Start {
  readonly type: "subscribe";
  readonly filter?: FilterQuery | undefined;
  /** Comes back in a filter message before the first batch. */
  readonly version?: number | undefined;
}

/** Replaces the filter. */
interface ChangeFilter {
  readonly type: "filter";
  readonly filter?: FilterQuery | undefined;
  readonly version: number;
}

export type ClientMessage = Subscribe | ChangeFilter;
