import { useRef, type KeyboardEvent, type PointerEvent } from "react";

interface SeparatorProps {
  readonly className: string;
  readonly label: string;
  /** What it divides off, in a unit of its own. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
  /** Of a press of an arrow key. */
  readonly step: number;
  /** How many pixels a value of 1 is. */
  readonly unitPx: () => number;
  readonly onChange: (value: number) => void;
}

/** A line between two things that is dragged by mouse, pen, finger or arrow keys (WAI-ARIA, window splitter). */
export function Separator(props: SeparatorProps) {
  const { className, label, value, min, max } = props;
  const dragged = useRef<{ readonly x: number; readonly value: number }>(undefined);
  const change = (next: number): void => props.onChange(Math.min(max, Math.max(min, next)));

  const start = (event: PointerEvent<HTMLElement>): void => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    dragged.current = { x: event.clientX, value };
  };
  const drag = ({ clientX }: PointerEvent): void => {
    const from = dragged.current;
    if (from) change(from.value + (clientX - from.x) / props.unitPx());
  };
  const end = (): void => {
    dragged.current = undefined;
  };
  const drop = (event: PointerEvent): void => {
    drag(event);
    end();
  };
  const press = (event: KeyboardEvent): void => {
    const next = pressed(event.key, props);
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
      onPointerUp={drop}
      onPointerCancel={end}
      onKeyDown={press}
    />
  );
}

function pressed(key: string, { value, min, max, step }: SeparatorProps): number | undefined {
  switch (key) {
    case "ArrowLeft":
      return value - step;
    case "ArrowRight":
      return value + step;
    case "Home":
      return min;
    case "End":
      return max;
    default:
      return undefined;
  }
}
