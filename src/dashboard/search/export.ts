import type { FilterQuery } from "../../wire/filter.ts";
import type { ExportFormat } from "./export-format.ts";
import type { HistoryPage, LogHistory } from "../../client/index.ts";
import type { TimeBounds } from "../session/view.ts";

/** As many as the gateway gives at once. */
const PAGE_RECORDS = 1000;

export interface ExportProgress {
  readonly records: number;
  /** Sequences that the journal should have and does not. */
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
 * All records of the journal that match, the oldest first, as a file. Each page becomes a part of the file and is
 * forgotten: the parts are the browser's, which keeps large ones on disk.
 * @throws the signal's reason, or what the history says
 */
export async function exportRecords(options: ExportOptions): Promise<Blob> {
  const { history, filter, bounds, format, signal, onProgress } = options;
  const { sinceMs: since, untilMs: until } = bounds;
  const parts: Blob[] = [new Blob([format.head])];
  let [records, missing] = [0, 0];
  let place: { readonly cursor?: string } | undefined = {};
  do {
    const range = { since, until, limit: PAGE_RECORDS };
    const page: HistoryPage = await history.page({
      filter,
      order: "asc",
      signal,
      ...range,
      ...place,
    });
    signal.throwIfAborted();
    if (page.entries.length > 0) parts.push(new Blob([format.text(page.entries, records === 0)]));
    records += page.entries.length;
    missing += page.gaps.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    onProgress({ records, missing });
    place = page.nextCursor === null ? undefined : { cursor: page.nextCursor };
  } while (place);
  return new Blob([...parts, format.tail], { type: format.type });
}

/** Lets the browser save it, under a name that says when it was made. */
export function saveFile(file: Blob, extension: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `tailgate-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${extension}`;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
