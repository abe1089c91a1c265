import type { StreamEvent, StreamListener } from "./stream-event.ts";

/** Who hears a stream's events: each one all of them, in the same order, whatever another one does meanwhile. */
export class Listeners {
  readonly #listeners = new Set<{ readonly listener: StreamListener }>();
  readonly #events: StreamEvent[] = [];
  #isTelling = false;

  /** Answers the function that takes the listener off. */
  add(listener: StreamListener): () => void {
    const entry = { listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** An event that comes while another one is told follows it. */
  tell(event: StreamEvent): void {
    this.#events.push(event);
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
        console.error("A listener of a log stream has thrown.", error);
      }
    }
  }
}
