/** Tells that something has changed: once before the next frame is drawn, however often that was said. */
export class FrameNews {
  readonly #schedule: (publish: () => void) => void;
  readonly #listeners = new Set<() => void>();
  #isScheduled = false;
  #version = 0;

  /** `schedule` calls back once, before the next frame is drawn. */
  constructor(schedule: (publish: () => void) => void) {
    this.#schedule = schedule;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Another number after each change that was told. */
  readonly version = (): number => this.#version;

  readonly changed = (): void => {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#schedule(() => {
      this.#isScheduled = false;
      this.#version++;
      for (const listener of this.#listeners) listener();
    });
  };
}
