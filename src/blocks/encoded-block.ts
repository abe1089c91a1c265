/** What a block is encoded from and to. The encoder is block-encoder.ts. */

import type { EncodedRecord } from "../otlp/encode.ts";
import type { LevelRank } from "../wire/envelope.ts";

/** A record that goes into a merged block. */
export interface BlockRecord {
  readonly sequence: number;
  readonly appendedAtMs: number;
  readonly rank: LevelRank;
  readonly logger: string;
  /** The record as it is stored: its own bytes, and those of its resource and its scope. */
  readonly otlp: EncodedRecord;
  /** The time of the envelope, in microseconds since 1970. */
  readonly timeMicros: number;
  /**
   * The bytes of the envelope (its frame without the header), if the block's rules would not make exactly these of the
   * record. Always there for audit events, whose hash covers them.
   */
  readonly envelope: Uint8Array | undefined;
  /** The hash of an audit event, in hexadecimal. */
  readonly hash: string | undefined;
}

/** A block, ready to be stored. */
export interface EncodedBlock {
  readonly length: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** In milliseconds since 1970. */
  readonly timeMin: number;
  readonly timeMax: number;
  readonly appendedMin: number;
  readonly appendedMax: number;
  /** The number of records by the rank of their level. */
  readonly levels: readonly number[];
  /** The rules by which the envelopes are made, as JSON (src/envelope/rules.ts). */
  readonly rules: string;
  /** A BlockDirectory and the layout of the chunks, compressed. */
  readonly directory: Uint8Array;
  /** At most 256, as they are stored. */
  readonly chunks: readonly Uint8Array[];
  /** The parts of the filter; none if `isFiltered` is false. */
  readonly filter: readonly Uint8Array[];
}
