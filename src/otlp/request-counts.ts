/** What became of the records of one request. */
export interface RequestCounts {
  readonly accepted: number;
  /** Records below the level that is taken in. */
  readonly filtered: number;
}
