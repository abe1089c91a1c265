/** What a block is encoded from and to. The encoder is block-encoder.ts. */

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
