import type { Batch } from "../plugin/index.ts";
import { BatchMatch } from "../plugin/batch-match.ts";
import { onNextTurn } from "../runtime/timers.ts";
import { LEVELS, type EnvelopeType, type Level } from "../wire/envelope.ts";
import type { Filter } from "../filter/filter.ts";

/** Which records an exporter gets. */
export interface RecordSelection {
  /** By default both types. */
  readonly type: EnvelopeType | undefined;
  /** The lowest level; by default all levels. */
  readonly level: Level | undefined;
  /** The records must also match it. */
  readonly filter?: Filter | undefined;
}

/** How long an exporter's filter may take in one turn of the event loop. */
const TURN_MS = 2;

/** Selects the records of one exporter. */
export class RecordSelector {
  readonly #selection: RecordSelection;
  /** The time that the filter has taken in this turn. */
  #spentMs = 0;

  constructor(selection: RecordSelection) {
    this.#selection = selection;
  }

  /** Returns the records of the exporter's type and level, which the filter has yet to match if there is one. */
  select(batch: Batch): Batch {
    const { type, level } = this.#selection;
    if (type === undefined && level === undefined) return batch;
    const lowest = level === undefined ? 0 : LEVELS.indexOf(level);
    return batch.select(
      (index) =>
        (type === undefined || batch.type(index) === type) &&
        LEVELS.indexOf(batch.level(index)) >= lowest,
    );
  }

  /** Returns the match of selected records; undefined if the exporter has no filter, or there is nothing to match. */
  match(records: Batch): BatchMatch | undefined {
    const { filter } = this.#selection;
    return filter === undefined || records.length === 0
      ? undefined
      : new BatchMatch(records, filter);
  }

  /**
   * Continues a match for the time that is left in this turn, or until `endMs` if the process exits. Returns the records that
   * match if it is done.
   */
  advance(match: BatchMatch, endMs?: number): Batch | undefined {
    const leftMs = endMs === undefined ? TURN_MS - this.#spentMs : endMs - performance.now();
    if (leftMs <= 0) return undefined;
    if (this.#spentMs === 0) onNextTurn(() => (this.#spentMs = 0));
    this.#spentMs += match.advance(leftMs);
    return match.matched;
  }
}
