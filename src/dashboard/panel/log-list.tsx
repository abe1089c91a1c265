import { defaultRangeExtractor, useVirtualizer, type Range } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";
import { ColumnHeader } from "./column-header.tsx";
import { GapLine } from "./gap-row.tsx";
import { ListTop } from "./list-top.tsx";
import { LogRow } from "./log-row.tsx";
import type { PanelStore } from "./panel-store.ts";
import { isEntry, isGap } from "./rows.ts";
import { rowHeightPx } from "./row-height.ts";
import type { LogEntry } from "../../client/index.ts";
import { TEXTS } from "../texts.ts";
import type { Columns } from "./use-columns.ts";
import { usePanel } from "./use-panel.ts";

/** The header of the columns and the line that says what is above the first record; each as high as a row. */
const LINES_ABOVE = 2;

/** Rows that are there before they are scrolled to. */
const OVERSCAN = 10;

/** So many rows before its end the list asks for more. */
const AHEAD_ROWS = 60;

/** Positions of scrolling can be fractions. */
const NEAR_PX = 2;

interface LogListProps {
  readonly store: PanelStore;
  readonly columns: Columns;
  readonly selected: LogEntry | undefined;
  readonly onSelect: (entry: LogEntry) => void;
}

/** The row that keys move from. */
interface Current {
  readonly ordinal: number;
  /** Of the rows that it is one of. */
  readonly generation: number;
}

/** What a list showed last, and where it stood. */
interface Drawn {
  readonly first: number;
  readonly generation: number;
  readonly rows: number;
  readonly isAtEnd: boolean;
  readonly heightPx: number | undefined;
  topPx: number;
}

/**
 * The rows of a panel, of which only those in view are in the document.
 *
 * Where the list stands is this component's to say, never the browser's: at the end while the panel follows; else what
 * is read stays where it is when rows come or go in front of it. For the frame in which that happens the virtualizer
 * does not know the new position yet, so the range of rows is worked out here.
 */
export function LogList({ store, columns, selected, onSelect }: LogListProps) {
  usePanel(store);
  const { rows } = store;
  const { lane } = store;
  const [rowPx] = useState(rowHeightPx);
  const [current, setCurrent] = useState<Current>();
  const list = useRef<HTMLDivElement>(null);
  /** The ordinal of a row that is to be in view once the list is drawn. */
  const sought = useRef<number>(undefined);
  const drawn = useRef<Drawn>({
    first: rows.first,
    generation: store.generation,
    rows: 0,
    isAtEnd: false,
    heightPx: undefined,
    topPx: 0,
  });

  const becomeCurrent = (ordinal: number): void =>
    setCurrent({ ordinal, generation: store.generation });
  /** Of the row nearest to it where it is no longer loaded itself; of other rows none is current yet. */
  const currentIndex = (): number | undefined =>
    current?.generation === store.generation && rows.length > 0
      ? Math.min(Math.max(0, current.ordinal - rows.first), rows.length - 1)
      : undefined;

  const movedRows =
    store.generation === drawn.current.generation ? drawn.current.first - rows.first : 0;

  const rangeExtractor = (range: Range): number[] => {
    const element = list.current;
    if (!element || (movedRows === 0 && !store.isFollowing)) return defaultRangeExtractor(range);
    const visible = Math.ceil(element.clientHeight / rowPx);
    const top = store.isFollowing
      ? range.count - slotsOf(visible)
      : Math.floor(element.scrollTop / rowPx) - LINES_ABOVE + movedRows;
    const startIndex = Math.min(Math.max(0, top), Math.max(0, range.count - 1));
    const endIndex = store.isFollowing
      ? range.count - 1
      : Math.min(range.count - 1, startIndex + visible);
    const overscan = store.isFollowing ? 0 : range.overscan;
    return defaultRangeExtractor({ ...range, startIndex, endIndex, overscan });
  };

  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => list.current,
    estimateSize: () => rowPx,
    overscan: OVERSCAN,
    rangeExtractor,
  });

  useLayoutEffect(() => {
    const element = list.current!;
    const heightPx = virtualizer.scrollRect?.height;
    const { current: before } = drawn;
    // Each look at a position makes the browser lay all out at once; a full window at its end stays where it is.
    const isUnmoved =
      store.isFollowing &&
      before.isAtEnd &&
      before.rows === rows.length &&
      before.heightPx === heightPx;
    if (!isUnmoved) {
      if (store.isFollowing) element.scrollTop = element.scrollHeight;
      else if (movedRows !== 0) element.scrollTop += movedRows * rowPx;
    }
    const goal = store.takeGoal();
    if (goal !== undefined) {
      becomeCurrent(goal);
      element.scrollTop = (goal - rows.first + LINES_ABOVE) * rowPx - element.clientHeight / 2;
    }
    drawn.current = {
      first: rows.first,
      generation: store.generation,
      rows: rows.length,
      isAtEnd: store.isFollowing,
      heightPx,
      topPx: isUnmoved ? before.topPx : element.scrollTop,
    };
    // What comes above or below the list must not cover the record whose details are open.
    if (!store.isFollowing && heightPx !== before.heightPx && selected) {
      const index = rows.findIndex((row) => isEntry(row) && row.sequence === selected.sequence);
      const wasInView = isInView(index, before, rowPx);
      if (index >= 0 && wasInView) bringIntoView(element, index, rowPx);
    }
    // That counts as scrolling: it goes on with what is behind the end.
    if (sought.current !== undefined) bringIntoView(element, sought.current - rows.first, rowPx);
    sought.current = undefined;
  });

  /** Asks for what is in front of the first row while that is near. */
  const loadAhead = (): void => {
    if (store.isFollowing && rows.length > 2 * AHEAD_ROWS) return;
    if (list.current!.scrollTop < AHEAD_ROWS * rowPx) void store.loadOlder();
  };

  useEffect(() => {
    if (store.trouble === "") loadAhead();
  });

  const scrolled = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = list.current!;
    const belowPx = scrollHeight - clientHeight - scrollTop;
    const byPx = scrollTop - drawn.current.topPx;
    drawn.current.topPx = scrollTop;
    if (store.isFollowing) {
      if (byPx < -NEAR_PX && belowPx > NEAR_PX) store.stopFollowing();
      return;
    }
    if (byPx > 0 && belowPx <= NEAR_PX) store.readOn();
    else if (byPx > 0 && belowPx < AHEAD_ROWS * rowPx) void store.loadNewer();
    loadAhead();
  };

  const open = (index: number): void => {
    const row = rows.at(index);
    if (!row) return;
    becomeCurrent(rows.first + index);
    if (isEntry(row)) onSelect(row);
  };

  const moveCurrent = (by: number): void => {
    // Who follows looks at the newest, wherever keys have been before.
    const from = (store.isFollowing ? undefined : currentIndex()) ?? rows.length;
    store.stopFollowing();
    const index = Math.min(Math.max(0, from + by), rows.length - 1);
    becomeCurrent(rows.first + index);
    sought.current = rows.first + index;
  };

  const pressed = (event: KeyboardEvent): void => {
    if (event.target !== list.current || event.ctrlKey || event.altKey || event.metaKey) return;
    const pageRows = Math.floor(list.current.clientHeight / rowPx) - 2;
    const moves: Record<string, () => void> = {
      ArrowUp: () => moveCurrent(-1),
      ArrowDown: () => moveCurrent(1),
      PageUp: () => moveCurrent(-pageRows),
      PageDown: () => moveCurrent(pageRows),
      Home: () => moveCurrent(-rows.length),
      End: () => store.followNewest(),
      Enter: () => {
        const index = currentIndex();
        const row = index === undefined ? undefined : rows.at(index);
        if (row && isGap(row)) void store.loadGap(row);
        else if (row) open(index!);
      },
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  };

  /** Under a pointer nothing moves: the row that was pressed is the one that is meant. */
  const held = ({ target }: { readonly target: EventTarget }): void => {
    if ((target as Element).closest(".row")) store.stopFollowing();
  };
  const clicked = ({ target }: { readonly target: EventTarget }): void => {
    const row = (target as Element).closest<HTMLElement>(".row");
    const isButton = (target as Element).closest("button");
    if (!row || isButton || getSelection()?.type === "Range") return;
    open(Number(row.id.slice(lane.length + 1)) - rows.first);
  };

  const items = virtualizer.getVirtualItems().filter(({ index }) => rows.at(index) !== undefined);
  // A row that comes takes the elements of the one that goes. How many there are does not depend on where the list
  // stands or whether it follows: the row that is pressed must be the one on which the pointer is released.
  const visible = Math.ceil((virtualizer.scrollRect?.height ?? 0) / rowPx);
  const slots = Math.max(items.length, slotsOf(visible));
  const idOf = (index: number): string => `${lane}:${rows.first + index}`;
  // It may name a row only while that is in the document (WAI-ARIA 1.2, aria-activedescendant): one that is out of view is not.
  const at = currentIndex();
  const active = items.find(({ index }) => index === at);
  return (
    <div
      ref={list}
      className="log-list"
      role="grid"
      aria-label={TEXTS.lists[lane]}
      aria-rowcount={-1}
      aria-activedescendant={active && idOf(active.index)}
      tabIndex={0}
      onScroll={scrolled}
      onWheel={({ deltaY }) => {
        const { scrollHeight, clientHeight } = list.current!;
        if (deltaY < 0 && scrollHeight > clientHeight) store.stopFollowing();
      }}
      onKeyDown={pressed}
      onPointerDown={held}
      onClick={clicked}
    >
      <div
        className="log-content"
        role="rowgroup"
        style={{
          ["--columns" as string]: columns.template,
          minWidth: `max(100%, ${columns.widthPxMin}px)`,
        }}
      >
        <ColumnHeader columns={columns} />
        <ListTop store={store} />
        <div className="rows" role="presentation" style={{ height: `${rows.length * rowPx}px` }}>
          {items.map(({ index }) => {
            const row = rows.at(index)!;
            // By the ordinal, which older rows that are put in front do not change.
            const slot = (((rows.first + index) % slots) + slots) % slots;
            const place = {
              id: idOf(index),
              topPx: index * rowPx,
              isCurrent: index === at,
            };
            return isEntry(row) ? (
              <LogRow
                key={slot}
                {...place}
                entry={row}
                columns={columns.shown}
                isSelected={row.sequence === selected?.sequence}
              />
            ) : (
              <GapLine
                key={slot}
                {...place}
                row={row}
                isLoading={isGap(row) && store.isLoadingGap(row)}
                onLoad={() => isGap(row) && void store.loadGap(row)}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** So many rows are in the document at most: those in view, two of them in part, and those on both sides. */
function slotsOf(visible: number): number {
  return visible + 2 * OVERSCAN + 2;
}

function isInView(index: number, { topPx, heightPx = 0 }: Drawn, rowPx: number): boolean {
  const atPx = (index + LINES_ABOVE) * rowPx;
  return atPx >= topPx + rowPx && atPx + rowPx <= topPx + heightPx;
}

/** Scrolls no further than it must; the columns' header lies above the rows. */
function bringIntoView(list: HTMLElement, index: number, rowPx: number): void {
  const topPx = (index + LINES_ABOVE) * rowPx;
  if (topPx < list.scrollTop + rowPx) list.scrollTop = topPx - rowPx;
  const shownTo = list.scrollTop + list.clientHeight;
  if (topPx + rowPx > shownTo) list.scrollTop = topPx + rowPx - list.clientHeight;
}
