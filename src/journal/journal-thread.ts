import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import {
  MessageChannel,
  receiveMessageOnPort,
  Worker,
  type MessagePort,
} from "node:worker_threads";
import { packageFile } from "../runtime/package.ts";
import type { Answer, Failure, Numbered, OpenedState, Request, WorkerSetup } from "./messages.ts";
import type { Damage, EpochStart, Retention } from "./journal.ts";

/** Raised for what the thread answers as a failure, and for everything that is under way when it ends. */
export class ThreadFailure extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.text);
    this.failure = failure;
  }
}

const WORKER_NAME = "sqlite-worker";

/** The worker's file stands beside this one, whether that is the source or what was built of it. A bundle has none. */
function workerUrl(): URL {
  const here = import.meta.url as string | undefined;
  const extension = here?.endsWith(".ts") ? "ts" : "js";
  const beside = here && new URL(`./${WORKER_NAME}.${extension}`, here);
  if (beside && existsSync(beside)) return beside;
  return pathToFileURL(packageFile(`dist/src/journal/${WORKER_NAME}.js`));
}

/** Told what the thread says without being asked. */
export interface ThreadEvents {
  /** The journal was found damaged at work, or gone, and replaced by a new one. */
  replaced(epochs: readonly EpochStart[], damage: Damage): void;
  /** Why nothing can be stored, though nobody tries; undefined once it can be. */
  trouble(text: string | undefined): void;
}

/** This thread's end of the journal's worker thread: requests with their answers, in their order. */
export class JournalThread {
  readonly #worker: Worker;
  /** Answers come here: they can be taken without a turn of the event loop. */
  readonly #port: MessagePort;
  readonly #done: Int32Array<SharedArrayBuffer>;
  readonly #oldest: BigInt64Array<SharedArrayBuffer>;
  readonly #events: ThreadEvents;
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  #lastId = 0;
  #cause = new Error("the journal's thread has ended");
  #ended: Error | undefined;

  private constructor(directory: string, retention: Retention, events: ThreadEvents) {
    this.#events = events;
    this.#done = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
    this.#oldest = new BigInt64Array(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT));
    const { port1, port2 } = new MessageChannel();
    const setup: WorkerSetup = {
      answers: port2,
      directory,
      retention,
      done: this.#done,
      oldest: this.#oldest,
    };
    this.#port = port1;
    this.#worker = new Worker(workerUrl(), {
      workerData: setup,
      transferList: [port2],
      name: "tailgate journal",
      // Node 22 announces on stderr that node:sqlite is young.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    this.#port.on("message", ({ id, message }: Numbered<Answer>) => this.#answered(id, message));
    this.#worker.on("error", (error) => (this.#cause = error));
    // Not before: until then it may hold the journal's lock.
    this.#worker.on("exit", () => this.#end());
  }

  /** Resolves with what the journal goes on with. Rejects with ThreadFailure. */
  static async open(
    directory: string,
    retention: Retention,
    events: ThreadEvents,
  ): Promise<{ thread: JournalThread; state: OpenedState; damage: Damage | undefined }> {
    const thread = new JournalThread(directory, retention, events);
    const answer = await thread.#answerTo(0);
    if (answer.kind === "notOpened") throw new ThreadFailure(answer.failure);
    if (answer.kind !== "opened") throw new Error(`unexpected answer ${answer.kind}`);
    return { thread, state: answer.state, damage: answer.damage };
  }

  /** Why it can do no more: it has ended, as it does by itself only after `close` was requested. */
  get end(): Error | undefined {
    return this.#ended;
  }

  /** The number of the last request. */
  get lastId(): number {
    return this.#lastId;
  }

  /** The sequence of the oldest record that is stored; undefined while there is none. */
  get oldestStored(): number | undefined {
    return Number(Atomics.load(this.#oldest, 0)) || undefined;
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

  /**
   * Blocks this thread until everything that was requested has been dealt with, or the time is over. Returns whether
   * all requests from number `firstId` on have succeeded.
   */
  waitForAll(timeoutMs: number, firstId = 1): boolean {
    // Also by the clock of a test that stands still, each wait ends.
    for (let leftMs = timeoutMs; leftMs > 0 && this.#ended === undefined;) {
      const done = Atomics.load(this.#done, 0);
      if (done >= this.#lastId) return Atomics.load(this.#done, 1) < firstId;
      const startMs = performance.now();
      if (Atomics.wait(this.#done, 0, done, leftMs) === "timed-out") break;
      leftMs -= performance.now() - startMs;
    }
    return false;
  }

  /** Returns the answer, for which it blocks this thread; undefined if the time is over. Throws ThreadFailure. */
  requestSync(message: Request, timeoutMs: number): Answer | undefined {
    if (this.#ended) throw this.#failure("refused");
    const numbered: Numbered<Request> = { id: ++this.#lastId, message };
    this.#worker.postMessage(numbered, []);
    this.waitForAll(timeoutMs);
    const answer = this.#takeAnswers(numbered.id);
    if (answer?.kind === "failed") throw new ThreadFailure(answer.failure);
    return answer;
  }

  /** Takes the answers that are there; returns that to request `id`. */
  #takeAnswers(id?: number): Answer | undefined {
    let wanted: Answer | undefined;
    for (let received; (received = receiveMessageOnPort(this.#port)) !== undefined;) {
      const answer = received.message as Numbered<Answer>;
      if (answer.id === id) wanted = answer.message;
      else this.#answered(answer.id, answer.message);
    }
    return wanted;
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
    this.#port.ref();
    return waiting.promise;
  }

  #answered(id: number, message: Answer): void {
    if (message.kind === "replaced") return this.#events.replaced(message.epochs, message.damage);
    if (message.kind === "trouble") return this.#events.trouble(message.text);
    this.#waiting.get(id)?.resolve(message);
    this.#waiting.delete(id);
    if (this.#waiting.size > 0) return;
    this.#worker.unref();
    this.#port.unref();
  }

  #end(): void {
    this.#takeAnswers();
    this.#port.close();
    this.#ended = this.#cause;
    for (const { reject } of this.#waiting.values()) reject(this.#failure("unknown"));
    this.#waiting.clear();
  }

  #failure(kind: Failure["kind"]): ThreadFailure {
    return new ThreadFailure({ kind, text: this.#ended!.message });
  }
}
