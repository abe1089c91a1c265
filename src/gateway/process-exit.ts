import { isMainThread, MessageChannel } from "node:worker_threads";

/** Keeps the process alive while work is pending, and writes what is left when it exits, for a gateway in another program. */

/** The signals that end a process by default and can be handled. SIGUSR1 belongs to the debugger. */
const SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2"] as const;

/** Where the widely used packages signal-exit 4 and 3 count their listeners. */
const SIGNAL_EXIT = Symbol.for("signal-exit emitter");
const SIGNAL_EXIT_3 = "__signal_exit_emitter__";

/** Shared by all copies of this module in a process, so that none mistakes another's listener for a signal handler. */
const SHARED = Symbol.for("tailgate process end");

interface ExitHandler {
  readonly isForSignals: boolean;
  /** Called when the event loop is empty. The process exits if it is still empty afterwards. */
  hold(): void;
  endSync(): void;
  /** Sends what is left when a signal ends the process, which waits for it. A second signal does not. */
  drain?(): Promise<void>;
}

type PropertyHolder = Record<PropertyKey, unknown>;

const { port1: handle, port2: otherEnd } = new MessageChannel();
handle.unref();
otherEnd.unref();

let pending = 0;

/** Keeps the process alive until `work` settles. Settles like `work`. */
export async function keepAlive<Result>(work: Promise<Result>): Promise<Result> {
  if (pending++ === 0) handle.ref();
  try {
    return await work;
  } finally {
    if (--pending === 0) handle.unref();
  }
}

/**
 * Calls `endSync` when the process exits: by `process.exit()`, because the event loop is empty, or because of an exception.
 * With `isForSignals`, also on a signal that nothing else handles; the signal then ends the process as usual. Returns a
 * function that undoes this.
 */
export function onProcessExit(handler: ExitHandler): () => void {
  const handlers = sharedHandlers();
  handlers.add(handler);
  return () => handlers.remove(handler);
}

/** The exit handlers of all gateways in the process. Listens only while there are some. */
class ExitHandlers {
  readonly #all = new Set<ExitHandler>();
  readonly #hold = (): void => this.#all.forEach((handler) => handler.hold());
  readonly #end = (): void => this.#all.forEach((handler) => handler.endSync());
  readonly #signalled = (signal: NodeJS.Signals): void => this.#endBy(signal);
  #listensForSignals = false;
  #isDraining = false;

  add(handler: ExitHandler): void {
    if (this.#all.size === 0) {
      // Before other listeners, which may still log.
      process.prependListener("beforeExit", this.#hold);
      process.on("exit", this.#end);
    }
    this.#all.add(handler);
    this.#listenForSignals();
  }

  remove(handler: ExitHandler): void {
    if (!this.#all.delete(handler)) return;
    if (this.#all.size === 0) {
      process.off("beforeExit", this.#hold);
      process.off("exit", this.#end);
    }
    this.#listenForSignals();
  }

  /** Only the main thread receives signals. */
  #listenForSignals(): void {
    const isWanted = isMainThread && [...this.#all].some(({ isForSignals }) => isForSignals);
    if (isWanted === this.#listensForSignals) return;
    this.#listensForSignals = isWanted;
    for (const signal of SIGNALS) {
      // First, so that one-time listeners of others still exist when they are counted.
      if (isWanted) process.prependListener(signal, this.#signalled);
      else process.off(signal, this.#signalled);
    }
  }

  /** A signal ends the process unless another listener handles it, which then decides. */
  #endBy(signal: NodeJS.Signals): void {
    if (process.listenerCount(signal) > 1 + passiveListeners()) return;
    const drains = this.#isDraining ? [] : [...this.#all].flatMap((one) => one.drain?.() ?? []);
    if (drains.length === 0) return this.#kill(signal);
    this.#isDraining = true;
    void keepAlive(Promise.allSettled(drains)).then(() => this.#kill(signal));
  }

  #kill(signal: NodeJS.Signals): void {
    this.#end();
    for (const name of SIGNALS) process.off(name, this.#signalled);
    process.kill(process.pid, signal);
  }
}

/** Counts listeners of signal-exit, which leave a signal to others and end the process only if they are alone. */
function passiveListeners(): number {
  const emitters = [
    (globalThis as PropertyHolder)[SIGNAL_EXIT],
    (process as never as PropertyHolder)[SIGNAL_EXIT_3],
  ] as ({ count?: number } | undefined)[];
  return emitters.reduce((sum, emitter) => sum + Math.max(0, Number(emitter?.count) || 0), 0);
}

function sharedHandlers(): Pick<ExitHandlers, "add" | "remove"> {
  const holder = process as never as PropertyHolder;
  return (holder[SHARED] ??= new ExitHandlers()) as Pick<ExitHandlers, "add" | "remove">;
}
