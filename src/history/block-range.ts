/** A range of sequences, both inclusive; empty if `to` is `from - 1`. */
export interface BlockRange {
  readonly from: number;
  readonly to: number;
}
