import type { JsonValue } from "../../wire/envelope.ts";
import type { LogEntry, MissingRange } from "../../client/index.ts";

/** Stands where records are missing. */
export interface GapRow {
  readonly gap: MissingRange;
}

/** Stands where the gateway has given out sequences anew: what they meant before was never stored, and is not shown. */
export interface ResetRow {
  readonly reset: { readonly from: number; readonly to: number; readonly reason: string };
}

/** One line of a panel. */
export type Row = LogEntry | GapRow | ResetRow;

export function isEntry(row: Row): row is LogEntry {
  return "envelope" in row;
}

export function isGap(row: Row): row is GapRow {
  return "gap" in row;
}

export function firstSequence(row: Row): number {
  if (isEntry(row)) return row.sequence;
  return isGap(row) ? row.gap.from : row.reset.from;
}

/** The list goes on behind it. */
export function lastSequence(row: Row): number {
  if (isEntry(row)) return row.sequence;
  return isGap(row) ? row.gap.to : row.reset.from - 1;
}

/** What every row takes beside its texts, about as many characters. */
const ROW_WEIGHT = 200;

/** About how many characters of memory a row holds: one record can have a megabyte. */
export function weightOf(row: Row): number {
  return ROW_WEIGHT + (isEntry(row) ? weightOfValue(row.envelope.data as unknown as JsonValue) : 0);
}

function weightOfValue(value: JsonValue): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 1;
  let weight = 0;
  for (const inner of Object.values(value)) weight += 16 + weightOfValue(inner);
  return weight;
}

/** Records and what is missing between them, by sequence. */
export function inOrder(entries: readonly LogEntry[], gaps: readonly MissingRange[]): Row[] {
  const rows: Row[] = [...entries, ...gaps.map((gap) => ({ gap }))];
  return rows.toSorted((one, other) => firstSequence(one) - firstSequence(other));
}
