import { useRef, useState, type PointerEvent } from "react";
import { LEVELS } from "../../wire/envelope.ts";
import { barsOf, heightPart, type Bars } from "./histogram-bars.ts";
import type { Counted } from "../session/journal-counts.ts";
import { TEXTS } from "../texts.ts";
import type { TimeRange } from "../session/view.ts";

/** Of the drawing; what is seen has the width of the page. */
const WIDTH = 1000;

/** Of its place, so that two are seen to be two. */
const BAR_PART = 0.85;

interface HistogramProps {
  readonly counted: Counted | undefined;
  /** The one that is shown. */
  readonly range: TimeRange;
  readonly onRange: (range: TimeRange) => void;
  /** The gateway's time, in ms since 1970. */
  readonly now: () => number;
}

/** A stretch of it that is being chosen; what is under the pointer does not move meanwhile. */
interface Brush {
  readonly shown: Bars;
  readonly fromPart: number;
  readonly toPart: number;
}

/** The records that match over time, by level. Dragging over it chooses a time. */
export function Histogram({ counted, range, onRange, now }: HistogramProps) {
  const [brush, setBrush] = useState<Brush>();
  const svg = useRef<SVGSVGElement>(null);
  const shown = brush?.shown ?? (counted && barsOf(counted.times, range, now()));
  if (!shown) {
    return (
      <div className="histogram">
        <span className="histogram-extent">{counted && <Outside counted={counted} />}</span>
      </div>
    );
  }

  const partAt = ({ clientX }: PointerEvent): number => {
    const { left, width } = svg.current!.getBoundingClientRect();
    return Math.min(1, Math.max(0, (clientX - left) / width));
  };
  const timeAt = (part: number): number =>
    Math.round(shown.fromMs + part * (shown.toMs - shown.fromMs));
  const start = (event: PointerEvent): void => {
    svg.current!.setPointerCapture(event.pointerId);
    setBrush({ shown, fromPart: partAt(event), toPart: partAt(event) });
  };
  const drag = (event: PointerEvent): void => {
    if (brush) setBrush({ ...brush, toPart: partAt(event) });
  };
  const end = (): void => {
    setBrush(undefined);
    if (!brush) return;
    const [sinceMs, untilMs] = [brush.fromPart, brush.toPart].sort((a, b) => a - b).map(timeAt);
    if (untilMs! > sinceMs!) onRange({ sinceMs, untilMs });
  };
  const [from, to] = TEXTS.histogram.ends(shown.fromMs, shown.toMs);
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
        {shown.bars.map(({ startPart, widthPart, counts }) => (
          <Bar
            key={startPart}
            x={startPart * WIDTH}
            width={BAR_PART * widthPart * WIDTH}
            counts={counts}
            most={shown.most}
          />
        ))}
        {brush && (
          <rect
            className="brush"
            x={Math.min(brush.fromPart, brush.toPart) * WIDTH}
            width={Math.abs(brush.toPart - brush.fromPart) * WIDTH}
            y={0}
            height={1}
          />
        )}
      </svg>
      <span className="histogram-from">{from}</span>
      {counted && (
        <span className="histogram-extent">
          {TEXTS.histogram.extent(counted)}
          <Outside counted={counted} />
        </span>
      )}
      <span className="histogram-to">{to}</span>
    </div>
  );
}

interface BarProps {
  readonly x: number;
  readonly width: number;
  readonly counts: readonly number[];
  readonly most: number;
}

/** What the chart leaves out. */
function Outside({ counted: { outliers } }: { readonly counted: Counted }) {
  const text = TEXTS.histogram.outliers(outliers);
  if (text === "") return null;
  return (
    <em className="outliers" title={TEXTS.histogram.outliersHint}>
      {text}
    </em>
  );
}

/** The most severe level is at the bottom. The top of each level is where the count of it and those below stands. */
function Bar({ x, width, counts, most }: BarProps) {
  let below = 0;
  return LEVELS.toReversed().map((level) => {
    const count = counts[LEVELS.indexOf(level)]!;
    if (count === 0) return null;
    const bottom = heightPart(below, most);
    below += count;
    const top = heightPart(below, most);
    return (
      <rect key={level} data-level={level} x={x} width={width} y={1 - top} height={top - bottom} />
    );
  });
}
