/** What the threads that search the history are asked, and what they reply. */

import type { StoredBlock } from "../batch/block.ts";
import type { Gap } from "../plugin/index.ts";
import type { BlockRange } from "./block-range.ts";
import type { CountOptions, HistoryCounts, HistoryQuery, HistorySearch } from "./history.ts";

/** What the threads are started with. */
export interface SearchSetup {
  readonly directory: string;
}

export type SearchTask = PlanTask | FindTask | CountTask | ReadTask;

/** Lists the blocks of a search's range that can have matches. */
export interface PlanTask {
  readonly kind: "plan";
  readonly search: HistorySearch;
}

/** Reads a page. */
export interface ReadTask {
  readonly kind: "read";
  readonly query: HistoryQuery;
}

export interface SearchPlan {
  /** In the order of the search: by their first sequences, or downwards by their last ones. */
  readonly blocks: readonly PlannedBlock[];
  readonly gaps: readonly Gap[];
  /** The times of the records of all blocks within the search's bounds, in milliseconds since 1970. */
  readonly timeMin: number;
  readonly timeMax: number;
}

export interface PlannedBlock extends BlockRange {
  readonly id: number;
}

interface BlocksTask {
  readonly search: HistorySearch;
  /** The part of the search's range to search. */
  readonly range: BlockRange;
  /** All blocks that can have matches in this range, in the order of the search. */
  readonly blocks: readonly PlannedBlock[];
}

export interface FindTask extends BlocksTask {
  readonly kind: "find";
  readonly limit: number;
}

export interface CountTask extends BlocksTask {
  readonly kind: "count";
  readonly options: CountOptions;
  readonly periodMs: number;
}

/** What was found in a range that starts like the task's and may end earlier, so that a task never takes long. */
interface BlocksResult {
  readonly range: BlockRange;
  readonly gaps: readonly Gap[];
  readonly matches: number;
}

export interface FindResult extends BlocksResult {
  readonly blocks: readonly StoredBlock[];
}

export type CountResult = Omit<HistoryCounts, keyof BlockRange> & BlocksResult;
