/** Reproducible random numbers: xoshiro128**, always from the same seed. */

export class Random {
  #state0 = 0x12345678;
  #state1 = 0x9abcdef0;
  #state2 = 0xdeadbeef;
  #state3 = 0x0badf00d;

  /** Returns the next 32 bits. */
  bits(): number {
    const shifted = this.#state1 << 9;
    let result = Math.imul(this.#state1, 5);
    result = Math.imul((result << 7) | (result >>> 25), 9);
    this.#state2 ^= this.#state0;
    this.#state3 ^= this.#state1;
    this.#state1 ^= this.#state2;
    this.#state0 ^= this.#state3;
    this.#state2 ^= shifted;
    this.#state3 = (this.#state3 << 11) | (this.#state3 >>> 21);
    return result >>> 0;
  }

  /** Returns a number from 0 up to 1. */
  share(): number {
    return this.bits() / 2 ** 32;
  }

  /** Returns an integer from 0 up to `limit`. */
  below(limit: number): number {
    return Math.floor(this.share() * limit);
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  /** Returns an integer from 0 up to `limit`, small ones more often (Zipf's law). */
  zipf(limit: number): number {
    return Math.min(limit - 1, Math.floor(Math.exp(this.share() * Math.log(limit + 1)) - 1));
  }

  hex(length: number): string {
    let text = "";
    while (text.length < length) text += this.bits().toString(16).padStart(8, "0");
    return text.slice(0, length);
  }

  uuid(): string {
    const hex = this.hex(32);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
  }

  /** Returns a duration in milliseconds, from a tenth to some thousand. */
  millis(): number {
    return Math.round(Math.exp(this.share() * 9) * 10) / 10;
  }

  port(): number {
    return 1024 + this.below(60_000);
  }

  address(): string {
    return `10.${this.below(4)}.${this.below(256)}.${1 + this.below(254)}`;
  }
}
