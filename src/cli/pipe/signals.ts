/** npx passes on a signal that its whole process group has got: this process gets it twice. */
const REPEAT_MS = 500;

/**
 * The signals of a pipeline. A first SIGINT reaches all of its programs, so the input ends by itself, after its last lines;
 * so does SIGHUP, when the terminal is closed. SIGTERM and a second signal stop reading. A further one ends the rest.
 */
export class PipelineSignals {
  /** The first signal. */
  first: NodeJS.Signals | undefined;
  #last: NodeJS.Signals | undefined;
  #lastMs = -Infinity;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #any = Promise.withResolvers<void>();
  readonly #abort = new AbortController();
  #isReading = true;

  constructor() {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => this.#receive(signal));
    }
  }

  #receive(signal: NodeJS.Signals): void {
    const nowMs = performance.now();
    const isRepeated = signal === this.#last && nowMs - this.#lastMs < REPEAT_MS;
    this.#last = signal;
    this.#lastMs = nowMs;
    if (isRepeated) return;
    const isFirst = this.first === undefined;
    this.first ??= signal;
    this.#any.resolve();
    if (isFirst && signal !== "SIGTERM") return;
    if (this.#isReading) this.stopReading();
    else if (!isFirst) this.#abort.abort();
  }

  /** Resolves at the first signal. */
  get received(): Promise<void> {
    return this.#any.promise;
  }

  /** Resolves when no more input should be read. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** Aborts when not even the rest should be delivered. */
  get aborted(): AbortSignal {
    return this.#abort.signal;
  }

  /** To be called when the input has ended too. */
  stopReading(): void {
    this.#isReading = false;
    this.#stopped.resolve();
  }

  /** Ends this process with the first signal, as if it had not been handled. Does nothing if there was none. */
  endProcess(): void {
    const { first } = this;
    if (first === undefined) return;
    process.stderr.write("", () => {
      process.removeAllListeners(first);
      process.kill(process.pid, first);
    });
  }
}
