/** The main thread's side of the merge (merge-worker.ts): decides when records are merged, and takes them there. */

import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { packageFile } from "../runtime/package.ts";
import type { EnvelopeType } from "../wire/envelope.ts";
import { textOf } from "../wire/errors.ts";
import type { BlockRange } from "./block-range.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";
import type { FreshPage, UnindexedRange } from "./merge.ts";
import type {
  HistoryState,
  Limits,
  MergeReply,
  MergeRequest,
  MergeSetup,
  WithId,
} from "./merge-worker.ts";

/** Records are merged once they fill a block, or come from this many commits. */
const MERGED_RECORDS_MIN = 16_384;
const MERGED_COMMITS_MIN = 256;

/** With this many unmerged records, commits wait for the merge instead of the merge for commits. */
const FORCED_RECORDS = 131_072;

/** Whatever there is, is merged when nothing was committed for this long. */
const IDLE_MS = 600_000;

/** After a failure, the next attempt is made after this time. */
const RETRY_MS = 60_000;

/** The records that are not merged, as the journal has them. */
export interface FreshRecords {
  /** The sequence up to which they are durable. */
  readonly durable: number;
  /** Whether a commit waits for another one. */
  readonly isBusy: boolean;
  /** Reads the next page from `from` on; empty at the end. */
  read(from: number): Promise<FreshPage>;
  /** Deletes what is merged. Returns the size of the others. */
  merged(state: HistoryState): Promise<Readonly<Record<EnvelopeType, number>>>;
  /** The history has lost what it has from `from` on. Returns the range that is a gap now. */
  lost(from: number): Promise<BlockRange | undefined>;
  /** Returns what each type may keep, without what is not merged. */
  limits(
    freshBytes: Readonly<Record<EnvelopeType, number>>,
  ): Readonly<Record<EnvelopeType, Limits>>;
}

export interface MergerOptions {
  readonly directory: string;
  /** The sequence up to which the history has the records. */
  readonly merged: number;
  readonly fresh: FreshRecords;
  /** Called when the history does not have the oldest records any more. */
  expired(): void;
  /** Called when the history is gone or cannot be read; `aside`: the path of the file that was put aside. */
  lost(range: BlockRange | undefined, why: string, aside: string | undefined): void;
  /** Called when records were stored without an index, because one could not be made. */
  unindexed(ranges: readonly UnindexedRange[]): void;
  /** Called when records cannot be merged, and with undefined when they can again. */
  failed(text: string | undefined): void;
}

/** How far the merge is. */
export interface MergeStatus {
  /** How many sequences are durable and not merged. */
  readonly waiting: number;
  readonly isRunning: boolean;
  /** How many records were stored without an index since the start, because one could not be made. */
  readonly unindexed: number;
  /** Why the last attempt failed; undefined if it did not. */
  readonly lastError: string | undefined;
}

/** Merges records in the background. */
export class Merger {
  readonly #options: MergerOptions;
  #thread: MergeThread | undefined;
  #state: HistoryState | undefined;
  #merged: number;
  #freshBytes: Readonly<Record<EnvelopeType, number>> = { system_log: 0, audit_log: 0 };
  #commits = 0;
  /** Resolved after the next commit. */
  #committed: PromiseWithResolvers<void> | undefined;
  #committedAtMs = performance.now();
  #running: Promise<void> | undefined;
  #failedAtMs = -Infinity;
  #failure: string | undefined;
  #unindexed = 0;
  #isClosed = false;

  constructor(options: MergerOptions) {
    this.#options = options;
    this.#merged = options.merged;
  }

  /** The sequence up to which the history has the records. */
  get mergedUpTo(): number {
    return this.#merged;
  }

  /** The sequence of the oldest record of the history; undefined if it has none or that is not known yet. */
  get oldest(): number | undefined {
    return this.#state?.oldest;
  }

  get status(): MergeStatus {
    const { durable } = this.#options.fresh;
    return {
      waiting: Math.max(0, durable - this.#merged),
      isRunning: this.#running !== undefined,
      unindexed: this.#unindexed,
      lastError: this.#failure,
    };
  }

  get fileBytes(): number {
    return this.#state?.fileBytes ?? 0;
  }

  /** Opens the history if there is one. */
  async open(): Promise<void> {
    if (this.#merged === 0) return;
    try {
      await this.#advance(await this.#request({ kind: "reset" }));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** To be called after each commit, also if it failed. */
  committed(): void {
    this.#committed?.resolve();
    this.#committed = undefined;
    this.#commits++;
    this.#committedAtMs = performance.now();
    if (this.#running === undefined) this.#startIfNeeded();
  }

  #startIfNeeded(): void {
    const waiting = this.#options.fresh.durable - this.#merged;
    const isFull = waiting >= MERGED_RECORDS_MIN;
    if (!isFull && this.#commits < MERGED_COMMITS_MIN) return;
    if (performance.now() - this.#failedAtMs < RETRY_MS) return;
    this.#start(!isFull);
  }

  /** To be called about once a minute: expires records, and merges them if nothing else is to do. */
  async tidy(): Promise<void> {
    if (this.#isClosed || this.#running !== undefined) return;
    if (this.#merged > 0 || this.#thread !== undefined) await this.#expire();
    const isIdle = performance.now() - this.#committedAtMs >= IDLE_MS;
    if (isIdle && this.#options.fresh.durable > this.#merged) this.#start(true);
    else this.#startIfNeeded();
  }

  async #expire(): Promise<void> {
    try {
      const limits = this.#options.fresh.limits(this.#freshBytes);
      await this.#advance(await this.#request({ kind: "trim", limits }));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Merges all records that are durable now. Rejects if that fails. */
  async merge(): Promise<void> {
    await this.#running;
    this.#start(true);
    await this.#running;
    if (this.#failure !== undefined) throw new Error(this.#failure);
  }

  #start(isAll: boolean): void {
    if (this.#isClosed || this.#running !== undefined) return;
    this.#running = this.#run(isAll)
      .then(
        () => this.#succeed(),
        (error: unknown) => this.#fail(error),
      )
      .finally(() => (this.#running = undefined));
  }

  #succeed(): void {
    this.#commits = 0;
    if (this.#failure !== undefined) this.#options.failed(undefined);
    this.#failure = undefined;
  }

  #fail(error: unknown): void {
    this.#failedAtMs = performance.now();
    if (this.#isClosed) return;
    if (this.#failure === undefined) this.#options.failed(textOf(error));
    this.#failure = textOf(error);
  }

  async #run(isAll: boolean): Promise<void> {
    const { fresh } = this.#options;
    const { durable } = fresh;
    await this.#request({ kind: "reset" });
    let position = this.#merged;
    let isForced = false;
    const isDone = (): boolean =>
      isAll ? position >= durable : fresh.durable - this.#merged < MERGED_RECORDS_MIN;
    while (!this.#isClosed && !isDone()) {
      isForced ||= fresh.durable - this.#merged >= FORCED_RECORDS;
      if (!isForced && fresh.isBusy) {
        await this.#nextCommit();
        continue;
      }
      const page = await fresh.read(position + 1);
      if (page.to < page.from) break;
      position = page.to;
      await this.#advance(await this.#request({ kind: "add", page }));
    }
    // Otherwise what was read last waits for more, and is read again then.
    if (isAll || position >= fresh.durable)
      await this.#advance(await this.#request({ kind: "flush" }));
    else await this.#request({ kind: "reset" });
  }

  #nextCommit(): Promise<void> {
    this.#committed ??= Promise.withResolvers();
    return this.#committed.promise;
  }

  /** Readers look there for what is merged before it is deleted here. */
  async #advance(reply: MergeReply): Promise<void> {
    if (reply.kind !== "state") throw new Error(`unexpected reply ${reply.kind}`);
    const { merged, floors } = reply.state;
    const before = this.#state?.floors;
    const isNew = merged > this.#merged || before === undefined;
    this.#merged = Math.max(merged, this.#merged);
    this.#state = reply.state;
    this.#noteUnindexed(reply.unindexed ?? []);
    const hasExpired =
      before?.system_log !== floors.system_log || before.audit_log !== floors.audit_log;
    if (hasExpired) this.#options.expired();
    if (isNew || hasExpired) this.#freshBytes = await this.#options.fresh.merged(reply.state);
  }

  #noteUnindexed(ranges: readonly UnindexedRange[]): void {
    if (ranges.length === 0) return;
    for (const { records } of ranges) this.#unindexed += records;
    this.#options.unindexed(ranges);
  }

  /** Reads a page that no other thread can read; if the history is lost, begins a new one. */
  async read(query: HistoryQuery): Promise<HistoryPage> {
    const reply = await this.#request({ kind: "read", query });
    if (reply.kind !== "page") throw new Error(`unexpected reply ${reply.kind}`);
    return reply.page;
  }

  async #request(request: MergeRequest): Promise<MergeReply> {
    const thread = await this.#openThread();
    const pages = request.kind === "add" ? request.page.blocks : [];
    const reply = await thread.request(
      request,
      pages.map(({ bytes }) => bytes.buffer),
    );
    if (reply.kind !== "failed") return reply;
    if (reply.isLost) await this.#replace(reply.text);
    throw new Error(reply.text);
  }

  /** The journal notes the loss first: after a crash in between, it is the history that lacks the records. */
  async #replace(why: string): Promise<void> {
    const range = await this.#options.fresh.lost(1);
    const reply = await this.#thread!.request({ kind: "replace", merged: this.#merged }, []);
    const aside = reply.kind === "state" ? reply.aside : undefined;
    if (reply.kind === "state") this.#state = reply.state;
    this.#options.lost(range, why, aside);
  }

  async #openThread(): Promise<MergeThread> {
    if (this.#isClosed) throw new Error("the journal is closed");
    if (this.#thread?.hasEnded !== false) {
      this.#thread = new MergeThread({ directory: this.#options.directory, merged: this.#merged });
    }
    await this.#thread.opened;
    return this.#thread;
  }

  /** Resolves when the history is closed; what is not merged stays in the journal. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#thread?.hold();
    this.#committed?.resolve();
    await this.#running;
    await this.#thread?.close();
  }
}

/** The worker, and the requests that it has not replied to. */
class MergeThread {
  readonly opened: Promise<void>;
  hasEnded = false;
  #isHeld = false;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<MergeReply>>();
  readonly #ended = Promise.withResolvers<void>();
  #lastId = 0;
  #cause = new Error("the thread that merges records has ended");

  constructor(setup: MergeSetup) {
    this.#worker = new Worker(workerUrl(), {
      workerData: setup,
      name: "tailgate merge",
      // Node 22 prints a warning that node:sqlite is experimental.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    this.#worker.on("message", ({ id, message }: WithId<MergeReply>) => this.#handle(id, message));
    this.#worker.on("error", (error) => (this.#cause = error));
    this.#worker.on("exit", () => this.#end());
    this.opened = this.#open();
  }

  async #open(): Promise<void> {
    const reply = await this.#wait(0);
    if (reply.kind === "failed" && !reply.isLost) throw new Error(reply.text);
  }

  request(message: MergeRequest, memory: readonly ArrayBuffer[]): Promise<MergeReply> {
    if (this.hasEnded) return Promise.reject(this.#cause);
    const id = ++this.#lastId;
    this.#worker.postMessage({ id, message } satisfies WithId<MergeRequest>, memory);
    return this.#wait(id, isBackground(message));
  }

  /** Nothing keeps the process alive but requests that somebody waits for: what is not merged is merged later. */
  #wait(id: number, isInBackground = false): Promise<MergeReply> {
    const waiting = Promise.withResolvers<MergeReply>();
    this.#waiting.set(id, waiting);
    if (!isInBackground) this.#worker.ref();
    return waiting.promise;
  }

  /** Keeps the process alive until the worker has ended. */
  hold(): void {
    this.#isHeld = true;
    this.#worker.ref();
  }

  #handle(id: number, reply: MergeReply): void {
    this.#waiting.get(id)?.resolve(reply);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0 && !this.#isHeld) this.#worker.unref();
  }

  #end(): void {
    this.hasEnded = true;
    for (const { reject } of this.#waiting.values()) reject(this.#cause);
    this.#waiting.clear();
    this.#ended.resolve();
  }

  async close(): Promise<void> {
    if (this.hasEnded) return;
    this.hold();
    this.request({ kind: "close" }, []).catch(() => {});
    await this.#ended.promise;
  }
}

function isBackground({ kind }: MergeRequest): boolean {
  return kind === "add" || kind === "flush" || kind === "trim";
}

/** The worker's file is next to this one, in the source and in the build. A bundle that inlines this file has none. */
function workerUrl(): URL {
  const here = import.meta.url as string | undefined;
  const extension = here?.endsWith(".ts") ? "ts" : "js";
  const sibling = here && new URL(`./merge-worker.${extension}`, here);
  if (sibling && existsSync(sibling)) return sibling;
  return pathToFileURL(packageFile("dist/src/history/merge-worker.js"));
}
