import { nextTurn } from "../../runtime/timers.ts";

/** Short in comparison with the 100 ms for which nothing may block the event loop (reliability.md, tests). */
const SLICE_MS = 5;

/** Reading the clock costs as much as looking at some records: it is read after this much work, in microseconds. */
const EFFORT_BETWEEN_CHECKS = 150;

/** All long-running work shares one slice per turn of the event loop. */
let lastTurn: Promise<void> = Promise.resolve();

/** Yields to the event loop during long work: before each step, `if (slice.isOver(effort)) await slice.yield()`. */
export class TimeSlice {
  #startedAtMs = performance.now();
  #effort = 0;

  /** `effort`: the estimated time of the next step, in microseconds. */
  isOver(effort: number): boolean {
    this.#effort += effort;
    if (this.#effort < EFFORT_BETWEEN_CHECKS) return false;
    this.#effort = 0;
    return performance.now() - this.#startedAtMs >= SLICE_MS;
  }

  async yield(): Promise<void> {
    lastTurn = lastTurn.then(() => nextTurn());
    await lastTurn;
    this.#startedAtMs = performance.now();
  }
}
