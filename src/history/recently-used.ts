/** Keeps the values that were used last, as far as their number and their sizes allow. */
export class RecentlyUsed<Value> {
  readonly #valuesMax: number;
  readonly #bytesMax: number;
  readonly #bytesOf: (value: Value) => number;
  /** The least recently used one comes first. */
  readonly #values = new Map<number, Value>();

  /** `bytesOf`: the size of a value, which may grow while it is used. The value that was used last is always kept. */
  constructor(valuesMax: number, bytesMax: number, bytesOf: (value: Value) => number) {
    this.#valuesMax = valuesMax;
    this.#bytesMax = bytesMax;
    this.#bytesOf = bytesOf;
  }

  /** Returns the value of an id, which `make` makes if it is not kept. */
  get(id: number, make: () => Value): Value {
    const value = this.#values.get(id) ?? make();
    this.#values.delete(id);
    this.#values.set(id, value);
    let bytes = 0;
    for (const kept of this.#values.values()) bytes += this.#bytesOf(kept);
    for (const [oldest, kept] of this.#values) {
      if (this.#values.size <= this.#valuesMax && bytes <= this.#bytesMax) break;
      if (oldest === id) break;
      bytes -= this.#bytesOf(kept);
      this.#values.delete(oldest);
    }
    return value;
  }
}
