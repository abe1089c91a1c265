import type { MissingRange } from "./stand-in-client.ts";
import { TEXTS } from "./texts.ts";

interface GapLineProps {
  readonly id: string;
  readonly gap: MissingRange;
  readonly topPx: number;
  readonly isCurrent: boolean;
  readonly isLoading: boolean;
  readonly onLoad: () => void;
}

/** Stands where records are missing, and says so. */
export function GapLine({ id, gap, topPx, isCurrent, isLoading, onLoad }: GapLineProps) {
  const text = TEXTS.gap.text(gap);
  return (
    <div
      id={id}
      className={isCurrent ? "row gap current" : "row gap"}
      role="row"
      data-gap={`${gap.from}-${gap.to}`}
      style={{ transform: `translateY(${topPx}px)` }}
    >
      <div role="gridcell" className="gap-cell">
        {/* What was only too much for this page is in the journal. */}
        {gap.reason === "slow" && (
          <button type="button" disabled={isLoading} onClick={onLoad}>
            {isLoading ? TEXTS.gap.loading : TEXTS.gap.load}
          </button>
        )}
        <span title={text}>{text}</span>
      </div>
    </div>
  );
}
