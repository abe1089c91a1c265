import { nextTurn } from "../../runtime/timers.ts";

/** Short beside the 100 ms for which nothing may stall the loop (reliability.md, tests). */
const SLICE_MS = 5;

/** Asking for the time costs as much as looking at some records: it is asked for after so many microseconds of work. */
const EFFORT_BETWEEN_LOOKS = 150;

/** All long work together gets one slice in each turn of the event loop. */
let lastTurn: Promise<void> = Promise.resolve();

/** Lets the event loop turn within long work: before each step of it, `if (slice.isOver(effort)) await slice.rest()`. */
export class TimeSlice {
  #startedAtMs = performance.now();
  #effort = 0;

  /** `effort`: about how many microseconds the next step takes. */
  isOver(effort: number): boolean {
    this.#effort += effort;
    if (this.#effort < EFFORT_BETWEEN_LOOKS) return false;
    this.#effort = 0;
    return performance.now() - this.#startedAtMs >= SLICE_MS;
  }

  async rest(): Promise<void> {
    lastTurn = lastTurn.then(() => nextTurn());
    await lastTurn;
    this.#startedAtMs = performance.now();
  }
}
