import type { LogStream } from "../../client/index.ts";

/** Counts the records that arrive live, and measures how late the newest of them is. */
export class LiveStats {
  readonly #now: () => number;
  /** By stream: each stream reports all sequences. */
  readonly #received = new Map<object, number>();
  /** The age of the newest live record when it arrived; undefined before the first. Never negative. */
  lagMs: number | undefined;
  /** When the newest live record arrived, in ms since 1970. */
  newestAtMs: number | undefined;

  /** `now`: the gateway's time, in ms since 1970. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Returns how many live records the gateway has received, whether they match the filter or not. */
  readonly received = (): number => Math.max(0, ...this.#received.values());

  /** Observes a stream. What it delivers before it is live is history, and does not count. */
  watch(stream: Pick<LogStream, "listen">): void {
    let isLive = false;
    stream.listen((event) => {
      if (event.type === "status") {
        const { state } = event.status;
        isLive = state === "live" || state === "polling";
      } else if (event.type === "records" && isLive) {
        const received = this.#received.get(stream) ?? 0;
        this.#received.set(stream, received + event.to - event.from + 1);
        const newest = event.entries.at(-1);
        if (!newest) return;
        this.newestAtMs = Date.now();
        this.lagMs = Math.max(0, this.#now() - Date.parse(newest.envelope.data.timestamp));
      }
    });
  }
}
