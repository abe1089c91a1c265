import type { LineRecord } from "./line-records.ts";

/** The destination of the records. */
export interface RecordSink {
  /** Adds records, in order. Resolves when further ones may be added; what it cannot take by then is counted as lost. */
  add(records: Iterable<LineRecord>): Promise<void>;
  /** Delivers what was added, for a few seconds or until the signal aborts. */
  close(signal: AbortSignal): Promise<Delivery>;
}

/** What became of the records. */
export interface Delivery {
  readonly total: number;
  readonly lost: number;
  /** Where they went. */
  readonly destination: string;
  /** Why some are lost, if it is known. */
  readonly reason: string | undefined;
}
