import type { HistoryPage, LogEntry, LogHistory } from "../../client/index.ts";
import type { JsonValue } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { TimeBounds } from "../session/view.ts";

/** The gateway's maximum. */
const PAGE_RECORDS = 1000;

export interface ExportProgress {
  readonly records: number;
  /** Sequences that the journal should have but does not. */
  readonly missing: number;
}

interface ExportOptions {
  readonly history: Pick<LogHistory, "page">;
  readonly filter: FilterQuery;
  readonly bounds: TimeBounds;
  readonly format: ExportFormat;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: ExportProgress) => void;
}

/**
 * Returns a file with all records of the journal that match, oldest first. Each page becomes a blob, which the browser
 * can keep on disk, so that memory does not grow with the export.
 * @throws the signal's reason, or {@link HistoryError}
 */
export async function exportRecords(options: ExportOptions): Promise<Blob> {
  const { history, filter, bounds, format, signal, onProgress } = options;
  const { sinceMs: since, untilMs: until } = bounds;
  const query = { filter, order: "asc", since, until, limit: PAGE_RECORDS, signal } as const;
  const parts: Blob[] = [new Blob([format.head])];
  let [records, missing] = [0, 0];
  let cursor: string | undefined;
  do {
    const page: HistoryPage = await history.page({ ...query, cursor });
    signal.throwIfAborted();
    if (page.entries.length > 0) parts.push(new Blob([format.text(page.entries, records === 0)]));
    records += page.entries.length;
    missing += page.gaps.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    onProgress({ records, missing });
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return new Blob([...parts, format.tail], { type: format.type });
}

/** Downloads a file; its name has the current time. */
export function saveFile(file: Blob, extension: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `tailgate-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${extension}`;
  link.click();
  // The browser has started to read the file by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

interface ExportFormat {
  /** The media type. */
  readonly type: string;
  readonly head: string;
  /** `isFirst`: these are the first records of the file. */
  readonly text: (entries: readonly LogEntry[], isFirst: boolean) => string;
  readonly tail: string;
}

/** Spreadsheets take a cell that starts with one of these for a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/** By file extension. */
export const EXPORT_FORMATS = {
  json: {
    type: "application/json",
    head: "[\n",
    text: (entries, isFirst) =>
      entries.map((entry, index) => (isFirst && index === 0 ? "" : ",\n") + toJson(entry)).join(""),
    tail: "\n]\n",
  },
  ndjson: {
    type: "application/x-ndjson",
    head: "",
    text: (entries) => entries.map((entry) => `${toJson(entry)}\n`).join(""),
    tail: "",
  },
  csv: {
    type: "text/csv;charset=utf-8",
    head: "sequence,type,timestamp,level,logger,action,message,fields\r\n",
    text: (entries) => entries.map((entry) => csvRow(toCells(entry))).join(""),
    tail: "",
  },
} as const satisfies Record<string, ExportFormat>;

/** Returns a record as /api/logs does. */
function toJson({ sequence, envelope }: LogEntry): string {
  return JSON.stringify({ sequence, ...envelope });
}

function toCells({ sequence, envelope }: LogEntry): string[] {
  const { timestamp, level, logger, message, action, ...fields } = envelope.data as {
    readonly [name: string]: JsonValue;
  };
  const texts = [timestamp, level, logger, action ?? "", message].map(toText);
  return [String(sequence), envelope.type, ...texts, JSON.stringify(fields)];
}

function toText(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** RFC 4180. Prefixes formulas with an apostrophe, so that a log record cannot run code in a spreadsheet. */
export function csvRow(cells: readonly string[]): string {
  return `${cells.map((cell) => csvCell(FORMULA.test(cell) ? `'${cell}` : cell)).join(",")}\r\n`;
}

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
