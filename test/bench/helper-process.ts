import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";

/**
 * A process for clients besides the measured one: their work must not count as the server's. It runs one file, which
 * calls {@link answerQuestions}.
 */
export class HelperProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", ({ id, answer, error }: Reply) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(error));
    });
    child.once("exit", (code) => {
      const error = new Error(`The process of the clients ended with ${code}.`);
      for (const waiting of this.#waiting.values()) waiting.reject(error);
    });
  }

  static async start(file: URL): Promise<HelperProcess> {
    const child = fork(file, { execArgv: [] });
    await once(child, "spawn");
    return new HelperProcess(child);
  }

  /** @throws Error with the message of the error there. */
  ask(question: object): Promise<unknown> {
    const waiting = Promise.withResolvers<unknown>();
    const id = ++this.#asked;
    this.#waiting.set(id, waiting);
    this.#child.send({ id, question });
    return waiting.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.disconnect();
    await once(this.#child, "exit");
  }
}

/** The other side of {@link HelperProcess.ask}. The process ends when the parent disconnects. */
export function answerQuestions(answer: (question: never) => Promise<unknown>): void {
  process.on("message", ({ id, question }: { id: number; question: never }) => {
    answer(question).then(
      (value) => process.send!({ id, answer: value }),
      (error: unknown) => process.send!({ id, error: String(error) }),
    );
  });
  process.once("disconnect", () => process.exit());
}

interface Reply {
  readonly id: number;
  readonly answer?: unknown;
  readonly error?: string;
}
