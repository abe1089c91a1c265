import type { JsonValue } from "../../wire/envelope.ts";
import type { LogEntry } from "../../client/index.ts";

/** A kind of file, written piece by piece. */
export interface ExportFormat {
  readonly type: string;
  readonly head: string;
  /** `isFirst`: no record is before them. */
  readonly text: (entries: readonly LogEntry[], isFirst: boolean) => string;
  readonly tail: string;
}

/** What a spreadsheet would take for a formula begins with one of these. */
const FORMULA = /^[=+\-@\t\r]/;

const CSV_COLUMNS = [
  "sequence",
  "type",
  "timestamp",
  "level",
  "logger",
  "action",
  "message",
  "fields",
];

export const EXPORT_FORMATS = {
  json: {
    type: "application/json",
    head: "[\n",
    text: (entries, isFirst) =>
      entries.map((entry, index) => (isFirst && index === 0 ? "" : ",\n") + lineOf(entry)).join(""),
    tail: "\n]\n",
  },
  ndjson: {
    type: "application/x-ndjson",
    head: "",
    text: (entries) => entries.map((entry) => `${lineOf(entry)}\n`).join(""),
    tail: "",
  },
  csv: {
    type: "text/csv;charset=utf-8",
    head: csvRow(CSV_COLUMNS),
    text: (entries) => entries.map((entry) => csvRow(cellsOf(entry))).join(""),
    tail: "",
  },
} as const satisfies Record<string, ExportFormat>;

/** As /api/logs gives it. */
function lineOf({ sequence, envelope }: LogEntry): string {
  return JSON.stringify({ sequence, ...envelope });
}

function cellsOf({ sequence, envelope }: LogEntry): string[] {
  const { timestamp, level, logger, message, action, ...fields } = envelope.data as {
    readonly [name: string]: JsonValue;
  };
  const texts = [timestamp, level, logger, action ?? "", message].map(textOf);
  return [String(sequence), envelope.type, ...texts, JSON.stringify(fields)];
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** RFC 4180, with an apostrophe before what would be a formula: whoever writes a log must not write the sheet. */
export function csvRow(cells: readonly string[]): string {
  return `${cells.map((cell) => csvCell(FORMULA.test(cell) ? `'${cell}` : cell)).join(",")}\r\n`;
}

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
