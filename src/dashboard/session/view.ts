import { ENVELOPE_TYPES, LEVELS, type EnvelopeType, type Level } from "../../wire/envelope.ts";
import { parseFilter, type FilterQuery } from "../../wire/filter.ts";

/** What the page shows, as its address says. */
export interface View {
  /** In the filter language. */
  readonly q: string;
  /** Levels that are switched off. */
  readonly hidden: readonly Level[];
  readonly range: TimeRange;
  /** The sequence of the record in the details pane. */
  readonly record: number | undefined;
  /** Of the journal that the record, or the chosen time, was seen in; undefined where a link does not say. */
  readonly epoch?: string | undefined;
  /** The one that keys work on, and that a narrow page shows. */
  readonly panel: EnvelopeType | undefined;
}

/** The last so many minutes, or from a moment to another in ms since 1970, each of which may be missing. */
export type TimeRange =
  | { readonly lastMinutes: number }
  | { readonly sinceMs?: number | undefined; readonly untilMs?: number | undefined };

export const WHOLE_VIEW: View = {
  q: "",
  hidden: [],
  range: {},
  record: undefined,
  epoch: undefined,
  panel: undefined,
};

/** What is not valid in an address counts as absent. */
export function viewOf(search: string): View {
  const given = new URLSearchParams(search);
  const hidden = new Set(given.get("hide")?.split(","));
  const record = wholeNumber(given.get("record"));
  return {
    q: given.get("q") ?? "",
    hidden: LEVELS.filter((level) => hidden.has(level)),
    range: rangeIn(given),
    record,
    epoch: given.get("epoch") || undefined,
    panel: ENVELOPE_TYPES.find((type) => type === `${given.get("panel")}_log`),
  };
}

function rangeIn(given: URLSearchParams): TimeRange {
  const lastMinutes = wholeNumber(given.get("last"));
  if (lastMinutes !== undefined) return { lastMinutes };
  return { sinceMs: timeIn(given.get("since")), untilMs: timeIn(given.get("until")) };
}

function wholeNumber(text: string | null): number | undefined {
  const number = Number(text);
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}

function timeIn(text: string | null): number | undefined {
  const ms = Date.parse(text ?? "");
  return ms >= 0 ? ms : undefined;
}

/** The part of the address behind `?`; what is not of the view stays. */
export function searchOf(view: View, search = ""): string {
  const { q, hidden, range, record, epoch, panel } = view;
  const given = new URLSearchParams(search);
  const times = "lastMinutes" in range ? {} : range;
  const parameters: Record<string, string | undefined> = {
    q,
    hide: hidden.join(","),
    last: "lastMinutes" in range ? String(range.lastMinutes) : "",
    since: timeText(times.sinceMs),
    until: timeText(times.untilMs),
    record: record === undefined ? "" : String(record),
    epoch,
    panel: panel?.replace("_log", ""),
  };
  for (const [name, value] of Object.entries(parameters)) {
    given.delete(name);
    if (value) given.set(name, value);
  }
  return given.toString();
}

function timeText(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** In ms since 1970; the second is the first moment that no longer counts. */
export interface TimeBounds {
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

/** The same records for two views with the same key. */
export function filterKey({ q, hidden, range }: View): string {
  return searchOf({ ...WHOLE_VIEW, q, hidden, range });
}

/** True for a range that moves on with the time: what is in it leaves it again. */
export function isSliding(range: TimeRange): boolean {
  return "lastMinutes" in range;
}

/** True for a range from a moment or to one. */
export function hasBounds(range: TimeRange): boolean {
  return !isSliding(range) && Object.values(range).some((bound) => bound !== undefined);
}

export function boundsOf(range: TimeRange, nowMs: number): TimeBounds {
  return "lastMinutes" in range ? { sinceMs: nowMs - range.lastMinutes * 60_000 } : range;
}

/** What the gateway is asked for. */
export function filterOf({ q, hidden }: Pick<View, "q" | "hidden">): FilterQuery {
  const terms = [q, ...hidden.map((level) => `-level:=${level}`)];
  return { q: terms.filter((term) => term.trim() !== "").join(" ") };
}

/** Why the gateway would not take this text, in words; "" where it would. */
export function problemOf(q: string): string {
  try {
    parseFilter({ q });
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
