import { useEffect, useMemo, useRef } from "react";
import type { Envelope, EnvelopeType } from "../../wire/envelope.ts";
import { useIsNarrow, useStoredSetting } from "../hooks.ts";
import { TEXTS } from "../texts.ts";
import { Separator } from "./separator.tsx";

export interface Column {
  readonly id: keyof typeof TEXTS.columns.names;
  /** The initial width; undefined for the column that takes the remaining width. */
  readonly widthPx: number | undefined;
  /** Hidden on a narrow page. */
  readonly isWide?: boolean;
  /** Hidden by default. */
  readonly isOptional?: boolean;
  readonly text: (envelope: Envelope) => string;
}

const COLUMN_PX_MIN = 40;
const COLUMN_PX_MAX = 900;
const MESSAGE_PX_MIN = 240;
const RESIZE_STEP_PX = 10;

/** In the local time zone. */
const TIME = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

const time: Column = {
  id: "time",
  widthPx: 112,
  text: ({ data }) => TIME.format(new Date(data.timestamp)),
};
const level: Column = { id: "level", widthPx: 84, text: ({ data }) => data.level };
const logger: Column = {
  id: "logger",
  widthPx: 160,
  isWide: true,
  text: ({ data }) => data.logger,
};
/** Takes the remaining width, and cannot be hidden. */
const message: Column = { id: "message", widthPx: undefined, text: ({ data }) => data.message };
const fields: Column = { id: "fields", widthPx: 240, isWide: true, text: fieldsText };

const COLUMNS: Readonly<Record<EnvelopeType, readonly Column[]>> = {
  system_log: [
    time,
    level,
    logger,
    message,
    { id: "callSite", widthPx: 170, isWide: true, isOptional: true, text: callSiteText },
    fields,
  ],
  audit_log: [
    time,
    level,
    {
      id: "action",
      widthPx: 140,
      text: ({ type, data }) => (type === "audit_log" ? (data.action ?? "") : ""),
    },
    { id: "instance", widthPx: 124, isWide: true, text: instanceText },
    { ...logger, isOptional: true },
    message,
    fields,
  ],
};

const NO_WIDTHS: Readonly<Record<string, number>> = {};

export type PanelColumns = ReturnType<typeof useColumns>;

/** Returns the columns of a panel, as the user has set them in this browser. */
export function useColumns(type: EnvelopeType) {
  const all = COLUMNS[type];
  const optional: readonly string[] = all.filter((one) => one.isOptional).map(({ id }) => id);
  const [hidden, setHidden] = useStoredSetting(`hidden.${type}`, optional, isNames);
  const [widths, setWidths] = useStoredSetting(`widths.${type}`, NO_WIDTHS, isWidths);
  const isNarrow = useIsNarrow();
  return useMemo(() => {
    const shown = all.filter(({ id, isWide }) => !hidden.includes(id) && !(isNarrow && isWide));
    const widthPx = ({ id, widthPx: initial }: Column): number | undefined =>
      initial === undefined ? undefined : (widths[id] ?? initial);
    const toTrack = (column: Column): string => {
      const width = widthPx(column);
      return width === undefined ? `minmax(${MESSAGE_PX_MIN}px, 1fr)` : `${width}px`;
    };
    return {
      all,
      shown,
      /** For CSS: `grid-template-columns`. */
      template: shown.map(toTrack).join(" "),
      /** The minimum width of all columns together. */
      widthPxMin: shown.reduce((sum, column) => sum + (widthPx(column) ?? MESSAGE_PX_MIN), 0),
      isHidden: ({ id }: Column) => hidden.includes(id),
      setHidden: ({ id }: Column, isHidden: boolean) => {
        const others = hidden.filter((name) => name !== id);
        setHidden(isHidden ? [...others, id] : others);
      },
      widthPx,
      setWidthPx: ({ id }: Column, width: number) =>
        setWidths({ ...widths, [id]: Math.round(width) }),
    };
  }, [all, hidden, setHidden, widths, setWidths, isNarrow]);
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

export function ColumnHeader({ columns }: { readonly columns: PanelColumns }) {
  return (
    <div className="column-header" role="row">
      {columns.shown.map((column) => {
        const name = TEXTS.columns.names[column.id];
        const widthPx = columns.widthPx(column);
        return (
          <div key={column.id} className="cell" role="columnheader">
            <span className="column-name">{name}</span>
            {widthPx !== undefined && (
              <Separator
                className="column-edge"
                label={TEXTS.columns.widthOf(name)}
                value={widthPx}
                min={COLUMN_PX_MIN}
                max={COLUMN_PX_MAX}
                step={RESIZE_STEP_PX}
                onChange={(next) => columns.setWidthPx(column, next)}
              />
            )}
          </div>
        );
      })}
    </div>
  );
}

/** Shows and hides columns. */
export function ColumnMenu({ columns }: { readonly columns: PanelColumns }) {
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: PointerEvent): void => {
      if (!menu.current?.contains(target as Node)) menu.current?.removeAttribute("open");
    };
    document.addEventListener("pointerdown", close);
    return () => document.removeEventListener("pointerdown", close);
  }, []);
  return (
    <details
      ref={menu}
      className="menu"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !menu.current?.open) return;
        event.stopPropagation();
        menu.current.open = false;
        menu.current.querySelector("summary")?.focus();
      }}
    >
      <summary>{TEXTS.columns.menu}</summary>
      <div className="menu-items floating">
        {columns.all
          .filter((column) => column !== message)
          .map((column) => (
            <label key={column.id}>
              <input
                type="checkbox"
                checked={!columns.isHidden(column)}
                onChange={({ target }) => columns.setHidden(column, !target.checked)}
              />
              {TEXTS.columns.names[column.id]}
            </label>
          ))}
      </div>
    </details>
  );
}

const INSTANCE_FIELD = "instance_id";

function instanceText({ type, data }: Envelope): string {
  const id = type === "audit_log" ? data.metadata?.[INSTANCE_FIELD] : undefined;
  return id === undefined ? "" : valueText(id);
}

function callSiteText({ type, data }: Envelope): string {
  if (type !== "system_log" || data.line === 0) return "";
  return `${data.module}.${data.function}:${data.line}`;
}

const FIELDS_WITH_COLUMNS = new Set([
  "timestamp",
  "level",
  "logger",
  "message",
  "module",
  "function",
  "line",
  "action",
  "metadata",
]);

const VALUE_CHARACTERS_MAX = 200;

/** Returns all other fields as `name=value`. */
function fieldsText({ type, data }: Envelope): string {
  const extras = Object.entries(data).filter(([name]) => !FIELDS_WITH_COLUMNS.has(name));
  const metadata = type === "audit_log" ? Object.entries(data.metadata ?? {}) : [];
  const others = metadata.filter(([name]) => name !== INSTANCE_FIELD);
  return [...extras, ...others].map(([name, value]) => `${name}=${valueText(value)}`).join(" ");
}

function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.slice(0, VALUE_CHARACTERS_MAX);
}
