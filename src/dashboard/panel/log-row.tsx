import { createContext, memo, useContext, useMemo, type ReactNode } from "react";
import type { LogEntry } from "../../client/index.ts";
import { printable } from "../../wire/printable.ts";
import { searchedTexts } from "../search/query.ts";
import { TEXTS } from "../texts.ts";
import type { Column } from "./columns.tsx";
import type { PanelStore } from "./panel-store.ts";
import { isGap, type GapRow, type ResetRow } from "./rows.ts";

/** A cell shows at most this much; the details pane shows everything. */
const CELL_CHARACTERS_MAX = 1000;

interface RowProps {
  readonly id: string;
  readonly topPx: number;
  readonly isCurrent: boolean;
}

interface LogRowProps extends RowProps {
  readonly entry: LogEntry;
  readonly columns: readonly Column[];
  readonly isSelected: boolean;
}

/** One record on one line. */
export const LogRow = memo(function LogRow(props: LogRowProps) {
  const { id, entry, columns, topPx, isSelected, isCurrent } = props;
  const { envelope } = entry;
  return (
    <div
      id={id}
      className={isCurrent ? "row current" : "row"}
      role="row"
      aria-selected={isSelected}
      data-sequence={entry.sequence}
      style={{ transform: `translateY(${topPx}px)` }}
    >
      {columns.map((column) => (
        <div key={column.id} className={`cell column-${column.id}`} role="gridcell">
          {column.id === "level" ? (
            <span className="level" data-level={envelope.data.level}>
              {envelope.data.level}
            </span>
          ) : (
            <Highlight text={printable(column.text(envelope).slice(0, CELL_CHARACTERS_MAX))} />
          )}
        </div>
      ))}
    </div>
  );
});

const SearchPattern = createContext<RegExp | undefined>(undefined);

/** Highlights the texts that `q` searches for in all rows inside. */
export function SearchHighlight({ q, children }: { readonly q: string; children: ReactNode }) {
  const pattern = useMemo(() => {
    const texts = searchedTexts(q).sort((one, other) => other.length - one.length);
    if (texts.length === 0) return undefined;
    const escaped = texts.map((text) => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    return new RegExp(`(${escaped.join("|")})`, "giu");
  }, [q]);
  return <SearchPattern value={pattern}>{children}</SearchPattern>;
}

function Highlight({ text }: { readonly text: string }) {
  const pattern = useContext(SearchPattern);
  if (!pattern) return text;
  // `split` retains what a group captures: every second part is a match.
  return text
    .split(pattern)
    .map((part, index) => (index % 2 === 1 ? <mark key={index}>{part}</mark> : part));
}

interface GapLineProps extends RowProps {
  readonly row: GapRow | ResetRow;
  readonly isLoading: boolean;
  readonly onLoad: () => void;
}

/** A line that says which records are missing, and why. */
export function GapLine({ id, row, topPx, isCurrent, isLoading, onLoad }: GapLineProps) {
  const text = isGap(row) ? TEXTS.gap.text(row.gap) : TEXTS.gap.reset(row.reset);
  // The journal has the records that only this page has missed.
  const isLoadable = isGap(row) && (row.gap.reason === "slow" || row.gap.reason === "hole");
  return (
    <div
      id={id}
      className={isCurrent ? "row gap current" : "row gap"}
      role="row"
      style={{ transform: `translateY(${topPx}px)` }}
    >
      <div role="gridcell" className="gap-cell">
        {isLoadable && (
          <button disabled={isLoading} onClick={onLoad}>
            {isLoading ? TEXTS.gap.loading : TEXTS.gap.load}
          </button>
        )}
        <span title={text}>{text}</span>
      </div>
    </div>
  );
}

/** The line above the first record. It is always there, so that its text can change without moving the rows. */
export function ListTop({ store }: { readonly store: PanelStore }) {
  return (
    <div className="list-top" role="row">
      <div role="gridcell">
        <ListTopText store={store} />
      </div>
    </div>
  );
}

function ListTopText({ store }: { readonly store: PanelStore }) {
  if (store.loader.lastError !== "") return TEXTS.list.failed(store.loader.lastError);
  if (store.isCleared) {
    return (
      <>
        {TEXTS.list.cleared}{" "}
        <button onClick={() => store.showCleared()}>{TEXTS.list.showCleared}</button>
      </>
    );
  }
  if (store.loader.isLoadingOlder) return TEXTS.list.loading;
  if (store.rows.length === 0) {
    const isFiltered = store.filter.q || store.hasStart();
    return isFiltered ? TEXTS.list.noMatch[store.type] : TEXTS.list.empty;
  }
  if (!store.isAtBeginning) return "";
  if (store.hasStart()) return TEXTS.list.rangeStart;
  return store.filter.q ? TEXTS.list.noOlder : TEXTS.list.journalStart;
}
