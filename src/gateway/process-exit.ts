import { isMainThread, MessageChannel } from "node:worker_threads";

/** What keeps the process alive, and what is done when it ends: a gateway in somebody else's process has no say in either. */

/** Those that end a process by default and leave it time. SIGUSR1 is the debugger's. */
const SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2"] as const;

/** Where signal-exit 4 and 3, which many packages use, count their listeners. */
const SIGNAL_EXIT = Symbol.for("signal-exit emitter");
const SIGNAL_EXIT_3 = "__signal_exit_emitter__";

/** All copies of this module in a process share it, so that none takes another's listeners for somebody who handles a signal. */
const SHARED = Symbol.for("tailgate process end");

interface Ending {
  readonly isForSignals: boolean;
  /** Called when nothing is left to do: if there is still nothing after it, the process ends. */
  hold(): void;
  /** Writes what is left before it returns. */
  endSync(): void;
  /** Sends what is left when a signal ends the process, which waits for it. A second signal does not. */
  drain?(): Promise<void>;
}

type Holder = Record<PropertyKey, unknown>;

const { port1: handle, port2: otherEnd } = new MessageChannel();
handle.unref();
otherEnd.unref();

let held = 0;

/** Settles as `work` does, and keeps the process alive until then. */
export async function keepAlive<Result>(work: Promise<Result>): Promise<Result> {
  if (held++ === 0) handle.ref();
  try {
    return await work;
  } finally {
    if (--held === 0) handle.unref();
  }
}

/**
 * Calls `endSync` when the process ends: by `process.exit()`, because nothing is left to do, or because of an exception.
 * With `isForSignals` also for a signal that nobody else handles; the process ends by the signal all the same. Returns
 * what undoes it.
 */
export function onProcessExit(ending: Ending): () => void {
  const endings = sharedEndings();
  endings.add(ending);
  return () => endings.remove(ending);
}

/** The endings of all gateways of the process; it has listeners while there are some. */
class Endings {
  readonly #all = new Set<Ending>();
  readonly #hold = (): void => this.#holdAll();
  readonly #end = (): void => this.#endAll();
  readonly #signalled = (signal: NodeJS.Signals): void => this.#endBy(signal);
  #listensForSignals = false;
  #isDraining = false;

  add(ending: Ending): void {
    if (this.#all.size === 0) {
      // Before others, who may log then.
      process.prependListener("beforeExit", this.#hold);
      process.on("exit", this.#end);
    }
    this.#all.add(ending);
    this.#listenForSignals();
  }

  remove(ending: Ending): void {
    if (!this.#all.delete(ending)) return;
    if (this.#all.size === 0) {
      process.off("beforeExit", this.#hold);
      process.off("exit", this.#end);
    }
    this.#listenForSignals();
  }

  /** Only the main thread gets signals. */
  #listenForSignals(): void {
    const isWanted = isMainThread && [...this.#all].some(({ isForSignals }) => isForSignals);
    if (isWanted === this.#listensForSignals) return;
    this.#listensForSignals = isWanted;
    for (const signal of SIGNALS) {
      // First, so that a listener that others have for one time is still there to be counted.
      if (isWanted) process.prependListener(signal, this.#signalled);
      else process.off(signal, this.#signalled);
    }
  }

  #holdAll(): void {
    for (const ending of this.#all) ending.hold();
  }

  #endAll(): void {
    for (const ending of this.#all) ending.endSync();
  }

  /** Whoever listens for a signal decides what becomes of the process. If nobody else does, the signal ends it. */
  #endBy(signal: NodeJS.Signals): void {
    if (process.listenerCount(signal) > 1 + waitingListeners()) return;
    const drains = this.#isDraining ? [] : [...this.#all].flatMap((one) => one.drain?.() ?? []);
    if (drains.length === 0) return this.#kill(signal);
    this.#isDraining = true;
    void keepAlive(Promise.allSettled(drains)).then(() => this.#kill(signal));
  }

  #kill(signal: NodeJS.Signals): void {
    this.#endAll();
    for (const name of SIGNALS) process.off(name, this.#signalled);
    process.kill(process.pid, signal);
  }
}

/** Listeners that leave the signal to others, too, and end the process by it once they are alone. */
function waitingListeners(): number {
  const emitters = [
    (globalThis as Holder)[SIGNAL_EXIT],
    (process as never as Holder)[SIGNAL_EXIT_3],
  ];
  const counts = emitters.map((emitter) =>
    Number((emitter as { count?: number } | undefined)?.count),
  );
  return counts.reduce((sum, count) => sum + (count > 0 ? count : 0), 0);
}

function sharedEndings(): Pick<Endings, "add" | "remove"> {
  const holder = process as never as Holder;
  return (holder[SHARED] ??= new Endings()) as Pick<Endings, "add" | "remove">;
}
