import { useMemo } from "react";
import type { EnvelopeType } from "../../wire/envelope.ts";
import { COLUMN_PX_MAX, COLUMN_PX_MIN, columnsOf, type Column } from "./columns.ts";
import { useRemembered } from "../stored-setting.ts";
import { useIsNarrow } from "../use-is-narrow.ts";

/** What the flexible column has at least, in pixels. */
const MESSAGE_PX_MIN = 240;

/** A panel's columns, as this browser's user wants them. */
export interface Columns {
  readonly all: readonly Column[];
  readonly shown: readonly Column[];
  /** For CSS: `grid-template-columns`. */
  readonly template: string;
  /** What all of them take at least. */
  readonly widthPxMin: number;
  readonly isHidden: (column: Column) => boolean;
  readonly setHidden: (column: Column, isHidden: boolean) => void;
  readonly widthPx: (column: Column) => number | undefined;
  readonly setWidthPx: (column: Column, widthPx: number) => void;
}

export function useColumns(lane: EnvelopeType): Columns {
  const [hidden, setHidden] = useRemembered(`hidden.${lane}`, hiddenAtFirst(lane), isNames);
  const [widths, setWidths] = useRemembered(`widths.${lane}`, NO_WIDTHS, isWidths);
  const isNarrow = useIsNarrow();
  return useMemo(() => {
    const all = columnsOf(lane);
    const shown = all.filter(({ id, isWide }) => !hidden.includes(id) && !(isNarrow && isWide));
    const widthPx = ({ id, widthPx: first }: Column): number | undefined =>
      first === undefined ? undefined : (widths[id] ?? first);
    const trackOf = (column: Column): string => {
      const width = widthPx(column);
      return width === undefined ? `minmax(${MESSAGE_PX_MIN}px, 1fr)` : `${width}px`;
    };
    return {
      all,
      shown,
      template: shown.map(trackOf).join(" "),
      widthPxMin: shown.reduce((sum, column) => sum + (widthPx(column) ?? MESSAGE_PX_MIN), 0),
      isHidden: ({ id }) => hidden.includes(id),
      setHidden: ({ id }, isHidden) => {
        const others = hidden.filter((name) => name !== id);
        setHidden(isHidden ? [...others, id] : others);
      },
      widthPx,
      setWidthPx: ({ id }, width) => setWidths({ ...widths, [id]: Math.round(width) }),
    };
  }, [lane, hidden, setHidden, widths, setWidths, isNarrow]);
}

const NO_WIDTHS: Readonly<Record<string, number>> = {};

function hiddenAtFirst(lane: EnvelopeType): readonly string[] {
  return columnsOf(lane).flatMap(({ id, isExtra }) => (isExtra ? [id] : []));
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((name) => typeof name === "string");
}

function isWidths(value: unknown): value is Readonly<Record<string, number>> {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.values(value).every((px) => px >= COLUMN_PX_MIN && px <= COLUMN_PX_MAX)
  );
}
