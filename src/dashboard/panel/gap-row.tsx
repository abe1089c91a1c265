import type { GapRow, ResetRow } from "./rows.ts";
import { isGap } from "./rows.ts";
import { TEXTS } from "../texts.ts";

interface GapLineProps {
  readonly id: string;
  readonly row: GapRow | ResetRow;
  readonly topPx: number;
  readonly isCurrent: boolean;
  readonly isLoading: boolean;
  readonly onLoad: () => void;
}

/** Stands where records are missing, and says so. */
export function GapLine({ id, row, topPx, isCurrent, isLoading, onLoad }: GapLineProps) {
  const text = isGap(row) ? TEXTS.gap.text(row.gap) : TEXTS.gap.reset(row.reset);
  return (
    <div
      id={id}
      className={isCurrent ? "row gap current" : "row gap"}
      role="row"
      style={{ transform: `translateY(${topPx}px)` }}
    >
      <div role="gridcell" className="gap-cell">
        {isLoadable(row) && (
          <button type="button" disabled={isLoading} onClick={onLoad}>
            {isLoading ? TEXTS.gap.loading : TEXTS.gap.load}
          </button>
        )}
        <span title={text}>{text}</span>
      </div>
    </div>
  );
}

/** What only this page has missed is in the journal. */
function isLoadable(row: GapRow | ResetRow): boolean {
  return isGap(row) && (row.gap.reason === "slow" || row.gap.reason === "hole");
}
