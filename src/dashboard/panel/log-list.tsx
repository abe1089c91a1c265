import { defaultRangeExtractor, useVirtualizer, type Range } from "@tanstack/react-virtual";
import {
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type KeyboardEvent,
  type RefObject,
} from "react";
import type { LogEntry } from "../../client/index.ts";
import type { EnvelopeType } from "../../wire/envelope.ts";
import { TEXTS } from "../texts.ts";
import { ColumnHeader, type PanelColumns } from "./columns.tsx";
import { GapLine, ListTop, LogRow } from "./log-row.tsx";
import { usePanelStore, type PanelStore } from "./panel-store.ts";
import { isEntry, isGap } from "./rows.ts";

/** The column header and the line above the first record, each as high as a row. */
export const LINES_ABOVE = 2;

/** Rows that are rendered on either side of those in view. */
const OVERSCAN = 10;

/** The list loads more when this many rows or fewer are left. */
const AHEAD_ROWS = 60;

/** Scroll positions can be fractional. */
const TOLERANCE_PX = 2;

/** The height of a row, relative to the root font size; tokens.css has the same value. */
const ROW_REM = 1.375;

interface LogListProps {
  readonly store: PanelStore;
  readonly columns: PanelColumns;
  readonly selected: LogEntry | undefined;
  readonly onSelect: (entry: LogEntry) => void;
}

/** The rows of a panel, of which only those in view are in the document. */
export function LogList({ store, columns, selected, onSelect }: LogListProps) {
  usePanelStore(store);
  const { rows, type } = store;
  const list = useRef<HTMLDivElement>(null);
  const [rowPx] = useState(rowHeightPx);
  const current = useCurrentRow(store);
  const { virtualizer, handleScroll, scrollTo } = useListScroll({
    store,
    list,
    rowPx,
    selected,
    onTarget: current.set,
  });

  const open = (index: number): void => {
    const row = rows.at(index);
    if (!row) return;
    current.set(rows.first + index);
    if (isEntry(row)) onSelect(row);
  };
  const openCurrent = (): void => {
    const { index } = current;
    const row = index === undefined ? undefined : rows.at(index);
    if (row && isGap(row)) void store.loadGap(row);
    else if (row) open(index!);
  };
  const moveCurrent = (by: number): void => {
    // While the panel follows, the user looks at the latest record, whichever row was current before.
    const from = (store.isFollowing ? undefined : current.index) ?? rows.length;
    store.stopFollowing();
    const ordinal = rows.first + Math.min(Math.max(0, from + by), rows.length - 1);
    current.set(ordinal);
    scrollTo(ordinal);
  };
  const handleKey = (event: KeyboardEvent): void => {
    if (event.target !== list.current || event.ctrlKey || event.altKey || event.metaKey) return;
    const pageRows = Math.floor(list.current.clientHeight / rowPx) - 2;
    const actions: Record<string, () => void> = {
      ArrowUp: () => moveCurrent(-1),
      ArrowDown: () => moveCurrent(1),
      PageUp: () => moveCurrent(-pageRows),
      PageDown: () => moveCurrent(pageRows),
      Home: () => moveCurrent(-rows.length),
      End: () => store.follow(),
      Enter: openCurrent,
    };
    const act = actions[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  /** Rows do not move under a pressed pointer: the row that was pressed is the one that opens. */
  const handlePointerDown = ({ target }: { readonly target: EventTarget }): void => {
    if ((target as Element).closest(".row")) store.stopFollowing();
  };
  const handleClick = ({ target }: { readonly target: EventTarget }): void => {
    const row = (target as Element).closest<HTMLElement>(".row");
    const isButton = (target as Element).closest("button");
    if (!row || isButton || getSelection()?.type === "Range") return;
    open(Number(row.id.slice(type.length + 1)) - rows.first);
  };
  const handleWheel = ({ deltaY }: { readonly deltaY: number }): void => {
    const { scrollHeight, clientHeight } = list.current!;
    if (deltaY < 0 && scrollHeight > clientHeight) store.stopFollowing();
  };

  const items = virtualizer.getVirtualItems().filter(({ index }) => rows.at(index) !== undefined);
  const indexes = items.map(({ index }) => index);
  const activeIndex = indexes.find((index) => index === current.index);
  return (
    <div
      ref={list}
      className="log-list"
      role="grid"
      aria-label={TEXTS.lists[type]}
      aria-rowcount={-1}
      // It must name an element of the document (WAI-ARIA 1.2): rows that are out of view are not in it.
      aria-activedescendant={activeIndex === undefined ? undefined : rowId(store, activeIndex)}
      tabIndex={0}
      onScroll={handleScroll}
      onWheel={handleWheel}
      onKeyDown={handleKey}
      onPointerDown={handlePointerDown}
      onClick={handleClick}
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
        <Rows
          store={store}
          columns={columns}
          selected={selected}
          indexes={indexes}
          currentIndex={current.index}
          rowPx={rowPx}
          heightPx={virtualizer.scrollRect?.height ?? 0}
        />
      </div>
    </div>
  );
}

interface RowsProps extends Pick<LogListProps, "store" | "columns" | "selected"> {
  /** The rows to render. */
  readonly indexes: readonly number[];
  readonly currentIndex: number | undefined;
  readonly rowPx: number;
  /** The height of the list. */
  readonly heightPx: number;
}

function Rows({ store, columns, selected, indexes, currentIndex, rowPx, heightPx }: RowsProps) {
  const { rows } = store;
  // A new row reuses the elements of one that was removed. The number of slots does not depend on the scroll position
  // or on whether the panel follows: a click needs the pointer to be released on the element that was pressed.
  const slots = Math.max(indexes.length, slotCount(Math.ceil(heightPx / rowPx)));
  return (
    <div className="rows" role="presentation" style={{ height: `${rows.length * rowPx}px` }}>
      {indexes.map((index) => {
        const row = rows.at(index)!;
        // By ordinal, which does not change when older rows are prepended.
        const slot = (((rows.first + index) % slots) + slots) % slots;
        const line = {
          id: rowId(store, index),
          topPx: index * rowPx,
          isCurrent: index === currentIndex,
        };
        return isEntry(row) ? (
          <LogRow
            key={slot}
            {...line}
            entry={row}
            columns={columns.shown}
            isSelected={row.sequence === selected?.sequence}
          />
        ) : (
          <GapLine
            key={slot}
            {...line}
            row={row}
            isLoading={isGap(row) && store.loader.isLoadingGap(row)}
            onLoad={() => isGap(row) && void store.loadGap(row)}
          />
        );
      })}
    </div>
  );
}

function rowId({ type, rows }: PanelStore, index: number): string {
  return `${type}:${rows.first + index}`;
}

/**
 * The row that keys move from: the nearest loaded one if it was removed, none after all rows were replaced. `index`
 * reads the store, which may have changed since the last render.
 */
function useCurrentRow(store: PanelStore) {
  const [current, setCurrent] = useState<{ ordinal: number; generation: number }>();
  const { rows } = store;
  return {
    get index(): number | undefined {
      if (current?.generation !== store.loader.generation || rows.length === 0) return undefined;
      return Math.min(Math.max(0, current.ordinal - rows.first), rows.length - 1);
    },
    set(ordinal: number): void {
      setCurrent({ ordinal, generation: store.loader.generation });
    },
  };
}

interface ListScrollOptions extends Pick<RowsProps, "store" | "rowPx" | "selected"> {
  readonly list: RefObject<HTMLDivElement | null>;
  /** Called with the ordinal of a row that the store scrolls to. */
  readonly onTarget: (ordinal: number) => void;
}

/** What the last render showed, and its scroll position. */
interface Rendered {
  readonly first: number;
  readonly generation: number;
  readonly rows: number;
  readonly isAtEnd: boolean;
  readonly heightPx: number | undefined;
  topPx: number;
}

/**
 * Controls the scroll position instead of the browser: it is at the end while the panel follows; otherwise the rows in
 * view stay in place when rows are added or removed above them. In the frame in which that happens the virtualizer does
 * not know the new position yet, so the range of rows is computed here.
 */
function useListScroll({ store, list, rowPx, selected, onTarget }: ListScrollOptions) {
  const { rows } = store;
  /** The ordinal of a row to scroll into view after rendering. */
  const pendingScroll = useRef<number>(undefined);
  const rendered = useRef<Rendered>({
    first: rows.first,
    generation: store.loader.generation,
    rows: 0,
    isAtEnd: false,
    heightPx: undefined,
    topPx: 0,
  });
  const movedRows =
    store.loader.generation === rendered.current.generation
      ? rendered.current.first - rows.first
      : 0;

  const rangeExtractor = (range: Range): number[] => {
    const element = list.current;
    if (!element || (movedRows === 0 && !store.isFollowing)) return defaultRangeExtractor(range);
    const visible = Math.ceil(element.clientHeight / rowPx);
    const top = store.isFollowing
      ? range.count - slotCount(visible)
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
    const { current: before } = rendered;
    // Reading a scroll position forces a layout; a full window that is at its end does not move.
    const isUnmoved =
      store.isFollowing &&
      before.isAtEnd &&
      before.rows === rows.length &&
      before.heightPx === heightPx;
    if (!isUnmoved) {
      if (store.isFollowing) element.scrollTop = element.scrollHeight;
      else if (movedRows !== 0) element.scrollTop += movedRows * rowPx;
    }
    const target = store.loader.takeScrollTarget();
    if (target !== undefined) {
      onTarget(target);
      element.scrollTop = (target - rows.first + LINES_ABOVE) * rowPx - element.clientHeight / 2;
    }
    rendered.current = {
      first: rows.first,
      generation: store.loader.generation,
      rows: rows.length,
      isAtEnd: store.isFollowing,
      heightPx,
      topPx: isUnmoved ? before.topPx : element.scrollTop,
    };
    // Elements that appear above or below the list must not cover the record whose details are open.
    if (!store.isFollowing && heightPx !== before.heightPx && selected) {
      const index = rows.findIndex((row) => isEntry(row) && row.sequence === selected.sequence);
      const wasInView = isInView(index, before, rowPx);
      if (index >= 0 && wasInView) scrollIntoView(element, index, rowPx);
    }
    // This emits a scroll event, so reaching the end loads what comes next.
    const pending = pendingScroll.current;
    if (pending !== undefined) scrollIntoView(element, pending - rows.first, rowPx);
    pendingScroll.current = undefined;
  });

  /** Loads older records when the first row is near. */
  const loadAhead = (): void => {
    if (store.isFollowing && rows.length > 2 * AHEAD_ROWS) return;
    if (list.current!.scrollTop < AHEAD_ROWS * rowPx) void store.loadOlder();
  };

  useEffect(() => {
    if (store.loader.lastError === "") loadAhead();
  });

  const handleScroll = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = list.current!;
    const belowPx = scrollHeight - clientHeight - scrollTop;
    const byPx = scrollTop - rendered.current.topPx;
    rendered.current.topPx = scrollTop;
    if (store.isFollowing) {
      if (byPx < -TOLERANCE_PX && belowPx > TOLERANCE_PX) store.stopFollowing();
      return;
    }
    if (byPx > 0 && belowPx <= TOLERANCE_PX) store.reachEnd();
    else if (byPx > 0 && belowPx < AHEAD_ROWS * rowPx) void store.loader.loadNewer();
    loadAhead();
  };

  const scrollTo = (ordinal: number): void => {
    pendingScroll.current = ordinal;
  };
  return { virtualizer, handleScroll, scrollTo };
}

/** Focuses the list of this panel, or of the panel that is shown. */
export function focusList(type: EnvelopeType | undefined): HTMLElement | null {
  const list = (type && findList(type)) ?? document.querySelector<HTMLElement>(".log-list");
  list?.focus({ preventScroll: true });
  return list;
}

/** Focuses the list of a panel, and makes it handle a key as if the user had pressed it there. */
export function pressInList(type: EnvelopeType | undefined, key: string): void {
  focusList(type)?.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }),
  );
}

export function findList(type: EnvelopeType): HTMLElement | null {
  return document.querySelector<HTMLElement>(`[data-type="${type}"] .log-list`);
}

/** Returns whole pixels: fractions would add up over ten thousand rows. */
export function rowHeightPx(): number {
  return Math.round(ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize));
}

/** Returns the maximum number of rows in the document: those in view, two of them partly, and the overscan. */
function slotCount(visible: number): number {
  return visible + 2 * OVERSCAN + 2;
}

function isInView(index: number, { topPx, heightPx = 0 }: Rendered, rowPx: number): boolean {
  const atPx = (index + LINES_ABOVE) * rowPx;
  return atPx >= topPx + rowPx && atPx + rowPx <= topPx + heightPx;
}

/** Scrolls no further than necessary; the column header covers the top of the list. */
function scrollIntoView(list: HTMLElement, index: number, rowPx: number): void {
  const topPx = (index + LINES_ABOVE) * rowPx;
  if (topPx < list.scrollTop + rowPx) list.scrollTop = topPx - rowPx;
  const shownTo = list.scrollTop + list.clientHeight;
  if (topPx + rowPx > shownTo) list.scrollTop = topPx + rowPx - list.clientHeight;
}
