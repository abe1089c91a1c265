import type { Batch, HostJournal } from "tailgate/plugin";
import { unitsOf, type Unit } from "./batch-frames.ts";
import { framesOf, framesOfAll, type Frames } from "./frames.ts";
import type { Matcher, Waiter, Wanted } from "./matcher.ts";

/**
 * What is read from the journal's memory for all viewers that go on at the same moment: who is at the same place with
 * the same filter gets the same bytes. It lives for one turn, in which the journal does not change.
 */
export class SharedRuns {
  readonly #journal: HostJournal;
  readonly #matcher: Matcher;
  readonly #runs = new Map<number, Batch | undefined>();
  readonly #matches = new Map<string, Batch>();
  readonly #units = new Map<string, readonly Unit[]>();
  readonly #frames = new Map<string, Frames>();

  constructor(journal: HostJournal, matcher: Matcher) {
    this.#journal = journal;
    this.#matcher = matcher;
  }

  /** The longest run of records in memory that starts with the sequence. */
  from(sequence: number): Batch | undefined {
    if (!this.#runs.has(sequence)) this.#runs.set(sequence, this.#journal.readFrom(sequence));
    return this.#runs.get(sequence);
  }

  /** Returns what matches of a run; undefined if the match is deferred: the waiter is then told when it is done. */
  matching(run: Batch, wanted: Wanted, waiter: Waiter): Batch | undefined {
    const key = `${run.sequence(0)} ${wanted.key}`;
    let records = this.#matches.get(key);
    if (!records) {
      records = this.#matcher.match(run, wanted, waiter);
      if (records) this.#matches.set(key, records);
    }
    return records;
  }

  /** The same as frames. */
  frames(run: Batch, wanted: Wanted, waiter: Waiter): Frames | undefined {
    if (wanted.key === "") return framesOfAll(run);
    const key = `${run.sequence(0)} ${wanted.key}`;
    let frames = this.#frames.get(key);
    if (!frames) {
      const records = this.#matcher.match(run, wanted, waiter);
      if (records) this.#frames.set(key, (frames = framesOf(run, records)));
    }
    return frames;
  }

  /** What matches of a run, as messages for those whose position is before `from`. */
  units(run: Batch, records: Batch, from: number, wanted: Wanted): readonly Unit[] {
    const key = `${run.sequence(0)} ${from} ${wanted.key}`;
    let units = this.#units.get(key);
    if (!units) {
      const to = run.sequence(run.length - 1);
      const { durable } = this.#journal;
      units = unitsOf({ from, to, records, gaps: [], durable });
      this.#units.set(key, units);
    }
    return units;
  }
}
