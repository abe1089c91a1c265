import { useSyncExternalStore } from "react";
import { ENVELOPE_TYPES, LEVELS, type EnvelopeType, type Level } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import { joinQueries } from "../../wire/query/edit.ts";
import { problemOfQuery } from "../../wire/query/parse.ts";

/** What the dashboard shows, as its address says. */
export interface View {
  /** In the filter language. */
  readonly q: string;
  /** Levels that are switched off. */
  readonly hidden: readonly Level[];
  readonly range: TimeRange;
  /** The sequence of the record in the details pane. */
  readonly record: number | undefined;
  /** The epoch of the journal in which the record, or the time range, was chosen; undefined if a link has none. */
  readonly epoch?: string | undefined;
  /** The panel that keys act on, and that a narrow page shows. */
  readonly panel: EnvelopeType | undefined;
}

/** Either the last minutes, or everything within the bounds. */
export type TimeRange = { readonly lastMinutes: number } | TimeBounds;

/** In ms since 1970. `sinceMs` is inclusive, `untilMs` exclusive; undefined means unbounded. */
export interface TimeBounds {
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

/** Shows everything. */
export const DEFAULT_VIEW: View = {
  q: "",
  hidden: [],
  range: {},
  record: undefined,
  epoch: undefined,
  panel: undefined,
};

/** Parses the query of an address. Invalid parameters are ignored. */
export function parseView(search: string): View {
  const parameters = new URLSearchParams(search);
  const hidden = new Set(parameters.get("hide")?.split(","));
  return {
    q: parameters.get("q") ?? "",
    hidden: LEVELS.filter((level) => hidden.has(level)),
    range: parseRange(parameters),
    record: parsePositive(parameters.get("record")),
    epoch: parameters.get("epoch") || undefined,
    panel: ENVELOPE_TYPES.find((type) => type === `${parameters.get("panel")}_log`),
  };
}

function parseRange(parameters: URLSearchParams): TimeRange {
  const lastMinutes = parsePositive(parameters.get("last"));
  if (lastMinutes !== undefined) return { lastMinutes };
  return {
    sinceMs: parseTime(parameters.get("since")),
    untilMs: parseTime(parameters.get("until")),
  };
}

function parsePositive(text: string | null): number | undefined {
  const number = Number(text);
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}

function parseTime(text: string | null): number | undefined {
  const ms = Date.parse(text ?? "");
  return ms >= 0 ? ms : undefined;
}

/** Returns the query of the view's address; other parameters of `search` are retained. */
export function formatView(view: View, search = ""): string {
  const { q, hidden, range, record, epoch, panel } = view;
  const query = new URLSearchParams(search);
  const bounds = "lastMinutes" in range ? {} : range;
  const parameters: Record<string, string | undefined> = {
    q,
    hide: hidden.join(","),
    last: "lastMinutes" in range ? String(range.lastMinutes) : "",
    since: formatTime(bounds.sinceMs),
    until: formatTime(bounds.untilMs),
    record: record === undefined ? "" : String(record),
    epoch,
    panel: panel?.replace("_log", ""),
  };
  for (const [name, value] of Object.entries(parameters)) {
    query.delete(name);
    if (value) query.set(name, value);
  }
  return query.toString();
}

function formatTime(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** Views with the same key show the same records. */
export function filterKey({ q, hidden, range }: View): string {
  return formatView({ ...DEFAULT_VIEW, q, hidden, range });
}

/** True for the last minutes: records leave the range as time passes. */
export function isSliding(range: TimeRange): boolean {
  return "lastMinutes" in range;
}

function hasBounds(range: TimeRange): boolean {
  return !isSliding(range) && Object.values(range).some((bound) => bound !== undefined);
}

export function toBounds(range: TimeRange, nowMs: number): TimeBounds {
  return "lastMinutes" in range ? { sinceMs: nowMs - range.lastMinutes * 60_000 } : range;
}

/** Returns the filter that the gateway applies, or rejects. */
export function toFilter({ q, hidden }: Pick<View, "q" | "hidden">): FilterQuery {
  if (!isValidFilter(q)) return { q };
  return { q: joinQueries([q, ...hidden.map((level) => `-level:=${level}`)]) };
}

/** Whether the gateway would accept this filter. */
export function isValidFilter(q: string): boolean {
  return problemOfQuery(q) === undefined;
}

/** The view that the page's address holds. The browser's back and forward buttons change it, too. */
export class ViewStore {
  readonly #listeners = new Set<() => void>();
  #view = parseAddress();
  /** The epoch of the journal that is shown, if known. */
  epoch: () => string | undefined = () => undefined;

  constructor() {
    addEventListener("popstate", () => this.#set(parseAddress()));
  }

  readonly get = (): View => this.#view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** `push` adds a step to the browser's history; `replace` changes the last one. */
  change(part: Partial<View>, step: "push" | "replace" = "push"): void {
    const view = this.#withEpoch({ ...this.#view, ...part }, part);
    const address = formatAddress(view);
    if (address === formatAddress(this.#view)) return;
    history[step === "push" ? "pushState" : "replaceState"](undefined, "", address);
    this.#set(view);
  }

  /** A record or time range that is chosen now belongs to the current journal; a view with neither has no epoch. */
  #withEpoch(view: View, part: Partial<View>): View {
    const isBound = view.record !== undefined || hasBounds(view.range);
    if (!isBound) return { ...view, epoch: undefined };
    const isChosen = part.record !== undefined || (part.range && view.record === undefined);
    return isChosen ? { ...view, epoch: this.epoch() } : view;
  }

  #set(view: View): void {
    this.#view = view;
    for (const listener of this.#listeners) listener();
  }
}

/** Links have the epoch among their parameters; the page's own address has it in the fragment. */
function parseAddress(): View {
  const view = parseView(location.search);
  const epoch = new URLSearchParams(location.hash.slice(1)).get("epoch") || undefined;
  return { ...view, epoch: view.epoch ?? epoch };
}

/** The epoch goes into the fragment, because it is not part of what the user asked for, unlike the parameters. */
function formatAddress(view: View): string {
  const { epoch } = view;
  const search = formatView({ ...view, epoch: undefined }, location.search);
  const path = search === "" ? location.pathname : `?${search}`;
  return epoch === undefined ? path : `${path}#${new URLSearchParams({ epoch })}`;
}

export function useView(views: ViewStore): View {
  return useSyncExternalStore(views.subscribe, views.get);
}
