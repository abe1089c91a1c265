import { useRef, useState, type PointerEvent } from "react";
import { LEVELS } from "../../wire/envelope.ts";
import type { TimeBuckets } from "../../wire/histogram.ts";
import type { JournalCount } from "../session/journal-counts.ts";
import { isSliding, toBounds, type TimeRange } from "../session/view.ts";
import { TEXTS } from "../texts.ts";

/** The width of the drawing in its own units; it is stretched to the width of the page. */
const WIDTH = 1000;

/** The fraction of its bucket that a bar fills, so that adjacent bars are distinct. */
const BAR_FRACTION = 0.85;

interface HistogramProps {
  readonly count: JournalCount | undefined;
  readonly range: TimeRange;
  readonly onRange: (range: TimeRange) => void;
  /** The gateway's time, in ms since 1970. */
  readonly now: () => number;
}

/** A selection by dragging; the chart does not change while it lasts. */
interface Brush {
  readonly chart: Chart;
  readonly from: number;
  readonly to: number;
}

/** The matching records over time, by level. Dragging selects a time range. */
export function Histogram({ count, range, onRange, now }: HistogramProps) {
  const [brush, setBrush] = useState<Brush>();
  const svg = useRef<SVGSVGElement>(null);
  const chart = brush?.chart ?? (count && toChart(count.times, range, now()));
  if (!chart) {
    return (
      <div className="histogram">
        <span className="histogram-extent">{count && <Outliers count={count} />}</span>
      </div>
    );
  }

  const fractionAt = ({ clientX }: PointerEvent): number => {
    const { left, width } = svg.current!.getBoundingClientRect();
    return Math.min(1, Math.max(0, (clientX - left) / width));
  };
  const timeAt = (fraction: number): number =>
    Math.round(chart.fromMs + fraction * (chart.toMs - chart.fromMs));
  const start = (event: PointerEvent): void => {
    svg.current!.setPointerCapture(event.pointerId);
    setBrush({ chart, from: fractionAt(event), to: fractionAt(event) });
  };
  const drag = (event: PointerEvent): void => {
    if (brush) setBrush({ ...brush, to: fractionAt(event) });
  };
  const end = (): void => {
    setBrush(undefined);
    if (!brush) return;
    const [sinceMs, untilMs] = [brush.from, brush.to].sort((a, b) => a - b).map(timeAt);
    if (untilMs! > sinceMs!) onRange({ sinceMs, untilMs });
  };
  const [from, to] = TEXTS.histogram.ends(chart.fromMs, chart.toMs);
  return (
    <div className="histogram" title={TEXTS.histogram.hint}>
      <svg
        ref={svg}
        role="img"
        aria-label={TEXTS.histogram.label(from, to)}
        viewBox={`0 0 ${WIDTH} 1`}
        preserveAspectRatio="none"
        onPointerDown={start}
        onPointerMove={drag}
        onPointerUp={end}
        onPointerCancel={() => setBrush(undefined)}
      >
        {chart.bars.map(({ start: x, width, counts }) => (
          <Bar
            key={x}
            x={x * WIDTH}
            width={BAR_FRACTION * width * WIDTH}
            counts={counts}
            countMax={chart.countMax}
          />
        ))}
        {brush && (
          <rect
            className="brush"
            x={Math.min(brush.from, brush.to) * WIDTH}
            width={Math.abs(brush.to - brush.from) * WIDTH}
            y={0}
            height={1}
          />
        )}
      </svg>
      <span className="histogram-from">{from}</span>
      {count && (
        <span className="histogram-extent">
          {TEXTS.histogram.extent(count)}
          <Outliers count={count} />
        </span>
      )}
      <span className="histogram-to">{to}</span>
    </div>
  );
}

/** Says how many records are outside the chart. */
function Outliers({ count: { outliers } }: { readonly count: JournalCount }) {
  const text = TEXTS.histogram.outliers(outliers);
  if (text === "") return null;
  return (
    <em className="outliers" title={TEXTS.histogram.outliersHint}>
      {text}
    </em>
  );
}

interface BarProps {
  readonly x: number;
  readonly width: number;
  readonly counts: readonly number[];
  readonly countMax: number;
}

/** The most severe level is at the base. The top of each level shows the count of that level and above. */
function Bar({ x, width, counts, countMax }: BarProps) {
  let sum = 0;
  return LEVELS.toReversed().map((level) => {
    const count = counts[LEVELS.indexOf(level)]!;
    if (count === 0) return null;
    const bottom = heightFraction(sum, countMax);
    sum += count;
    const top = heightFraction(sum, countMax);
    return (
      <rect key={level} data-level={level} x={x} width={width} y={1 - top} height={top - bottom} />
    );
  });
}

/** The scale is logarithmic, so that one busy moment does not make all others invisible. */
function heightFraction(count: number, countMax: number): number {
  return count === 0 ? 0 : Math.log1p(count) / Math.log1p(countMax);
}

interface Chart {
  readonly fromMs: number;
  readonly toMs: number;
  readonly bars: readonly {
    /** As fractions of the whole width. */
    readonly start: number;
    readonly width: number;
    /** By rank of level. */
    readonly counts: readonly number[];
  }[];
  /** The count of the tallest bar. */
  readonly countMax: number;
}

/** Returns undefined if there are no records, or if all have the same time. */
function toChart(times: TimeBuckets, range: TimeRange, nowMs: number): Chart | undefined {
  const { sinceMs, untilMs } = toBounds(range, nowMs);
  const fromMs = sinceMs ?? times.firstMs;
  // The last bar includes the last record.
  const lastMs = times.lastMs + 1;
  const toMs = untilMs ?? (isSliding(range) ? Math.max(nowMs, lastMs) : lastMs);
  if (times.lastMs === -Infinity || toMs - fromMs <= 1) return undefined;
  const bars = [...times.entries()].map(([startMs, counts]) => ({
    start: (startMs - fromMs) / (toMs - fromMs),
    width: times.widthMs / (toMs - fromMs),
    counts,
  }));
  const sums = bars.map(({ counts }) => counts.reduce((sum, count) => sum + count, 0));
  return { fromMs, toMs, bars, countMax: Math.max(...sums) };
}
