import type { Batch, HostJournal } from "tailgate/plugin";
import { unitsOf, type Unit } from "./batch-frames.ts";

/** Which records are wanted; a filter is one. */
export interface Wanted {
  /** The same for what means the same; "" for everything. */
  readonly key: string;
  matches(records: Batch, index: number): boolean;
}

/** What is wanted of a batch. */
export function matching(records: Batch, wanted: Wanted): Batch {
  if (wanted.key === "") return records;
  return records.select((index) => wanted.matches(records, index));
}

/**
 * What is read from the journal's memory for all viewers that go on at the same moment: who is at the same place with
 * the same filter gets the same bytes. It lives for one turn, in which the journal does not change.
 */
export class SharedRuns {
  readonly #journal: HostJournal;
  readonly #runs = new Map<number, Batch | undefined>();
  readonly #matches = new Map<string, Batch>();
  readonly #units = new Map<string, readonly Unit[]>();

  constructor(journal: HostJournal) {
    this.#journal = journal;
  }

  /** The longest run of records in memory that starts with the sequence. */
  from(sequence: number): Batch | undefined {
    if (!this.#runs.has(sequence)) this.#runs.set(sequence, this.#journal.readFrom(sequence));
    return this.#runs.get(sequence);
  }

  matching(run: Batch, wanted: Wanted): Batch {
    const key = `${run.sequence(0)} ${wanted.key}`;
    let records = this.#matches.get(key);
    if (!records) this.#matches.set(key, (records = matching(run, wanted)));
    return records;
  }

  /** What matches of a run, as messages for those whose position is before `from`. */
  units(run: Batch, from: number, wanted: Wanted): readonly Unit[] {
    const key = `${run.sequence(0)} ${from} ${wanted.key}`;
    let units = this.#units.get(key);
    if (!units) {
      const to = run.sequence(run.length - 1);
      const { durable } = this.#journal;
      units = unitsOf({ from, to, records: this.matching(run, wanted), gaps: [], durable });
      this.#units.set(key, units);
    }
    return units;
  }
}
