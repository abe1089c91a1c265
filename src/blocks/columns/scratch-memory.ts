const SLAB_BYTES = 4 << 20;
const ALIGNMENT = 8;

/**
 * Memory for what is needed until a block is encoded, and then for the next one: some twenty megabytes that the garbage
 * collector would otherwise have to find for each. What is taken is not zeroed.
 */
export class ScratchMemory {
  #slabs: ArrayBuffer[] = [];
  #slab = 0;
  #used = 0;

  /** Makes all of it available again; nothing that was taken may be used any more. */
  reset(): void {
    this.#slab = 0;
    this.#used = 0;
  }

  /** Does the same, and frees it. */
  free(): void {
    this.reset();
    this.#slabs = [];
  }

  bytes(length: number): Buffer<ArrayBuffer> {
    const { slab, start } = this.#take(length);
    return Buffer.from(slab, start, length);
  }

  view(length: number): DataView<ArrayBuffer> {
    const { slab, start } = this.#take(length);
    return new DataView(slab, start, length);
  }

  uint16(length: number): Uint16Array<ArrayBuffer> {
    const { slab, start } = this.#take(Uint16Array.BYTES_PER_ELEMENT * length);
    return new Uint16Array(slab, start, length);
  }

  uint32(length: number): Uint32Array<ArrayBuffer> {
    const { slab, start } = this.#take(Uint32Array.BYTES_PER_ELEMENT * length);
    return new Uint32Array(slab, start, length);
  }

  int32(length: number): Int32Array<ArrayBuffer> {
    const { slab, start } = this.#take(Int32Array.BYTES_PER_ELEMENT * length);
    return new Int32Array(slab, start, length);
  }

  float64(length: number): Float64Array<ArrayBuffer> {
    const { slab, start } = this.#take(Float64Array.BYTES_PER_ELEMENT * length);
    return new Float64Array(slab, start, length);
  }

  #take(bytes: number): { readonly slab: ArrayBuffer; readonly start: number } {
    while (this.#used + bytes > (this.#slabs[this.#slab]?.byteLength ?? Infinity)) {
      this.#slab++;
      this.#used = 0;
    }
    const slab = (this.#slabs[this.#slab] ??= new ArrayBuffer(Math.max(SLAB_BYTES, bytes)));
    const start = this.#used;
    this.#used = start + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    return { slab, start };
  }
}
