import { useEffect, useRef } from "react";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import type { SelectedRecord } from "../details/details.tsx";
import { findList, LINES_ABOVE, rowHeightPx } from "./log-list.tsx";
import type { PanelStore } from "./panel-store.ts";
import { firstSequence, lastSequence } from "./rows.ts";

type Panels = Readonly<Record<EnvelopeType, PanelStore>>;

/** Events that only the user causes, unlike scroll events. */
const USER_EVENTS = ["pointerdown", "wheel", "keydown", "touchstart"] as const;

/** While on, keeps both panels at the same point in time: the one that the user scrolls leads the other. */
export function useScrollSync(
  isOn: boolean,
  panels: Panels,
  selection: SelectedRecord | undefined,
): void {
  const sync = useRef<ScrollSync>(undefined);

  useEffect(() => {
    if (!isOn) return undefined;
    const started = new ScrollSync(panels);
    sync.current = started;
    let leader: EnvelopeType | undefined;
    const handleUserEvent = ({ target }: Event): void => {
      leader = panelOf(target) ?? leader;
    };
    const handleScroll = ({ target }: Event): void => {
      if (leader !== undefined && panelOf(target) === leader) started.followLeader(leader);
    };
    const options = { capture: true, passive: true };
    for (const name of USER_EVENTS) document.addEventListener(name, handleUserEvent, options);
    document.addEventListener("scroll", handleScroll, options);
    return () => {
      for (const name of USER_EVENTS) document.removeEventListener(name, handleUserEvent, options);
      document.removeEventListener("scroll", handleScroll, options);
      sync.current = undefined;
    };
  }, [isOn, panels]);

  useEffect(() => {
    if (selection) sync.current?.align(otherThan(selection.type), selection.entry.sequence);
  }, [selection]);
}

function panelOf(target: EventTarget | null): EnvelopeType | undefined {
  const panel = target instanceof Element ? target.closest<HTMLElement>("[data-type]") : null;
  return ENVELOPE_TYPES.find((type) => type === panel?.dataset["type"]);
}

function otherThan(type: EnvelopeType): EnvelopeType {
  return ENVELOPE_TYPES.find((other) => other !== type)!;
}

/**
 * Scrolls one panel to where the other one is. The gateway assigns sequences to the records of both panels in order of
 * arrival, so a sequence identifies a point in time regardless of clocks.
 */
class ScrollSync {
  readonly #panels: Panels;
  readonly #rowPx = rowHeightPx();
  /** The sequence to load next, while a panel is loading. */
  readonly #pending = new Map<EnvelopeType, number>();

  constructor(panels: Panels) {
    this.#panels = panels;
  }

  followLeader(leader: EnvelopeType): void {
    const other = otherThan(leader);
    if (this.#panels[leader].isFollowing) {
      if (!this.#panels[other].isFollowing) this.#panels[other].follow();
      return;
    }
    const sequence = this.#middleSequence(leader);
    if (sequence !== undefined) this.align(other, sequence);
  }

  /** Scrolls the newest record up to this sequence to the middle of the panel. */
  align(type: EnvelopeType, sequence: number): void {
    const list = findList(type);
    if (!list) return;
    const store = this.#panels[type];
    store.stopFollowing();
    if (!this.#hasLoaded(store, sequence)) return void this.#load(type, sequence);
    const top = (indexUpTo(store, sequence) + LINES_ABOVE) * this.#rowPx;
    list.scrollTop = top - list.clientHeight / 2;
  }

  #hasLoaded(store: PanelStore, sequence: number): boolean {
    const { rows, isAtBeginning, isContiguous, counts } = store;
    const first = rows.at(0);
    const { last } = rows;
    if (!first || !last) return false;
    const reachesUp = isAtBeginning || firstSequence(first) <= sequence;
    const hasLatest = counts.buffered === 0 && isContiguous;
    return reachesUp && (hasLatest || lastSequence(last) >= sequence);
  }

  async #load(type: EnvelopeType, sequence: number): Promise<void> {
    const isLoading = this.#pending.has(type);
    this.#pending.set(type, sequence);
    if (isLoading) return;
    for (let loaded: number | undefined; loaded !== this.#pending.get(type);) {
      loaded = this.#pending.get(type)!;
      await this.#panels[type].goTo(loaded);
    }
    this.#pending.delete(type);
  }

  /** Returns the sequence of the row in the middle of the view. */
  #middleSequence(type: EnvelopeType): number | undefined {
    const list = findList(type);
    if (!list) return undefined;
    const { rows } = this.#panels[type];
    const index = Math.floor((list.scrollTop + list.clientHeight / 2) / this.#rowPx) - LINES_ABOVE;
    const row = rows.at(Math.min(Math.max(0, index), rows.length - 1));
    return row && firstSequence(row);
  }
}

/** Returns the last row up to the sequence, or the first row if all are after it. */
function indexUpTo({ rows }: PanelStore, sequence: number): number {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (firstSequence(rows.at(middle)!) <= sequence) low = middle;
    else high = middle - 1;
  }
  return low;
}
