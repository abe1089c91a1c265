/**
 * Searches and reads the history: plans a search, and has its blocks searched by the threads of a pool, several at a time.
 * The same threads read pages.
 */

import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { pathToFileURL } from "node:url";
import { packageFile } from "../runtime/package.ts";
import type { BlockRange } from "./block-range.ts";
import type {
  CountOptions,
  History,
  HistoryCounts,
  HistoryMatches,
  HistoryPage,
  HistoryQuery,
  HistorySearch,
} from "./history.ts";
import type {
  CountResult,
  CountTask,
  FindResult,
  FindTask,
  PlannedBlock,
  PlanTask,
  ReadTask,
  SearchPlan,
  SearchSetup,
} from "./search-tasks.ts";
import { WorkerPool } from "./worker-pool.ts";

/** The tasks of one search that are under way at the same time. */
const TASKS_IN_FLIGHT = 2;

/** A task searches as many blocks as take about this time. */
const TASK_MS = 30;
/** The first task of a search has this many blocks, as the first matches are often the only ones that are needed. */
const FOUND_BLOCKS_FIRST = 1;
const COUNTED_BLOCKS_FIRST = 4;
const TASK_BLOCKS_MAX = 128;

/** A search that gets no further with so many plans fails. */
const PLANS_MAX = 20;

/** A histogram has at most 100 bars: from this time on, a minute is a small part of a bar. */
const MINUTES_SPAN_MS = 6 * 3_600_000;
const MINUTE_MS = 60_000;
/** So many periods, or twice as many, make up a shorter time. */
const PERIODS_MIN = 512;

/** A page is read to its end. */
const NEVER = new AbortController().signal;

/** A {@link History}, in the file's state as the threads find it. */
export class HistorySearches implements Omit<History, "mergedUpTo"> {
  readonly #pool: WorkerPool;

  constructor(directory: string) {
    this.#pool = new WorkerPool({
      url: workerUrl(),
      name: "tailgate search",
      workerData: { directory } satisfies SearchSetup,
      // The main thread has little to do while two scan: measured on two cores, it waits for at most 10 ms.
      workersMax: Math.max(2, availableParallelism() - 1),
    });
  }

  async read(query: HistoryQuery): Promise<HistoryPage> {
    const task: ReadTask = { kind: "read", query };
    return this.#pool.run(task, {}, NEVER);
  }

  async *find(
    search: HistorySearch,
    limit: number,
    signal: AbortSignal,
  ): AsyncGenerator<HistoryMatches> {
    let left = limit;
    const newTask = (range: BlockRange, blocks: readonly PlannedBlock[]): FindTask => ({
      kind: "find",
      search,
      range,
      blocks,
      limit: left,
    });
    for await (const result of this.#search<FindResult>(search, newTask, signal)) {
      left -= result.matches;
      yield { ...result.range, ...result };
      if (left <= 0) return;
    }
  }

  async *count(
    search: HistorySearch,
    options: CountOptions,
    signal: AbortSignal,
  ): AsyncGenerator<HistoryCounts> {
    const newTask = (
      range: BlockRange,
      blocks: readonly PlannedBlock[],
      plan: SearchPlan,
    ): CountTask => ({
      kind: "count",
      search,
      range,
      blocks,
      options,
      periodMs: periodOf(plan),
    });
    for await (const result of this.#search<CountResult>(search, newTask, signal)) {
      yield { ...result.range, ...result };
    }
  }

  /** Yields the results of tasks in the order of the search; their ranges cover that of the search. */
  async *#search<Result extends FindResult | CountResult>(
    search: HistorySearch,
    newTask: NewTask,
    signal: AbortSignal,
  ): AsyncGenerator<Result> {
    const request = {};
    const end = new AbortController();
    const abort = (): void => end.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    try {
      let rest: BlockRange = search;
      let attempts = 0;
      while (rest.from <= rest.to) {
        // Blocks that were merged with others are found by the next plan, unless what lists them is damaged.
        if (attempts++ === PLANS_MAX) throw new Error("a block that is listed is missing");
        const task: PlanTask = { kind: "plan", search: { ...search, ...rest } };
        const plan = await this.#pool.run<SearchPlan>(task, request, end.signal);
        const tasks = new TaskQueue<Result>(task.search, plan, newTask);
        const run = (next: FindTask | CountTask): Promise<Result | undefined> =>
          this.#pool.run(next, request, end.signal);
        for await (const result of tasks.run(run)) {
          rest = restOf(rest, result.range, search.order);
          attempts = 0;
          yield result;
        }
      }
    } finally {
      signal.removeEventListener("abort", abort);
      end.abort();
    }
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }
}

type NewTask = (
  range: BlockRange,
  blocks: readonly PlannedBlock[],
  plan: SearchPlan,
) => FindTask | CountTask;

function restOf(range: BlockRange, done: BlockRange, order: HistorySearch["order"]): BlockRange {
  return order === "asc"
    ? { from: done.to + 1, to: range.to }
    : { from: range.from, to: done.from - 1 };
}

/** The tasks of a planned search, in order. */
class TaskQueue<Result extends FindResult | CountResult> {
  readonly #search: HistorySearch;
  readonly #plan: SearchPlan;
  readonly #newTask: NewTask;
  /** What no task has yet. */
  #rest: BlockRange;
  /** The first of the plan's blocks that is not in the tasks so far. */
  #nextBlock = 0;
  #taskBlocks: number;

  constructor(search: HistorySearch, plan: SearchPlan, newTask: NewTask) {
    this.#search = search;
    this.#plan = plan;
    this.#newTask = newTask;
    this.#rest = search;
    const { kind } = newTask(search, [], plan);
    this.#taskBlocks = kind === "find" ? FOUND_BLOCKS_FIRST : COUNTED_BLOCKS_FIRST;
  }

  /** Ends early if a block is not there any more. */
  async *run(
    run: (task: FindTask | CountTask) => Promise<Result | undefined>,
  ): AsyncGenerator<Result> {
    const inFlight: { readonly task: FindTask | CountTask; result: Promise<Result | undefined> }[] =
      [];
    const start = (task: FindTask | CountTask) => {
      const startedAtMs = performance.now();
      const result = run(task).then((reply) => {
        this.#adapt(task.blocks.length, performance.now() - startedAtMs);
        return reply;
      });
      // Whoever stops iterating does not wait for it.
      result.catch(() => {});
      return { task, result };
    };
    for (;;) {
      while (inFlight.length < TASKS_IN_FLIGHT && this.#rest.from <= this.#rest.to) {
        const task = this.#next();
        inFlight.push(start(task));
      }
      const first = inFlight.shift();
      if (first === undefined) return;
      const result = await first.result;
      if (result === undefined) return;
      const { range } = first.task;
      const rest = restOf(range, result.range, this.#search.order);
      if (rest.from <= rest.to)
        inFlight.unshift(
          start(
            this.#newTask(
              rest,
              first.task.blocks.filter((block) => overlaps(block, rest)),
              this.#plan,
            ),
          ),
        );
      const gaps = [...this.#gapsOf(result.range), ...result.gaps];
      gaps.sort((one, other) => one.from - other.from);
      yield { ...result, gaps };
    }
  }

  #next(): FindTask | CountTask {
    const { blocks } = this.#plan;
    const isUpwards = this.#search.order === "asc";
    this.#nextBlock += this.#taskBlocks;
    const following = blocks[this.#nextBlock];
    // The next task starts with the block that follows; blocks of the other type can be part of both.
    const { from, to } = this.#rest;
    const range = isUpwards
      ? { from, to: Math.min(to, Math.max(from, (following?.from ?? Infinity) - 1)) }
      : { from: Math.max(from, Math.min(to, (following?.to ?? -Infinity) + 1)), to };
    this.#rest = restOf(this.#rest, range, this.#search.order);
    return this.#newTask(
      range,
      blocks.filter((block) => overlaps(block, range)),
      this.#plan,
    );
  }

  #adapt(blocks: number, ms: number): void {
    const fitting = Math.round((blocks * TASK_MS) / Math.max(ms, 1));
    this.#taskBlocks = Math.max(1, Math.min(TASK_BLOCKS_MAX, 4 * this.#taskBlocks, fitting));
  }

  #gapsOf({ from, to }: BlockRange) {
    return this.#plan.gaps
      .map((gap) => ({ ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) }))
      .filter((gap) => gap.from <= gap.to);
  }
}

function overlaps(block: BlockRange, range: BlockRange): boolean {
  return block.from <= range.to && block.to >= range.from;
}

/**
 * Returns the length of the periods by which records are counted: a minute, which directories tell, if a minute is short
 * enough; otherwise a power of two, of which buckets of TimeBuckets are multiples.
 */
function periodOf({ timeMin, timeMax }: SearchPlan): number {
  const spanMs = timeMax - timeMin;
  if (spanMs >= MINUTES_SPAN_MS) return MINUTE_MS;
  return 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, spanMs / PERIODS_MIN))));
}

function workerUrl(): URL {
  const here = import.meta.url as string | undefined;
  const extension = here?.endsWith(".ts") ? "ts" : "js";
  const sibling = here && new URL(`./search-worker.${extension}`, here);
  if (sibling && existsSync(sibling)) return sibling;
  return pathToFileURL(packageFile("dist/src/history/search-worker.js"));
}
