import type { StreamEvent, StreamListener } from "./stream-event.ts";

/** A listener that throws at every event is reported no more often than this. */
const REPORT_MS_MIN = 60_000;

interface Entry {
  readonly listener: StreamListener;
  /** How often it has thrown since it was reported last, and when that was. */
  failures: number;
  reportedAtMs: number;
}

/** Who hears a stream's events: each one all of them, in the same order, whatever another one does meanwhile. */
export class Listeners {
  readonly #listeners = new Set<Entry>();
  readonly #events: StreamEvent[] = [];
  #isTelling = false;
  #isOver = false;

  /** Answers the function that takes the listener off. */
  add(listener: StreamListener): () => void {
    const entry = { listener, failures: 0, reportedAtMs: -Infinity };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** Events that come while others are told follow them. Behind the status `closed` there are none. */
  tell(events: readonly StreamEvent[]): void {
    for (const event of events) {
      if (this.#isOver) return;
      this.#events.push(event);
      this.#isOver = event.type === "status" && event.status.state === "closed";
    }
    if (this.#isTelling) return;
    this.#isTelling = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) this.#tellAll(next);
    this.#isTelling = false;
  }

  #tellAll(event: StreamEvent): void {
    for (const entry of Array.from(this.#listeners)) {
      if (!this.#listeners.has(entry)) continue;
      try {
        entry.listener(event);
      } catch (error) {
        this.#report(entry, error);
      }
    }
  }

  #report(entry: Entry, error: unknown): void {
    entry.failures++;
    const nowMs = performance.now();
    if (nowMs - entry.reportedAtMs < REPORT_MS_MIN) return;
    const times = entry.failures === 1 ? "" : `, ${entry.failures} times since the last report`;
    entry.failures = 0;
    entry.reportedAtMs = nowMs;
    console.error(`A listener of a log stream has thrown${times}.`, error);
  }
}
