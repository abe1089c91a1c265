import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import type { PanelStore } from "./panel-store.ts";
import { rowHeightPx } from "./row-height.ts";
import { firstSequence, lastSequence } from "./rows.ts";

/** The two lines above the rows of a list: the columns' header, and what says where the list begins. */
const LINES_ABOVE = 2;

/**
 * Brings a panel to the moment that the other one shows. The gateway numbers the records of both in the order in which
 * they came, so that the moment is a sequence, whatever clocks say.
 */
export class InStep {
  readonly #panels: Readonly<Record<EnvelopeType, PanelStore>>;
  readonly #rowPx = rowHeightPx();
  /** Where a panel is to be once the journal has answered it; the latest wish counts. */
  readonly #wanted = new Map<EnvelopeType, number>();

  constructor(panels: Readonly<Record<EnvelopeType, PanelStore>>) {
    this.#panels = panels;
  }

  followLeader(leader: EnvelopeType): void {
    const other = ENVELOPE_TYPES.find((lane) => lane !== leader)!;
    if (this.#panels[leader].isFollowing) {
      if (!this.#panels[other].isFollowing) this.#panels[other].followNewest();
      return;
    }
    const sequence = this.#middleOf(leader);
    if (sequence !== undefined) this.align(other, sequence);
  }

  /** Brings the newest record up to this one to the middle of the panel. */
  align(lane: EnvelopeType, sequence: number): void {
    const list = listOf(lane);
    if (!list) return;
    const store = this.#panels[lane];
    store.stopFollowing();
    if (!this.#hasMoment(store, sequence)) return void this.#fetch(lane, sequence);
    const top = (indexUpTo(store, sequence) + LINES_ABOVE) * this.#rowPx;
    list.scrollTop = top - list.clientHeight / 2;
  }

  #hasMoment(store: PanelStore, sequence: number): boolean {
    const { rows, isAtBeginning, counts } = store;
    const first = rows.at(0);
    const { last } = rows;
    if (!first || !last) return false;
    const reachesUp = isAtBeginning || firstSequence(first) <= sequence;
    const isNewest = counts.buffered === 0 && store.isAtNewest;
    return reachesUp && (isNewest || lastSequence(last) >= sequence);
  }

  async #fetch(lane: EnvelopeType, sequence: number): Promise<void> {
    const isBusy = this.#wanted.has(lane);
    this.#wanted.set(lane, sequence);
    if (isBusy) return;
    for (let at: number | undefined; at !== this.#wanted.get(lane);) {
      at = this.#wanted.get(lane)!;
      await this.#panels[lane].goTo(at);
    }
    this.#wanted.delete(lane);
  }

  /** The sequence of the row in the middle of what is in view. */
  #middleOf(lane: EnvelopeType): number | undefined {
    const list = listOf(lane);
    if (!list) return undefined;
    const { rows } = this.#panels[lane];
    const index = Math.floor((list.scrollTop + list.clientHeight / 2) / this.#rowPx) - LINES_ABOVE;
    const row = rows.at(Math.min(Math.max(0, index), rows.length - 1));
    return row && firstSequence(row);
  }
}

function listOf(lane: EnvelopeType): HTMLElement | null {
  return document.querySelector<HTMLElement>(`[data-lane="${lane}"] .log-list`);
}

/** Of the rows, which are in order, the last that is not above the sequence; the first where all are. */
function indexUpTo({ rows }: PanelStore, sequence: number): number {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (firstSequence(rows.at(middle)!) <= sequence) low = middle;
    else high = middle - 1;
  }
  return low;
}
