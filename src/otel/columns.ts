/** Attributes as two columns: names, each once, and their values at the same places. */
export interface Columns {
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
}

/** A record with more attributes leaves nothing behind. */
const NAMES_MAX = 64;

/**
 * The names that the attributes of the record before have. Most records have the same ones, and then share them: who
 * is given the same column again need not look at its names again.
 */
export class NameColumn {
  #names: readonly string[] = [];

  /** These names, or the same ones as they were given before. */
  shared(names: readonly string[]): readonly string[] {
    if (this.has(names)) return this.#names;
    if (names.length <= NAMES_MAX) this.#names = names;
    return names;
  }

  /** Whether these names were the last ones. */
  has(names: readonly string[]): boolean {
    const known = this.#names;
    if (names.length !== known.length) return false;
    for (let index = 0; index < names.length; index++) {
      if (names[index] !== known[index]) return false;
    }
    return true;
  }
}

/** Attributes, and of some others those whose names are not among them. */
export function withAdded(given: Columns, others: Columns): Columns {
  const { keys, values } = others;
  if (keys.length === 0) return given;
  const added = keys.map((_, index) => index).filter((index) => !given.keys.includes(keys[index]!));
  return {
    keys: [...given.keys, ...added.map((index) => keys[index]!)],
    values: [...given.values, ...added.map((index) => values[index])],
  };
}
