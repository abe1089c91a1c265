import type { LogStream } from "../../client/index.ts";

/** How many records come live, and how late the newest of them came. */
export class Pace {
  #lagMs: number | undefined;
  #newestAtMs: number | undefined;
  readonly #now: () => number;
  /** By stream: each tells of all sequences. */
  readonly #told = new Map<object, number>();

  /** `now`: the gateway's time, in ms since 1970. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many live records the gateway has had, whether they match or not. What is of the past does not count. */
  readonly live = (): number => Math.max(0, ...this.#told.values());

  /** Undefined before the first live record. Clocks that differ make it no less than nothing. */
  get lagMs(): number | undefined {
    return this.#lagMs;
  }

  /** When the newest live record came, in ms since 1970. */
  get newestAtMs(): number | undefined {
    return this.#newestAtMs;
  }

  /** Looks at what a stream brings once it is live: what comes before is of the past. */
  watch(stream: Pick<LogStream, "listen">): void {
    let isLive = false;
    stream.listen((event) => {
      if (event.type === "status") {
        const { state } = event.status;
        isLive = state === "live" || state === "polling";
      } else if (event.type === "records" && isLive) {
        this.#told.set(stream, (this.#told.get(stream) ?? 0) + event.to - event.from + 1);
        const newest = event.entries.at(-1);
        if (newest) this.#came(Date.parse(newest.envelope.data.timestamp));
      }
    });
  }

  #came(loggedAtMs: number): void {
    this.#newestAtMs = Date.now();
    this.#lagMs = Math.max(0, this.#now() - loggedAtMs);
  }
}
