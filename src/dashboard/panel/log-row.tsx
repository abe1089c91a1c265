import { memo } from "react";
import { printable } from "../../wire/printable.ts";
import type { Column } from "./columns.ts";
import { Marked } from "./highlight.tsx";
import type { LogEntry } from "../../client/index.ts";

/** No cell shows more; the details pane has all of it. */
const CELL_CHARACTERS_MAX = 1000;

interface LogRowProps {
  readonly id: string;
  readonly entry: LogEntry;
  readonly columns: readonly Column[];
  readonly topPx: number;
  readonly isSelected: boolean;
  readonly isCurrent: boolean;
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
            <Marked text={printable(column.text(envelope).slice(0, CELL_CHARACTERS_MAX))} />
          )}
        </div>
      ))}
    </div>
  );
});
