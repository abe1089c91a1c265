/** How long a change that is under way may take when the process ends. */
const PATIENCE_MS = 2_000;

/**
 * Blocks until `isDone`, for what a thread of Node's pool does while the event loop has no further turn. Throws where it
 * takes too long.
 */
export function waitSync(isDone: () => boolean): void {
  const nothing = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  for (let waitedMs = 0; !isDone(); waitedMs++) {
    if (waitedMs >= PATIENCE_MS) throw new Error("a write that was under way did not end");
    Atomics.wait(nothing, 0, 0, 1);
  }
}
