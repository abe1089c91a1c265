import { useRef, useState, type PointerEvent } from "react";
import { LEVELS } from "../envelope.ts";
import { binsOf, type Bins } from "./histogram-bins.ts";
import type { Mark } from "./loaded.ts";
import { TEXTS } from "./texts.ts";
import type { TimeRange } from "./view.ts";

const BINS = 80;

interface HistogramProps {
  readonly marks: readonly Mark[];
  readonly onRange: (range: TimeRange) => void;
}

/** A stretch of it that is being chosen; what is under the pointer does not move meanwhile. */
interface Brush {
  readonly bins: Bins;
  readonly fromPart: number;
  readonly toPart: number;
}

/** The loaded records over time, by level. Dragging over it chooses a time. */
export function Histogram({ marks, onRange }: HistogramProps) {
  const [brush, setBrush] = useState<Brush>();
  const svg = useRef<SVGSVGElement>(null);
  const bins = brush?.bins ?? binsOf(marks, BINS);
  if (!bins) return <div className="histogram" />;

  const partAt = ({ clientX }: PointerEvent): number => {
    const { left, width } = svg.current!.getBoundingClientRect();
    return Math.min(1, Math.max(0, (clientX - left) / width));
  };
  const timeAt = (part: number): number =>
    Math.round(bins.fromMs + part * (bins.toMs - bins.fromMs));
  const start = (event: PointerEvent): void => {
    svg.current!.setPointerCapture(event.pointerId);
    setBrush({ bins, fromPart: partAt(event), toPart: partAt(event) });
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
  const { from, to } = { from: TEXTS.time.clock(bins.fromMs), to: TEXTS.time.clock(bins.toMs) };
  return (
    <div className="histogram" title={TEXTS.histogram.hint}>
      <svg
        ref={svg}
        role="img"
        aria-label={TEXTS.histogram.label(from, to)}
        viewBox={`0 0 ${BINS} 1`}
        preserveAspectRatio="none"
        onPointerDown={start}
        onPointerMove={drag}
        onPointerUp={end}
        onPointerCancel={() => setBrush(undefined)}
      >
        {bins.counts.map((counts, index) => (
          <Bar key={index} x={index} counts={counts} most={bins.most} />
        ))}
        {brush && (
          <rect
            className="brush"
            x={Math.min(brush.fromPart, brush.toPart) * BINS}
            width={Math.abs(brush.toPart - brush.fromPart) * BINS}
            y={0}
            height={1}
          />
        )}
      </svg>
      <span className="histogram-from">{from}</span>
      <span className="histogram-to">{to}</span>
    </div>
  );
}

interface BarProps {
  readonly x: number;
  readonly counts: readonly number[];
  readonly most: number;
}

/** The most severe level is at the bottom, where it is seen among many others. */
function Bar({ x, counts, most }: BarProps) {
  let below = 0;
  return LEVELS.toReversed().map((level) => {
    const height = counts[LEVELS.indexOf(level)]! / most;
    if (height === 0) return null;
    below += height;
    return <rect key={level} data-level={level} x={x} width={0.85} y={1 - below} height={height} />;
  });
}
