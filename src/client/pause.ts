/** A time of waiting, which somebody can end. */
export class Pause {
  #end: () => void = () => {};
  /** In ms of the monotonic clock. */
  #endMs: number | undefined;

  /** How much of it is left; undefined while nobody waits. */
  get leftMs(): number | undefined {
    return this.#endMs === undefined ? undefined : Math.max(0, this.#endMs - performance.now());
  }

  async wait(durationMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, durationMs);
    this.#end = resolve;
    this.#endMs = performance.now() + durationMs;
    await promise;
    clearTimeout(timer);
    this.#endMs = undefined;
  }

  /** Without effect while nobody waits. */
  end(): void {
    this.#end();
  }
}
