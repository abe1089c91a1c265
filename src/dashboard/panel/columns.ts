import type { Envelope, EnvelopeType } from "../../wire/envelope.ts";

type ColumnId =
  | "time"
  | "level"
  | "logger"
  | "action"
  | "instance"
  | "message"
  | "place"
  | "fields";

export interface Column {
  readonly id: ColumnId;
  /** In pixels at first; undefined for the one that takes what is left. */
  readonly widthPx: number | undefined;
  /** Left out where the page is narrow. */
  readonly isWide?: boolean;
  /** Not shown before it is asked for. */
  readonly isExtra?: boolean;
  readonly text: (envelope: Envelope) => string;
}

/** The column that takes what the others leave. */
export const MESSAGE = "message";

export const COLUMN_PX_MIN = 40;
export const COLUMN_PX_MAX = 900;

/** In the viewer's own zone. */
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
const message: Column = { id: MESSAGE, widthPx: undefined, text: ({ data }) => data.message };
const fields: Column = { id: "fields", widthPx: 240, isWide: true, text: fieldsText };

const COLUMNS: Record<EnvelopeType, readonly Column[]> = {
  system_log: [
    time,
    level,
    logger,
    message,
    { id: "place", widthPx: 170, isWide: true, isExtra: true, text: placeText },
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
    { ...logger, isExtra: true },
    message,
    fields,
  ],
};

export function columnsOf(lane: EnvelopeType): readonly Column[] {
  return COLUMNS[lane];
}

/** What the event happened to. */
function instanceText({ type, data }: Envelope): string {
  const id = type === "audit_log" ? data.metadata?.[INSTANCE] : undefined;
  return id === undefined ? "" : valueText(id);
}

/** Where it was logged. */
function placeText({ type, data }: Envelope): string {
  if (type !== "system_log" || data.line === 0) return "";
  return `${data.module}.${data.function}:${data.line}`;
}

const SHOWN_ELSEWHERE = new Set([
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

/** An audit event's has a column. */
const INSTANCE = "instance_id";

/** No cell shows more of a value. */
const VALUE_CHARACTERS_MAX = 200;

/** All other fields as `name=value`. */
function fieldsText({ type, data }: Envelope): string {
  const extras = Object.entries(data).filter(([name]) => !SHOWN_ELSEWHERE.has(name));
  const metadata = type === "audit_log" ? Object.entries(data.metadata ?? {}) : [];
  const others = metadata.filter(([name]) => name !== INSTANCE);
  return [...extras, ...others].map(([name, value]) => `${name}=${valueText(value)}`).join(" ");
}

function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.slice(0, VALUE_CHARACTERS_MAX);
}
