import { useRef, type KeyboardEvent, type PointerEvent } from "react";

interface SeparatorProps {
  readonly className: string;
  readonly label: string;
  /** The size of what comes before it, in a unit of the caller. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
  /** What an arrow key adds or subtracts. */
  readonly step: number;
  /** Returns how many pixels a value of 1 is; by default 1. */
  readonly unitPx?: () => number;
  readonly onChange: (value: number) => void;
}

/** A line that resizes what is beside it, by pointer or arrow keys (WAI-ARIA window splitter pattern). */
export function Separator(props: SeparatorProps) {
  const { className, label, value, min, max, step, unitPx = () => 1, onChange } = props;
  const dragStart = useRef<{ readonly x: number; readonly value: number }>(undefined);
  const change = (next: number): void => onChange(Math.min(max, Math.max(min, next)));

  const start = (event: PointerEvent<HTMLElement>): void => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    dragStart.current = { x: event.clientX, value };
  };
  const drag = ({ clientX }: PointerEvent): void => {
    const from = dragStart.current;
    if (from) change(from.value + (clientX - from.x) / unitPx());
  };
  const end = (): void => {
    dragStart.current = undefined;
  };
  const valuesByKey: Readonly<Record<string, number>> = {
    ArrowLeft: value - step,
    ArrowRight: value + step,
    Home: min,
    End: max,
  };
  const handleKey = (event: KeyboardEvent): void => {
    const next = valuesByKey[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    change(next);
  };
  const percent = Math.round(((value - min) / (max - min)) * 100);
  return (
    <div
      className={className}
      role="separator"
      aria-orientation="vertical"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
      tabIndex={0}
      onPointerDown={start}
      onPointerMove={drag}
      onPointerUp={drag}
      onLostPointerCapture={end}
      onKeyDown={handleKey}
    />
  );
}
