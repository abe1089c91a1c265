/** What the journal and its worker thread say to each other. */

import type { MessagePort } from "node:worker_threads";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import type { ChainState, Damage, EpochStart, Hole, Retention, StoredEvent } from "./journal.ts";
import type { ClockReading } from "./trusted-clock.ts";

/** What a journal starts with. */
export interface OpenedState {
  readonly newest: number;
  /** The oldest first; the last one is the current one. */
  readonly epochs: readonly EpochStart[];
  readonly holes: readonly Hole[];
  readonly chain: ChainState;
  readonly cursors: readonly (readonly [string, number])[];
  /** Whether some of the cursors are lost. */
  readonly hasLostCursors: boolean;
  readonly memories: readonly (readonly [string, string])[];
  /** The newest ones that have a key. */
  readonly events: readonly StoredEvent[];
  /** When the newest commit was appended; undefined before the first. */
  readonly lastMs?: number | undefined;
}

/** The records of one lane of a commit. */
interface LaneRow {
  readonly type: EnvelopeType;
  readonly records: number;
  readonly timeMin: number;
  readonly timeMax: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The records of one range of sequences. */
export interface StoredRange {
  readonly first: number;
  readonly last: number;
  readonly appendedAtMs: number;
  readonly lanes: readonly LaneRow[];
}

/** What is to be made durable in one go. */
export interface Commit {
  /** In their order. Sequences before and between them that are not in the journal become holes. */
  readonly ranges: readonly StoredRange[];
  readonly cursors: readonly (readonly [string, number])[];
  /** What plugins keep; absent where they keep nothing new. */
  readonly memories?: readonly (readonly [string, string])[];
  /** What the commit's audit events make of the chain; undefined where it has none. */
  readonly chain: { readonly before: ChainState; readonly after: ChainState } | undefined;
  /** Those audit events of it that have a key. */
  readonly events: readonly StoredEvent[];
}

export interface ReadQuery {
  readonly from: number;
  readonly order: "asc" | "desc";
  readonly type: EnvelopeType | undefined;
  readonly sinceMs: number | undefined;
  readonly untilMs: number | undefined;
}

/** A lane as it was stored. */
export interface ReadRow {
  readonly type: EnvelopeType;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly appendedAtMs: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface ReadRows {
  /** The stretch that was looked at; empty with `to = from - 1`. */
  readonly from: number;
  readonly to: number;
  readonly rows: readonly ReadRow[];
  readonly gaps: readonly Gap[];
}

/** Why something failed, as it can be sent between threads. */
export interface Failure {
  /** `full`: no room, nothing was stored; `refused`: nothing was stored; `unknown`: it may have been stored. */
  readonly kind: "full" | "refused" | "unknown" | "locked" | "unusable";
  readonly text: string;
}

export type Request =
  | { readonly kind: "commit"; readonly commit: Commit }
  | { readonly kind: "read"; readonly query: ReadQuery }
  /** The time by which retention goes until the next one comes. */
  | { readonly kind: "tidy"; readonly clock: ClockReading }
  /** The process ends without a `close`, perhaps after further commits. `newest`: the last sequence that was handed out. */
  | { readonly kind: "rest"; readonly newest: number }
  /** `newest`: the last sequence that was handed out. */
  | { readonly kind: "close"; readonly newest: number };

export type Answer =
  | { readonly kind: "opened"; readonly state: OpenedState; readonly damage: Damage | undefined }
  | { readonly kind: "notOpened"; readonly failure: Failure }
  /** Nobody has asked for it: the journal was found damaged at work, and a new one has taken its place. */
  | { readonly kind: "replaced"; readonly epochs: readonly EpochStart[]; readonly damage: Damage }
  /** Nobody has asked for it: why nothing can be stored; undefined once it can be. */
  | { readonly kind: "trouble"; readonly text: string | undefined }
  | { readonly kind: "done" }
  /** The memory that came with the commit goes back to who has made it. */
  | { readonly kind: "committed"; readonly memory: readonly ArrayBuffer[] }
  | { readonly kind: "rows"; readonly rows: ReadRows }
  | { readonly kind: "failed"; readonly failure: Failure };

/** A request's number comes back with its answer; what no request has asked for has the number 0. */
export interface Numbered<Message> {
  readonly id: number;
  readonly message: Message;
}

/** What the worker is started with. */
export interface WorkerSetup {
  /** Where answers go. */
  readonly answers: MessagePort;
  readonly directory: string;
  readonly retention: Retention;
  /** For a thread that cannot wait for messages: the last request that was dealt with, and the last one that failed. */
  readonly done: Int32Array<SharedArrayBuffer>;
  /** The sequence of the oldest record that is stored; 0 while there is none. */
  readonly oldest: BigInt64Array<SharedArrayBuffer>;
}
