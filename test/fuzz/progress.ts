const DONE = 0;
const INDEX = 1;
const LENGTH = 2;
const CELLS = 3;

/** The largest inputs are request bodies at their limit, plus headers. */
const INPUT_BYTES_MAX = 32 << 20;

/** The progress of a thread, in shared memory that another thread can read even if this one hangs. */
export class Progress {
  readonly cells: Int32Array;
  readonly memory: Uint8Array;

  /** Allocates memory unless another thread's is given. */
  constructor(
    cells: Int32Array = new Int32Array(new SharedArrayBuffer(CELLS * Int32Array.BYTES_PER_ELEMENT)),
    memory: Uint8Array = new Uint8Array(new SharedArrayBuffer(INPUT_BYTES_MAX)),
  ) {
    this.cells = cells;
    this.memory = memory;
  }

  /** Records the input that is checked next, the `done`-th. */
  note(done: number, index: number, input: Uint8Array): void {
    const length = Math.min(input.length, this.memory.length);
    this.memory.set(input.subarray(0, length));
    Atomics.store(this.cells, LENGTH, length);
    Atomics.store(this.cells, INDEX, index);
    Atomics.store(this.cells, DONE, done);
  }

  get done(): number {
    return Atomics.load(this.cells, DONE);
  }

  get index(): number {
    return Atomics.load(this.cells, INDEX);
  }

  /** A copy of the current input. */
  get input(): Uint8Array {
    return Uint8Array.from(this.memory.subarray(0, Atomics.load(this.cells, LENGTH)));
  }
}
