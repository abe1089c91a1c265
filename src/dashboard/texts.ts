import type { EnvelopeType } from "../wire/envelope.ts";
import type { MissingRange } from "../client/index.ts";

const NUMBER = new Intl.NumberFormat("en");

/** A number as it is read: `12,345`. */
function numberText(value: number): string {
  return NUMBER.format(value);
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

/** Where a stretch of time begins and ends: by the clock within a day, else with what tells the days apart. */
function endsText(fromMs: number, toMs: number): [from: string, to: string] {
  const [from, to] = [new Date(fromMs), new Date(toMs)];
  if (DAY.format(from) === DAY.format(to)) return [CLOCK.format(from), CLOCK.format(to)];
  const format = from.getFullYear() === to.getFullYear() ? DAY_AND_CLOCK : DAY;
  return [format.format(from), format.format(to)];
}

function records(count: number): string {
  return count === 1 ? "1 record" : `${numberText(count)} records`;
}

const DURATION_UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
] as const;

/** A time span as it is read: `12 s`, `3 min`. */
function duration(ms: number): string {
  const [unit, unitMs] = DURATION_UNITS.find(([, size]) => ms >= size) ?? DURATION_UNITS.at(-1)!;
  return `${numberText(Math.floor(ms / unitMs))} ${unit}`;
}

function range(from: number, to: number): string {
  return from === to ? `no. ${from}` : `no. ${from} to ${to}`;
}

function events(count: number): string {
  return count === 1 ? "1 event" : `${numberText(count)} events`;
}

/** In how much of the journal was counted. */
interface Extent {
  readonly looked: number;
  readonly extent: "counting" | "part" | "all";
}

function extentText({ looked, extent }: Extent): string {
  if (extent === "all") return "in the whole journal";
  const newest = `in the newest ${numberText(looked)} records`;
  return extent === "part" ? newest : `${newest} so far`;
}

/** "" if there are none. */
function outliersText({ before, after }: { before: number; after: number }): string {
  const parts = [
    before > 0 ? `${numberText(before)} earlier` : "",
    after > 0 ? `${numberText(after)} later` : "",
  ];
  const text = parts.filter((part) => part !== "").join(", ");
  return text === "" ? "" : `not shown: ${text}`;
}

type Counts = Readonly<Record<"received" | "shown" | "filtered" | "buffered", number>>;

/** Why what a link leads to is not shown. */
interface LinkProblem {
  /** Undefined for a link to a time. */
  readonly record: number | undefined;
  readonly reason: "journal" | "absent" | MissingRange["reason"];
}

function linkProblemText({ record, reason }: LinkProblem): string {
  if (record === undefined) {
    return "This link is from another journal. What is shown here is from this one.";
  }
  switch (reason) {
    case "journal":
      return `Record ${record} belongs to another journal: this gateway had another log directory or lost its journal since the link was made.`;
    case "retention":
      return `Record ${record} has expired: the retention policy deleted it.`;
    case "not_stored":
      return `Record ${record} was never stored: the gateway ended before it was on the disk.`;
    case "damaged":
      return `Record ${record} cannot be read: the journal is damaged there.`;
    default:
      return `There is no record ${record} in this journal.`;
  }
}

/** All that the page says, in one place. */
export const TEXTS = {
  title: "Tailgate",
  panels: { system_log: "System", audit_log: "Audit" } satisfies Record<EnvelopeType, string>,
  lists: {
    system_log: "System logs, newest last",
    audit_log: "Audit events, newest last",
  } satisfies Record<EnvelopeType, string>,
  tabs: "Panels",
  divider: "Width of the system panel",

  number: numberText,

  filter: {
    form: "Filter",
    query: "Filter by text, logger, action or field",
    placeholder: 'text, "a phrase", -not, level:ERROR, logger:NAME, field:value',
    completions: "What the word can become",
    apply: "Search",
    none: "Clear filter",
    levels: "Levels that are shown",
    levelHint: "Shows or hides this level; the number is of the records that match",
    levelOff: "off",
  },
  pause: "Pause",
  resume: "Resume",
  clear: "Clear",
  close: "Close",
  findingBar: "Levels and times",
  time: {
    label: "Time",
    all: "All time",
    last: (minutes: number) => `Last ${minutes} minutes`,
    custom: "From … to …",
    since: "From",
    until: "To",
    apply: "Set",
  },
  histogram: {
    label: (from: string, to: string) => `Records that match, by level, from ${from} to ${to}`,
    hint: "Matching records by level, on a log scale: the top of each color is the count of that level and above. Drag to choose a time.",
    ends: endsText,
    extent: extentText,
    outliers: outliersText,
    outliersHint:
      "Not in the chart: records whose time is years before all others, or more than a day ahead of the gateway's clock. A custom time shows them.",
  },
  facets: {
    button: "Facets",
    title: "Facets",
    counting: "Counting",
    hint: (counted: Extent) => `Counted ${extentText(counted)}.`,
    none: "None",
    names: { logger: "Logger", action: "Action", instance_id: "Instance", service: "Service" },
  },
  views: {
    button: "Views",
    title: "Saved views",
    none: "None yet. A view is the filter, the levels and the time; it is saved in this browser.",
    name: "Name of the present view",
    save: "Save",
    remove: (name: string) => `Delete ${name}`,
  },
  export: {
    button: "Export",
    title: "Export records",
    all: "All records of the journal, the oldest first.",
    filtered: "All records of the journal that match the filter and the time, the oldest first.",
    format: "Format",
    formats: { json: "JSON", ndjson: "NDJSON, a record a line", csv: "CSV, for spreadsheets" },
    save: "Save as a file",
    cancel: "Cancel",
    progress: ({ records: found, missing }: { records: number; missing: number }) =>
      missing === 0
        ? `${records(found)}.`
        : `${records(found)}; ${numberText(missing)} are missing in the journal.`,
    done: "Saved.",
    cancelled: "Cancelled; nothing was saved.",
    failed: (reason: string) => `Nothing was saved: ${reason}`,
  },
  help: {
    button: "Keys and filters",
    title: "Keys and filters",
    keys: "Keys",
    language: "Filters: all terms must hold",
    shortcuts: [
      { keys: ["/"], does: "search" },
      { keys: ["j", "k"], does: "next and previous record" },
      { keys: ["Enter"], does: "show all of the record" },
      { keys: ["Esc"], does: "close what was opened" },
      { keys: ["p"], does: "pause, go on" },
      { keys: ["f"], does: "follow the newest" },
      { keys: ["g"], does: "to the oldest that is loaded" },
      { keys: ["G"], does: "to the newest" },
      { keys: ["[", "]"], does: "to the system panel, to the audit panel" },
      { keys: ["?"], does: "show this" },
    ],
    terms: [
      { term: 'timeout, "a phrase"', finds: "the text, in any value, in any case" },
      { term: "level:WARNING", finds: "that level or a more severe one" },
      { term: "level:=WARNING", finds: "that level alone" },
      { term: "logger:a.b", finds: "that logger or one below it" },
      { term: "type:audit", finds: "audit events alone; type:system the others" },
      { term: "action:NAME", finds: "audit events of that action" },
      { term: "details.role:worker", finds: "any other field, or that text" },
      { term: "-heartbeat", finds: "what does not match the term" },
    ],
  },
  theme: {
    label: "Colours",
    system: "As the system",
    dark: "Dark",
    light: "Light",
  },

  columns: {
    menu: "Columns",
    time: "Time",
    level: "Level",
    logger: "Logger",
    action: "Action",
    instance: "Instance",
    message: "Message",
    place: "Place",
    fields: "Fields",
    widthOf: (name: string) => `Width of ${name}`,
  },

  state: {
    connecting: "connecting",
    "catching-up": "catching up",
    live: "live",
    waiting: "not connected",
    polling: "live over plain requests",
    closed: "closed",
    paused: "paused",
    retry: (seconds: number) => `next try in ${seconds} s`,
  },
  list: {
    empty: "No record matches yet.",
    loading: "Loading older records",
    beginning: "The journal begins here.",
    start: "The chosen time begins here.",
    noOlder: "No older record matches.",
    cleared: "Cleared.",
    showCleared: "Show earlier records",
    newest: (count: number) => (count === 0 ? "To the newest" : `${numberText(count)} new`),
    waiting: (count: number) => `${numberText(count)} waiting`,
    trouble: (reason: string) => `The journal could not be read: ${reason}`,
  },
  gap: {
    text: ({ from, to, reason, text = GAP_REASONS[reason] }: MissingRange) =>
      reason === "unknown"
        ? `Records may be missing: ${text}`
        : `${records(to - from + 1)} missing (${range(from, to)}): ${text}`,
    reset: ({ from, to, reason }: { from: number; to: number; reason: string }) =>
      `${records(to - from + 1)} taken back (${range(from, to)}): ${reason}`,
    load: "Load",
    loading: "Loading",
  },

  details: {
    title: "Record",
    close: "Close",
    context: "Show around it",
    copyJson: "Copy as JSON",
    copyLink: "Copy link",
    copied: "Copied",
    notCopied: "The browser did not let it be copied",
    fields: "Fields",
    json: "JSON",
    stack: "Exception",
    field: "Field",
    value: "Value",
    sequence: "sequence",
  },

  related: {
    title: "What belongs to it",
    systemLines: (name: string) => `System lines of ${name}`,
    instance: (id: string) => `instance ${id}`,
    trace: (id: string) => `trace ${id.slice(0, 8)}`,
    openTrace: "Open the trace",
  },
  link: {
    problem: linkProblemText,
    close: "Dismiss",
  },
  together: {
    bar: (name: string) => `System lines of ${name}, in step with the audit events`,
    leave: "Show all again",
  },

  exporters: {
    title: "Exporters",
    well: "exporters up to date",
    upToDate: "up to date",
    behind: (name: string, count: number, lagMs: number) =>
      `${name} ${numberText(count)} behind (${duration(lagMs)})`,
    dropped: (name: string, count: number) => `${name} has given up ${records(count)}`,
    waiting: (count: number, lagMs: number) =>
      `${records(count)} behind, for ${duration(lagMs)} now; none is lost`,
    retries: (count: number) =>
      count === 1
        ? "1 write has failed; it tries again"
        : `${numberText(count)} writes have failed in a row; it tries again`,
    lost: (reason: string, count: number) =>
      `${records(count)} given up: ${DROP_REASONS[reason] ?? reason}`,
  },
  trust: {
    reconnect: "Reconnect now",
    skew: (ms: number) =>
      `this device's clock is ${duration(Math.abs(ms))} ${ms > 0 ? "behind" : "ahead of"} the gateway's`,
    skewHint: "Times of records and time ranges are by the gateway's clock.",
    title: "What can be trusted",
    more: "More",
    less: "Less",
    connected: (sinceMs: number) => `connected since ${CLOCK.format(sinceMs)}`,
    rate: (perSecond: number) =>
      `${numberText(perSecond < 10 ? Math.round(10 * perSecond) / 10 : Math.round(perSecond))} records/s`,
    lag: (ms: number) => `lag ${ms < 1000 ? `${numberText(ms)} ms` : duration(ms)}`,
    noLag: "no live record yet",
    quiet: (ms: number) => `no record for ${duration(ms)}`,
    lost: (count: number) => `lost ${numberText(count)}`,
    counts: (panel: string, { received, shown, filtered, buffered }: Counts) =>
      `${panel}: ${numberText(received)} received = ${numberText(shown)} shown + ` +
      `${numberText(filtered)} filtered + ${numberText(buffered)} buffered`,
    noChain: "no audit chain: the journal is in memory",
    unsigned: (count: number) => `audit chain: ${events(count)}, not signed yet`,
    signed: (count: number, sequence: number, ageMs: number) =>
      `audit chain: ${events(count)}, signed up to no. ${sequence}, ${duration(ageMs)} ago`,
  },
} as const;

/** Reasons of the gateway; a plugin can have others. */
const DROP_REASONS: Readonly<Record<string, string>> = {
  refused: "the other side refuses them for good; the gateway's log says where they are kept",
  rejected: "the other side took the request, but not them",
  retention: "the journal has deleted them for their age or its size",
  not_stored: "the gateway's disk did not take them",
  damaged: "they cannot be read any more",
};

const GAP_REASONS: Record<MissingRange["reason"], string> = {
  retention: "the journal has deleted them for their age or its size",
  not_stored: "the gateway's disk did not take them",
  damaged: "they cannot be read any more",
  slow: "this page was too slow for them; the journal has them",
  hole: "the gateway has left them out; the journal may have them",
  unknown: "they came while the page was not connected",
};
