import type { Batch } from "../../plugin/index.ts";
import { CountedField } from "../../filter/counted-field.ts";
import type { HistoryCounts } from "../../history/history.ts";

/** How many values of a field are counted; the first that are found. */
export const VALUES_MAX = 1000;

/** Limits the length of the values of all fields together, in characters: one can be as long as a record. */
const VALUE_CHARACTERS_MAX = 1 << 20;

/** The fields that batches know without their envelopes. */
const HEADERS = new Set(["type", "level", "logger"]);

/** Counts records by the values of fields. */
export class ValueCounts {
  readonly readsEnvelopes: boolean;
  readonly #fields: readonly { readonly field: CountedField; readonly counts: NameCounts }[];
  readonly #isCounted: (value: string) => boolean;
  #characters = 0;

  /** `isCounted`: leaves out values. */
  constructor(names: readonly string[], isCounted: (value: string) => boolean = () => true) {
    this.#fields = names.map((name) => ({
      field: new CountedField(name),
      counts: new NameCounts(),
    }));
    this.#isCounted = isCounted;
    this.readsEnvelopes = names.some((name) => !HEADERS.has(name));
  }

  add(batch: Batch, index: number): void {
    for (const { field, counts } of this.#fields) {
      for (const value of field.valuesOf(batch, index)) {
        if (this.#isCounted(value)) this.#count(counts, value);
      }
    }
  }

  addCounts(values: HistoryCounts["values"]): void {
    for (const { field, counts } of this.#fields) {
      for (const [value, count] of values[field.name]!) this.#count(counts, value, count);
    }
  }

  #count(counts: NameCounts, value: string, count = 1): void {
    const fits = this.#characters + value.length <= VALUE_CHARACTERS_MAX;
    const isNew = counts.countUpTo(fits ? VALUES_MAX : 0, value, count);
    if (isNew) this.#characters += value.length;
  }

  /** Returns the counts of the field with that name. */
  of(name: string): NameCounts {
    return this.#fields.find(({ field }) => field.name === name)!.counts;
  }

  toJSON(): Record<string, Record<string, number>> {
    return Object.fromEntries(this.#fields.map(({ field, counts }) => [field.name, counts.all()]));
  }
}

/** Counts occurrences of names. */
export class NameCounts {
  readonly #counts: Map<string, number>;

  /** `known` names come first and are listed even if they never occur. */
  constructor(known: readonly string[] = []) {
    this.#counts = new Map(known.map((name) => [name, 0]));
  }

  count(name: string, times = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + times);
  }

  /** Counts a name unless it is new and there are `namesMax` already. Returns true if it was added. */
  countUpTo(namesMax: number, name: string, times = 1): boolean {
    const isKnown = this.#counts.has(name);
    if (!isKnown && this.#counts.size >= namesMax) return false;
    this.count(name, times);
    return !isKnown;
  }

  all(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }

  /** Returns the most frequent names, in descending order. */
  mostFrequent(namesMax: number): { name: string; count: number }[] {
    return [...this.#counts]
      .map(([name, count]) => ({ name, count }))
      .toSorted((one, other) => other.count - one.count)
      .slice(0, namesMax);
  }
}
