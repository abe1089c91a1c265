import { setImmediate } from "node:timers/promises";

/** Short beside the 100 ms for which nothing may stall the loop (reliability.md, tests). */
const SLICE_MS = 5;

/** Asking for the time costs as much as looking at some records. */
const STEPS_BETWEEN_LOOKS = 32;

/** Lets the event loop turn within long work: before each step of it, `if (slice.isOver()) await slice.rest()`. */
export class TimeSlice {
  #startedAtMs = performance.now();
  #steps = 0;

  isOver(): boolean {
    return (
      ++this.#steps % STEPS_BETWEEN_LOOKS === 0 && performance.now() - this.#startedAtMs >= SLICE_MS
    );
  }

  async rest(): Promise<void> {
    await setImmediate();
    this.#startedAtMs = performance.now();
  }
}
