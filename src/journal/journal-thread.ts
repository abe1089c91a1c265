import { Worker } from "node:worker_threads";
import type {
  Answer,
  Damage,
  EpochStart,
  Failure,
  Numbered,
  OpenedState,
  Request,
  Retention,
  WorkerSetup,
} from "./messages.ts";

/** Raised for what the thread answers as a failure, and for everything that is under way when it ends. */
export class ThreadFailure extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.text);
    this.failure = failure;
  }
}

/** The worker's file stands beside this one, whether that is the source or what was built of it. */
const WORKER_FILE = `./sqlite-worker.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`;

/** Told that the journal was found damaged at work and replaced by a new one. */
export type Replaced = (epochs: readonly EpochStart[], damage: Damage) => void;

/** This thread's end of the journal's worker thread: requests with their answers, in their order. */
export class JournalThread {
  readonly #worker: Worker;
  readonly #done: Int32Array<SharedArrayBuffer>;
  readonly #replaced: Replaced;
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  #lastId = 0;
  #cause = new Error("the journal's thread has ended");
  #ended: Error | undefined;

  private constructor(directory: string, retention: Retention, replaced: Replaced) {
    this.#replaced = replaced;
    this.#done = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const setup: WorkerSetup = { directory, retention, done: this.#done };
    this.#worker = new Worker(new URL(WORKER_FILE, import.meta.url), {
      workerData: setup,
      name: "tailgate journal",
      // Node 22 announces on stderr that node:sqlite is young.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    this.#worker.on("message", ({ id, message }: Numbered<Answer>) => this.#answered(id, message));
    this.#worker.on("error", (error) => (this.#cause = error));
    // Not before: until then it may hold the journal's lock.
    this.#worker.on("exit", () => this.#end());
  }

  /** Resolves with what the journal goes on with. Rejects with ThreadFailure. */
  static async open(
    directory: string,
    retention: Retention,
    replaced: Replaced,
  ): Promise<{ thread: JournalThread; state: OpenedState; damage: Damage | undefined }> {
    const thread = new JournalThread(directory, retention, replaced);
    const answer = await thread.#answerTo(0);
    if (answer.kind === "notOpened") throw new ThreadFailure(answer.failure);
    if (answer.kind !== "opened") throw new Error(`unexpected answer ${answer.kind}`);
    return { thread, state: answer.state, damage: answer.damage };
  }

  /** Why it can do no more: it has ended, as it does by itself only after `close` was requested. */
  get end(): Error | undefined {
    return this.#ended;
  }

  /** Rejects with ThreadFailure. `memory` is handed over: it cannot be used here any more. */
  async request(message: Request, memory: readonly ArrayBuffer[] = []): Promise<Answer> {
    if (this.#ended) throw this.#failure("refused");
    const id = ++this.#lastId;
    const numbered: Numbered<Request> = { id, message };
    this.#worker.postMessage(numbered, memory);
    const answer = await this.#answerTo(id);
    if (answer.kind === "failed") throw new ThreadFailure(answer.failure);
    return answer;
  }

  /** Blocks this thread until everything that was requested has been dealt with, or the time is over. */
  waitForAll(timeoutMs: number): void {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const done = Atomics.load(this.#done, 0);
      const left = deadline - performance.now();
      if (done >= this.#lastId || left <= 0) return;
      Atomics.wait(this.#done, 0, done, left);
    }
  }

  /** Resolves when the thread has ended by itself, which it does after `close` was requested. */
  async ended(): Promise<void> {
    if (this.#ended) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#worker.ref();
    this.#worker.once("exit", () => resolve());
    await promise;
  }

  /** The process may end although nobody has closed the journal, as long as nothing is under way. */
  #answerTo(id: number): Promise<Answer> {
    const waiting = Promise.withResolvers<Answer>();
    this.#waiting.set(id, waiting);
    this.#worker.ref();
    return waiting.promise;
  }

  #answered(id: number, message: Answer): void {
    if (message.kind === "replaced") return this.#replaced(message.epochs, message.damage);
    this.#waiting.get(id)?.resolve(message);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.unref();
  }

  #end(): void {
    this.#ended = this.#cause;
    for (const { reject } of this.#waiting.values()) reject(this.#failure("unknown"));
    this.#waiting.clear();
  }

  #failure(kind: Failure["kind"]): ThreadFailure {
    return new ThreadFailure({ kind, text: this.#ended!.message });
  }
}
