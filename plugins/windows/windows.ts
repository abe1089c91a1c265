import { clearTimeout, setTimeout } from "node:timers";

/** How {@link Windows} ends a window: at its time, or early because there are too many. */
export type WindowEnd = "time" | "evicted";

interface Entry<State> {
  readonly state: State;
  readonly timer: NodeJS.Timeout;
}

export interface WindowOptions<State> {
  /** How long each window is open, in milliseconds. */
  readonly lengthMs: number;
  /** The maximum number of open windows; beyond it the oldest one, which would end first, is ended. */
  readonly max: number;
  /** Called once at the end of each window. */
  ended(state: State, end: WindowEnd): void;
}

/** Windows of time by key, each of the same length from the moment it is opened. Their timers do not keep the process alive. */
export class Windows<State> {
  readonly #options: WindowOptions<State>;
  /** In the order of their ends. */
  readonly #open = new Map<string, Entry<State>>();

  constructor(options: WindowOptions<State>) {
    this.#options = options;
  }

  get size(): number {
    return this.#open.size;
  }

  get(key: string): State | undefined {
    return this.#open.get(key)?.state;
  }

  /** Opens the window of a key that has none. */
  open(key: string, state: State): State {
    const { lengthMs, max } = this.#options;
    if (this.#open.size >= max) this.#end(this.#open.keys().next().value!, "evicted");
    const timer = setTimeout(() => this.end(key), lengthMs).unref();
    this.#open.set(key, { state, timer });
    return state;
  }

  /** Ends the window of a key now, if it has one. */
  end(key: string): void {
    this.#end(key, "time");
  }

  #end(key: string, end: WindowEnd): void {
    const entry = this.#open.get(key);
    if (entry === undefined) return;
    clearTimeout(entry.timer);
    this.#open.delete(key);
    this.#options.ended(entry.state, end);
  }

  /** Ends all windows now. */
  endAll(): void {
    for (const key of this.#open.keys()) this.end(key);
  }
}
