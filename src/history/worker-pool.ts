import { Worker } from "node:worker_threads";

export interface WorkerPoolOptions {
  readonly url: URL;
  readonly name: string;
  /** What every worker gets as its `workerData`. */
  readonly workerData: unknown;
  readonly workersMax: number;
}

/** What a worker replies to a task. */
export type TaskReply<Result> =
  | { readonly result: Result }
  /** The task failed, and would again. */
  | { readonly failure: string };

interface QueuedTask {
  readonly task: unknown;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly signal: AbortSignal;
  /** How many workers have died of it. */
  deaths: number;
}

/** The number of workers after whose end a task fails. */
const DEATHS_MAX = 2;

/**
 * Runs tasks in worker threads, which are started when they are needed. Each request has its own queue, and the queues are
 * served in turn. A task whose signal aborts is rejected; its worker finishes it nevertheless, and its result is discarded.
 */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  /** By request, in the order of their turns. */
  readonly #queues = new Map<object, QueuedTask[]>();
  readonly #idle: PoolWorker[] = [];
  readonly #workers = new Set<PoolWorker>();
  #isClosed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** The number of running workers. */
  get workers(): number {
    return this.#workers.size;
  }

  /** Runs a task of a request. Rejects if the signal aborts, if the task fails, and after `close`. */
  run<Result>(task: unknown, request: object, signal: AbortSignal): Promise<Result> {
    if (this.#isClosed) return Promise.reject(closed());
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const queued: QueuedTask = { task, resolve, reject, signal, deaths: 0 };
    const abort = (): void => {
      this.#remove(request, queued);
      reject(reasonOf(signal));
    };
    signal.addEventListener("abort", abort, { once: true });
    this.#queueOf(request).push(queued);
    this.#startNext();
    return promise.finally(() => signal.removeEventListener("abort", abort)) as Promise<Result>;
  }

  /** Ends the workers. Tasks that are not finished are rejected. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const queue of this.#queues.values()) {
      for (const { reject } of queue) reject(closed());
    }
    this.#queues.clear();
    await Promise.all([...this.#workers].map((worker) => worker.end()));
  }

  #queueOf(request: object): QueuedTask[] {
    const queue = this.#queues.get(request) ?? [];
    this.#queues.set(request, queue);
    return queue;
  }

  #remove(request: object, task: QueuedTask): void {
    const queue = this.#queues.get(request);
    const index = queue?.indexOf(task) ?? -1;
    if (index < 0) return;
    queue!.splice(index, 1);
    if (queue!.length === 0) this.#queues.delete(request);
  }

  #startNext(): void {
    for (const [request, queue] of this.#queues) {
      const worker = this.#idle.pop() ?? this.#newWorker();
      if (worker === undefined) return;
      const task = queue.shift()!;
      // Moves the queue to the end of the turns.
      this.#queues.delete(request);
      if (queue.length > 0) this.#queues.set(request, queue);
      worker.start(task, request);
    }
  }

  #newWorker(): PoolWorker | undefined {
    if (this.#workers.size >= this.#options.workersMax) return undefined;
    const worker = new PoolWorker(this.#options, {
      finished: () => {
        if (this.#isClosed) return;
        this.#idle.push(worker);
        this.#startNext();
      },
      ended: (unfinished) => {
        this.#workers.delete(worker);
        if (this.#idle.includes(worker)) this.#idle.splice(this.#idle.indexOf(worker), 1);
        if (unfinished) this.#repeat(unfinished.task, unfinished.request, unfinished.cause);
        if (!this.#isClosed) this.#startNext();
      },
    });
    this.#workers.add(worker);
    return worker;
  }

  /** The task may be what its worker has died of. */
  #repeat(task: QueuedTask, request: object, cause: Error): void {
    task.deaths++;
    if (this.#isClosed) task.reject(closed());
    else if (task.deaths >= DEATHS_MAX) task.reject(cause);
    else if (!task.signal.aborted) this.#queueOf(request).unshift(task);
  }
}

interface Unfinished {
  readonly task: QueuedTask;
  readonly request: object;
  readonly cause: Error;
}

interface WorkerEvents {
  finished(): void;
  /** The worker has ended, perhaps in the middle of a task. */
  ended(unfinished: Unfinished | undefined): void;
}

class PoolWorker {
  readonly #worker: Worker;
  #current: { readonly task: QueuedTask; readonly request: object } | undefined;
  #cause = new Error("a thread that searches the history has ended");

  constructor({ url, name, workerData }: WorkerPoolOptions, events: WorkerEvents) {
    this.#worker = new Worker(url, {
      name,
      workerData,
      // Node 22 prints a warning that node:sqlite is experimental.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    // An idle worker does not keep the process alive.
    this.#worker.unref();
    this.#worker.on("message", (reply: TaskReply<unknown>) => {
      const { task } = this.#current!;
      this.#current = undefined;
      this.#worker.unref();
      if ("failure" in reply) task.reject(new Error(reply.failure));
      else task.resolve(reply.result);
      events.finished();
    });
    this.#worker.on("error", (error) => (this.#cause = error));
    this.#worker.on("exit", () => {
      const current = this.#current;
      events.ended(current && { ...current, cause: this.#cause });
    });
  }

  start(task: QueuedTask, request: object): void {
    this.#current = { task, request };
    this.#worker.ref();
    this.#worker.postMessage(task.task, []);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

function closed(): Error {
  return new Error("the history is closed");
}

function reasonOf(signal: AbortSignal): Error {
  const { reason } = signal;
  return reason instanceof Error ? reason : new Error("the search was cancelled");
}
