/** The main thread's side of the journal's worker thread (worker.ts), and the messages between the two. */

import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import {
  MessageChannel,
  receiveMessageOnPort,
  Worker,
  type MessagePort,
} from "node:worker_threads";
import { packageFile } from "../runtime/package.ts";
import type { Commit, OpenedState } from "./database.ts";
import type { Damage, EpochStart, Retention } from "./journal.ts";
import type { BlockRange } from "../history/block-range.ts";
import type { EnvelopeType } from "../plugin/index.ts";
import type { Floors, PageQuery, StoredPage } from "./page-reader.ts";
import type { ClockReading } from "./clock-reading.ts";

export type WorkerRequest =
  | { readonly kind: "commit"; readonly commit: Commit }
  | { readonly kind: "read"; readonly query: PageQuery }
  /** Reads a page of records from `from` on to be merged. */
  | { readonly kind: "fresh"; readonly from: number }
  /** The records up to `merged` are in the history, of which everything below the floors has expired. */
  | { readonly kind: "merged"; readonly merged: number; readonly floors: Floors }
  /** The history has lost the records from `from` on. */
  | { readonly kind: "lost"; readonly from: number }
  /** The time by which records expire until the next reading. */
  | { readonly kind: "clock"; readonly clock: ClockReading }
  | { readonly kind: "retention"; readonly retention: Retention }
  /** The process is ending without `close`, perhaps after further commits. `newest`: the last sequence handed out. */
  | { readonly kind: "markClean"; readonly newest: number }
  /** `newest`: the last sequence handed out. */
  | { readonly kind: "close"; readonly newest: number };

export type WorkerReply =
  | { readonly kind: "opened"; readonly state: OpenedState; readonly damage: Damage | undefined }
  | { readonly kind: "notOpened"; readonly failure: WorkerFailure }
  /** Unsolicited: the journal was found damaged or missing while running, and a new one has taken its place. */
  | { readonly kind: "replaced"; readonly epochs: readonly EpochStart[]; readonly damage: Damage }
  /** Unsolicited: why nothing can be stored; undefined once it can be. */
  | { readonly kind: "unavailable"; readonly text: string | undefined }
  | { readonly kind: "done" }
  /** Returns the memory that came with the commit. */
  | { readonly kind: "committed"; readonly memory: readonly ArrayBuffer[] }
  | { readonly kind: "page"; readonly page: StoredPage }
  /** The records were deleted; what is not merged has that size. */
  | { readonly kind: "merged"; readonly freshBytes: Readonly<Record<EnvelopeType, number>> }
  /** The range that is a gap now. */
  | { readonly kind: "lost"; readonly range: BlockRange | undefined }
  | { readonly kind: "failed"; readonly failure: WorkerFailure };

/** Why a request failed, in a form that can be sent between threads. */
export interface WorkerFailure {
  /** `full`: no space, nothing was stored; `rejected`: nothing was stored; `unknown`: it may have been stored. */
  readonly kind: "full" | "rejected" | "unknown" | "locked" | "unusable";
  readonly text: string;
}

/** A reply has the id of its request; an unsolicited message has the id 0. */
export interface Identified<Message> {
  readonly id: number;
  readonly message: Message;
}

/** What the worker is started with. */
export interface WorkerSetup {
  readonly replies: MessagePort;
  readonly directory: string;
  readonly retention: Retention;
  /** For a thread that cannot wait for messages: the ids of the last completed request and of the last failed one. */
  readonly completed: Int32Array<SharedArrayBuffer>;
  /** The sequence of the oldest stored record; 0 if there is none. */
  readonly oldest: BigInt64Array<SharedArrayBuffer>;
}

/** Thrown for a failure that the worker reports, and for every request that is under way when the worker ends. */
export class WorkerError extends Error {
  readonly failure: WorkerFailure;

  constructor(failure: WorkerFailure) {
    super(failure.text);
    this.failure = failure;
  }
}

/** Called for unsolicited messages of the worker. */
export interface WorkerEvents {
  /** The journal was found damaged or missing while running, and replaced by a new one. */
  replaced(epochs: readonly EpochStart[], damage: Damage): void;
  /** Why nothing can be stored; undefined once it can be. */
  unavailable(text: string | undefined): void;
}

interface SentRequest extends PromiseWithResolvers<WorkerReply> {
  readonly sentAtMs: number;
}

/** Sends requests to the worker and receives its replies, in order. */
export class WorkerThread {
  readonly #worker: Worker;
  /** Receives the replies: they can also be taken without a turn of the event loop. */
  readonly #port: MessagePort;
  readonly #completed: Int32Array<SharedArrayBuffer>;
  readonly #oldest: BigInt64Array<SharedArrayBuffer>;
  readonly #events: WorkerEvents;
  /** In the order of their ids. */
  readonly #waiting = new Map<number, SentRequest>();
  /** The id of the last request. */
  lastId = 0;
  /** Why the worker has ended; undefined while it runs. It ends by itself only after `close` was requested. */
  endCause: Error | undefined;
  #cause = new Error("the journal's thread has ended");

  private constructor(directory: string, retention: Retention, events: WorkerEvents) {
    this.#events = events;
    this.#completed = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
    this.#oldest = new BigInt64Array(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT));
    const { port1, port2: replies } = new MessageChannel();
    const [completed, oldest] = [this.#completed, this.#oldest];
    const setup: WorkerSetup = { replies, directory, retention, completed, oldest };
    this.#port = port1;
    this.#worker = new Worker(workerUrl(), {
      workerData: setup,
      transferList: [replies],
      name: "tailgate journal",
      // Node 22 prints a warning that node:sqlite is experimental.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    this.#port.on("message", ({ id, message }: Identified<WorkerReply>) => {
      this.#handle(id, message);
    });
    this.#worker.on("error", (error) => (this.#cause = error));
    // Not on `error`: until it exits, it may hold the journal's lock.
    this.#worker.on("exit", () => this.#end());
  }

  /** Starts the worker. Resolves with the state of the journal; rejects with WorkerError. */
  static async open(
    directory: string,
    retention: Retention,
    events: WorkerEvents,
  ): Promise<{ thread: WorkerThread; state: OpenedState; damage: Damage | undefined }> {
    const thread = new WorkerThread(directory, retention, events);
    const reply = await thread.#replyTo(0);
    if (reply.kind === "notOpened") throw new WorkerError(reply.failure);
    if (reply.kind !== "opened") throw new Error(`unexpected reply ${reply.kind}`);
    return { thread, state: reply.state, damage: reply.damage };
  }

  /** The sequence of the oldest stored record; undefined if there is none. */
  get oldestStored(): number | undefined {
    return Number(Atomics.load(this.#oldest, 0)) || undefined;
  }

  /**
   * The age of the oldest request that the worker has not completed, in milliseconds; 0 if there is none. Does not depend
   * on the event loop, which may have replies to handle.
   */
  get oldestRequestMs(): number {
    const completed = Atomics.load(this.#completed, 0);
    const oldest = [...this.#waiting].find(([id]) => id > completed);
    return oldest === undefined ? 0 : performance.now() - oldest[1].sentAtMs;
  }

  /** Rejects with WorkerError. `memory` is transferred: it cannot be used here any more. */
  async request(message: WorkerRequest, memory: readonly ArrayBuffer[] = []): Promise<WorkerReply> {
    if (this.endCause) throw this.#error("rejected");
    const id = ++this.lastId;
    const identified: Identified<WorkerRequest> = { id, message };
    this.#worker.postMessage(identified, memory);
    const reply = await this.#replyTo(id);
    if (reply.kind === "failed") throw new WorkerError(reply.failure);
    return reply;
  }

  /**
   * Blocks this thread until every request is completed or the timeout expires. Returns whether all requests from
   * `firstId` on have succeeded.
   */
  waitForAll(timeoutMs: number, firstId = 1): boolean {
    // Each wait ends, even by the clock of a test that stands still.
    for (let leftMs = timeoutMs; leftMs > 0 && this.endCause === undefined;) {
      const completed = Atomics.load(this.#completed, 0);
      if (completed >= this.lastId) return Atomics.load(this.#completed, 1) < firstId;
      const startMs = performance.now();
      if (Atomics.wait(this.#completed, 0, completed, leftMs) === "timed-out") break;
      leftMs -= performance.now() - startMs;
    }
    return false;
  }

  /** Blocks this thread until the reply is there; returns undefined if the timeout expires. Throws WorkerError. */
  requestSync(message: WorkerRequest, timeoutMs: number): WorkerReply | undefined {
    if (this.endCause) throw this.#error("rejected");
    const identified: Identified<WorkerRequest> = { id: ++this.lastId, message };
    this.#worker.postMessage(identified, []);
    this.waitForAll(timeoutMs);
    const reply = this.#receive(identified.id);
    if (reply?.kind === "failed") throw new WorkerError(reply.failure);
    return reply;
  }

  /** Handles the replies that have arrived; returns the one to request `id`. */
  #receive(id?: number): WorkerReply | undefined {
    let wanted: WorkerReply | undefined;
    for (let received; (received = receiveMessageOnPort(this.#port)) !== undefined;) {
      const reply = received.message as Identified<WorkerReply>;
      if (reply.id === id) wanted = reply.message;
      else this.#handle(reply.id, reply.message);
    }
    return wanted;
  }

  /** Resolves when the worker has exited by itself, after `close` was requested. */
  async ended(): Promise<void> {
    if (this.endCause) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#worker.ref();
    this.#worker.once("exit", () => resolve());
    await promise;
  }

  /** While no request is under way, the worker does not keep the process alive, even if the journal was not closed. */
  #replyTo(id: number): Promise<WorkerReply> {
    const waiting = { ...Promise.withResolvers<WorkerReply>(), sentAtMs: performance.now() };
    this.#waiting.set(id, waiting);
    this.#worker.ref();
    this.#port.ref();
    return waiting.promise;
  }

  #handle(id: number, reply: WorkerReply): void {
    if (reply.kind === "replaced") return this.#events.replaced(reply.epochs, reply.damage);
    if (reply.kind === "unavailable") return this.#events.unavailable(reply.text);
    this.#waiting.get(id)?.resolve(reply);
    this.#waiting.delete(id);
    if (this.#waiting.size > 0) return;
    this.#worker.unref();
    this.#port.unref();
  }

  #end(): void {
    this.#receive();
    this.#port.close();
    this.endCause = this.#cause;
    for (const { reject } of this.#waiting.values()) reject(this.#error("unknown"));
    this.#waiting.clear();
  }

  #error(kind: WorkerFailure["kind"]): WorkerError {
    return new WorkerError({ kind, text: this.endCause!.message });
  }
}

/** The worker's file is next to this one, in the source and in the build. A bundle that inlines this file has none. */
function workerUrl(): URL {
  const here = import.meta.url as string | undefined;
  const extension = here?.endsWith(".ts") ? "ts" : "js";
  const sibling = here && new URL(`./worker.${extension}`, here);
  if (sibling && existsSync(sibling)) return sibling;
  return pathToFileURL(packageFile("dist/src/journal/worker.js"));
}

/** The allocator has smaller pieces at hand. */
const POOLED_BYTES_MIN = 64 << 10;
/** Larger pieces are rare, and would lie idle. */
const POOLED_BYTES_MAX = 4 << 20;

/** A commit has two blocks at most, and usually one commit is under way. */
const POOL_SIZE = 3;

/**
 * Memory that goes to the worker with a commit and comes back with the reply. Allocated for each commit, it would keep
 * the garbage collectors of both threads busy, which count what is freed and not what is in use.
 */
export class BufferPool {
  #pieces: ArrayBuffer[] = [];

  /** Returns memory of that size, perhaps the first part of a larger piece. Its content is undefined. */
  allocate(bytes: number): Buffer<ArrayBuffer> {
    const index = this.#pieces.findIndex((piece) => piece.byteLength >= bytes);
    if (index >= 0) return Buffer.from(this.#pieces.splice(index, 1)[0]!, 0, bytes);
    if (bytes < POOLED_BYTES_MIN) return Buffer.allocUnsafeSlow(bytes);
    // The next commit may be somewhat larger.
    const size = POOLED_BYTES_MIN * Math.ceil((1.25 * bytes) / POOLED_BYTES_MIN);
    return Buffer.from(Buffer.allocUnsafeSlow(size).buffer, 0, bytes);
  }

  /** Takes back memory that is no longer used. The newest pieces are retained: their size is what is needed now. */
  release(pieces: readonly ArrayBuffer[]): void {
    const pooled = pieces.filter(
      ({ byteLength }) => byteLength >= POOLED_BYTES_MIN && byteLength <= POOLED_BYTES_MAX,
    );
    this.#pieces = [...this.#pieces, ...pooled].slice(-POOL_SIZE);
  }
}
