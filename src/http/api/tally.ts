/** Counts names. */
export class Tally {
  readonly #counts: Map<string, number>;

  /** `known` names are there, and come first, even where they are never counted. */
  constructor(known: readonly string[] = []) {
    this.#counts = new Map(known.map((name) => [name, 0]));
  }

  count(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** The same, but of names that are new only as long as there are not so many yet. Returns true for a new one. */
  countUpTo(namesMax: number, name: string): boolean {
    const isKnown = this.#counts.has(name);
    if (!isKnown && this.#counts.size >= namesMax) return false;
    this.count(name);
    return !isKnown;
  }

  all(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }

  /** The names that were counted most often, the first one first. */
  most(namesMax: number): { name: string; count: number }[] {
    return [...this.#counts]
      .map(([name, count]) => ({ name, count }))
      .toSorted((one, other) => other.count - one.count)
      .slice(0, namesMax);
  }
}
