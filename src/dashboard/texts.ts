import type { MissingRange } from "../client/index.ts";
import type { EnvelopeType } from "../wire/envelope.ts";
import { quotedExcerpt } from "../wire/printable.ts";
import type { QueryProblem } from "../wire/query/problem.ts";
import type { LinkProblem } from "./details/record-link.tsx";
import type { PanelCounts } from "./panel/panel-rows.ts";
import type { ResetRow } from "./panel/rows.ts";
import type { ExportProgress } from "./search/export.ts";
import type { JournalCount } from "./session/journal-counts.ts";
import type { SignInProblem } from "./sign-in/identity.ts";

/** All texts of the dashboard. Buttons start with a verb, and labels have no full stop. */
export const TEXTS = {
  title: "Tailgate",
  panels: { system_log: "System", audit_log: "Audit" } satisfies Record<EnvelopeType, string>,
  lists: {
    system_log: "System logs, newest last",
    audit_log: "Audit events, newest last",
  } satisfies Record<EnvelopeType, string>,
  tabs: "Panels",
  divider: "Resize panels",

  number: formatNumber,

  filter: {
    form: "Filter",
    query: "Search or filter",
    placeholder: "Search, or filter: level:ERROR (timeout OR refused) duration_ms:>500 -heartbeat",
    problem: ({ from, to, reason, suggestion }: QueryProblem, text: string) =>
      `${quotedExcerpt(text.slice(from, to))}: ${reason}. ${suggestion}`.trimEnd(),
    completions: "Suggestions",
    apply: "Search",
    clear: "Clear filter",
    levels: "Levels",
    levelHint: "Show or hide this level; the number is how many records match",
    levelOff: "off",
  },
  pause: "Pause",
  resume: "Resume",
  clear: "Clear",
  close: "Close",
  overview: "Overview",
  time: {
    label: "Time range",
    all: "All time",
    last: (minutes: number) => (minutes === 60 ? "Last hour" : `Last ${minutes} minutes`),
    custom: "Custom range",
    since: "From",
    until: "To",
    apply: "Apply",
  },
  histogram: {
    label: (from: string, to: string) => `Matching records by level, ${from} to ${to}`,
    hint: "Matching records by level, on a log scale: the top of each color is the count of that level and above. Drag to select a time range.",
    ends: formatEnds,
    extent: (count: CountExtent) =>
      formatExtent(count).replace(/^./, (first) => first.toUpperCase()),
    outliers: formatOutliers,
    outliersHint:
      "Records dated years before all others, or more than a day ahead of the gateway's clock. Select a custom range to see them.",
  },
  facets: {
    button: "Facets",
    title: "Facets",
    counting: "Counting",
    hint: (count: CountExtent) => `Counted in the ${formatExtent(count)}`,
    none: "None",
    names: { logger: "Logger", action: "Action", instance_id: "Instance", service: "Service" },
  },
  views: {
    button: "Views",
    title: "Saved views",
    none: "No saved views yet. A view saves the filter, levels and time range in this browser.",
    name: "Name of the current view",
    save: "Save",
    remove: (name: string) => `Delete ${name}`,
  },
  export: {
    button: "Export",
    title: "Export records",
    all: "All records in the journal, oldest first.",
    filtered: "All records in the journal that match the filter and the time range, oldest first.",
    format: "Format",
    formats: {
      json: "JSON",
      ndjson: "NDJSON (one record per line)",
      csv: "CSV (for spreadsheets)",
    },
    save: "Download",
    cancel: "Cancel",
    progress: ({ records, missing }: ExportProgress) =>
      missing === 0
        ? `${formatRecords(records)}.`
        : `${formatRecords(records)}; ${formatNumber(missing)} missing from the journal.`,
    done: "Saved.",
    cancelled: "Canceled. Nothing was saved.",
    failed: (reason: string) => `Export failed. Nothing was saved: ${reason}`,
  },
  help: {
    button: "Keyboard shortcuts and filters",
    title: "Keyboard shortcuts and filters",
    keys: "Keyboard shortcuts",
    language: "Filters (all terms must match)",
    shortcuts: [
      { keys: ["/"], action: "Search" },
      { keys: ["j", "k"], action: "Next, previous record" },
      { keys: ["Enter"], action: "Show details" },
      { keys: ["Esc"], action: "Close, leave the search box" },
      { keys: ["p"], action: "Pause, resume" },
      { keys: ["f"], action: "Follow the latest records" },
      { keys: ["g"], action: "Go to the oldest loaded record" },
      { keys: ["G"], action: "Jump to latest" },
      { keys: ["[", "]"], action: "System panel, audit panel" },
      { keys: ["?"], action: "Show this help" },
    ],
    terms: [
      { term: 'timeout, "a phrase"', matches: "That text in any value, ignoring case" },
      { term: "time*out, /time ?out/", matches: "Text with a wildcard, or a regular expression" },
      { term: "a OR b, (a OR b) c", matches: "Either term; a group" },
      { term: "-heartbeat, NOT heartbeat", matches: "Records that do not match the term" },
      { term: "level:WARNING", matches: "That level and above; level:=WARNING for only that one" },
      { term: "level:<ERROR, level:INFO..ERROR", matches: "Levels below, or from one to another" },
      {
        term: "logger:a.b, logger:a.*",
        matches: "That logger and its children; only its children",
      },
      { term: "type:audit", matches: "Audit events only; type:system for system logs" },
      {
        term: "role:worker",
        matches: 'That field value, or that text; role:"worker" for the field only',
      },
      { term: 'role:="Worker"', matches: "Exactly that value; other values match in any case" },
      {
        term: "path:/api*, error.code:*",
        matches: "Values that start like this; records with the field",
      },
      { term: "status:>=500, status:500..599", matches: "Comparison; range" },
      { term: "status:(502 OR 503)", matches: "One of several values" },
    ],
  },
  theme: {
    label: "Theme",
    system: "System",
    light: "Light",
    dark: "Dark",
  },

  columns: {
    menu: "Columns",
    names: {
      time: "Time",
      level: "Level",
      logger: "Logger",
      action: "Action",
      instance: "Instance",
      message: "Message",
      callSite: "Call site",
      fields: "Fields",
    },
    widthOf: (name: string) => `Resize ${name}`,
  },

  state: {
    connecting: "Connecting",
    "catching-up": "Catching up",
    live: "Live",
    waiting: "Disconnected",
    polling: "Live (polling)",
    unauthorized: "Signed out",
    closed: "Closed",
    paused: "Paused",
    retry: (seconds: number) => `Reconnecting in ${seconds} s`,
    limited: (filter: string) => `Your access is limited to ${filter}`,
  },
  list: {
    empty: "Waiting for the first record",
    noMatch: {
      system_log: "No system logs match. Try removing a condition",
      audit_log: "No audit events match. Try removing a condition",
    } satisfies Record<EnvelopeType, string>,
    loading: "Loading older records",
    journalStart: "Start of the journal",
    rangeStart: "Start of the time range",
    noOlder: "No older records match",
    cleared: "Cleared",
    showCleared: "Show earlier records",
    jumpToLatest: (count: number) =>
      count === 0 ? "Jump to latest" : formatCount(count, "new record"),
    failed: (reason: string) => `Cannot read the journal: ${reason}`,
  },
  gap: {
    text: ({ from, to, reason, text = GAP_REASONS[reason] }: MissingRange) =>
      reason === "unknown"
        ? `Records may be missing: ${text}`
        : `${formatRecords(to - from + 1)} missing (${formatRange(from, to)}): ${text}`,
    reset: ({ from, to, reason }: ResetRow["reset"]) =>
      `${formatRecords(to - from + 1)} withdrawn (${formatRange(from, to)}): ${reason}`,
    load: "Load",
    loading: "Loading",
  },

  details: {
    title: "Record",
    context: "Show in context",
    copyJson: "Copy as JSON",
    copyLink: "Copy link",
    copied: "Copied",
    notCopied: "Copy failed",
    fields: "Fields",
    json: "JSON",
    stack: "Exception",
    field: "Field",
    value: "Value",
    sequence: "sequence",
  },

  related: {
    title: "Related records",
    systemLogs: (name: string) => `System logs of ${name}`,
    instance: (id: string) => `instance ${id}`,
    trace: (id: string) => `trace ${id.slice(0, 8)}`,
    openTrace: "Open trace",
  },
  correlation: {
    bar: (name: string) => `System logs of ${name}, synchronized with the audit events`,
    leave: "Back to results",
  },
  link: {
    problem: formatLinkProblem,
    close: "Dismiss",
  },

  signIn: {
    title: "Sign in to Tailgate",
    token: "Token",
    placeholder: "tgw_...",
    button: "Sign in",
    busy: "Signing in",
    hint: "An administrator of this gateway creates tokens:",
    command: "tailgate token create --name NAME --scope read",
    ended: "Your session has ended. Sign in to continue where you left off.",
    problem: formatSignInProblem,
  },
  account: {
    button: (principal: string) => `Signed in as ${principal}`,
    principal: "Signed in as",
    scopes: "Scopes",
    filter: "Filter",
    expires: "Until",
    time: (ms: number) => DAY_AND_CLOCK.format(ms),
    sessions: "Sessions",
    signOut: "Sign out",
  },
  sessions: {
    title: "Sessions",
    none: "Nobody is signed in with a browser.",
    current: "this browser",
    from: (address: string, browser: string) => `${browser} at ${address}`,
    times: (createdMs: number, usedMs: number) =>
      `Signed in ${DAY_AND_CLOCK.format(createdMs)}, last used ${DAY_AND_CLOCK.format(usedMs)}`,
    end: "End",
    endOf: (principal: string) => `End the session of ${principal}`,
  },
  noAccess: {
    title: {
      system_log: "No access to system logs",
      audit_log: "No access to audit events",
    } satisfies Record<EnvelopeType, string>,
    text: (principal: string, scope: string) => `${principal} lacks the scope ${scope}.`,
  },

  exporters: {
    title: "Exporters",
    healthy: "Exporters up to date",
    lagging: (name: string, count: number, lagMs: number) =>
      `${name}: ${formatRecords(count)} behind (${formatDuration(lagMs)})`,
    dropped: (name: string, count: number) => `${name}: ${formatRecords(count)} dropped`,
    upToDate: "Up to date",
    queued: (count: number, lagMs: number) =>
      `${formatRecords(count)} behind (${formatDuration(lagMs)}), none lost`,
    retries: (count: number) =>
      count === 1
        ? "1 failed write, retrying"
        : `${formatNumber(count)} consecutive failed writes, retrying`,
    droppedFor: (reason: string, count: number) =>
      `${formatRecords(count)} dropped: ${DROP_REASONS[reason] ?? reason}`,
  },
  status: {
    title: "Status",
    connected: (sinceMs: number) => `Connected since ${CLOCK.format(sinceMs)}`,
    reconnect: "Reconnect now",
    skew: (ms: number) =>
      `This device's clock is ${formatDuration(Math.abs(ms))} ${ms > 0 ? "behind" : "ahead of"} the gateway's`,
    skewHint: "Timestamps and time ranges use the gateway's clock",
    rate: (perSecond: number) =>
      `${formatNumber(perSecond < 10 ? Math.round(10 * perSecond) / 10 : Math.round(perSecond))} records/s`,
    lag: (ms: number) => `Lag ${ms < 1000 ? `${formatNumber(ms)} ms` : formatDuration(ms)}`,
    noLag: "No live records yet",
    quiet: (ms: number) => `No records for ${formatDuration(ms)}`,
    missing: (count: number) => `${formatNumber(count)} missing`,
    counts: (panel: string, { received, shown, filtered, buffered }: PanelCounts) =>
      `${panel}: ${formatNumber(received)} received = ${formatNumber(shown)} shown + ` +
      `${formatNumber(filtered)} filtered + ${formatNumber(buffered)} buffered`,
    noChain: "No audit chain: the journal is in memory",
    unsigned: (count: number) => `Audit chain: ${formatCount(count, "event")}, not signed yet`,
    signed: (count: number, sequence: number, ageMs: number) =>
      `Audit chain: ${formatCount(count, "event")}, signed up to sequence ${formatNumber(sequence)}, ${formatDuration(ageMs)} ago`,
    more: "More",
    less: "Less",
  },
} as const;

const GAP_REASONS: Record<MissingRange["reason"], string> = {
  retention: "expired by the retention policy",
  not_stored: "the gateway could not write them to disk",
  damaged: "the journal is damaged there",
  slow: "this page was lagging; the journal has them",
  hole: "the gateway did not deliver them; the journal may have them",
  unknown: "this page was disconnected",
};

/** The gateway's own reasons; plugins may have others. */
const DROP_REASONS: Readonly<Record<string, string>> = {
  refused: "rejected by the destination; the gateway's log names the dead-letter file",
  rejected: "the destination accepted the request without them",
  retention: GAP_REASONS.retention,
  not_stored: GAP_REASONS.not_stored,
  damaged: GAP_REASONS.damaged,
};

function formatSignInProblem(problem: SignInProblem): string {
  if (problem.kind === "rejected") return problem.text;
  const text =
    problem.kind === "failed"
      ? `The gateway responded with HTTP ${problem.status}.`
      : "The gateway does not answer.";
  return `${text} Try again.`;
}

const NUMBER = new Intl.NumberFormat("en");

/** For example `12,345`. */
function formatNumber(value: number): string {
  return NUMBER.format(value);
}

function formatRecords(count: number): string {
  return formatCount(count, "record");
}

function formatCount(count: number, noun: string): string {
  return `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function formatRange(from: number, to: number): string {
  if (from === to) return `sequence ${formatNumber(from)}`;
  return `sequence ${formatNumber(from)}–${formatNumber(to)}`;
}

const DURATION_UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
] as const;

/** For example `12 s` or `3 min`. */
function formatDuration(ms: number): string {
  const [unit, unitMs] = DURATION_UNITS.find(([, size]) => ms >= size) ?? DURATION_UNITS.at(-1)!;
  return `${formatNumber(Math.floor(ms / unitMs))} ${unit}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

/** Returns the start and the end of a time range; with dates only if they differ. */
function formatEnds(fromMs: number, toMs: number): [from: string, to: string] {
  const [from, to] = [new Date(fromMs), new Date(toMs)];
  if (DAY.format(from) === DAY.format(to)) return [CLOCK.format(from), CLOCK.format(to)];
  const format = from.getFullYear() === to.getFullYear() ? DAY_AND_CLOCK : DAY;
  return [format.format(from), format.format(to)];
}

type CountExtent = Pick<JournalCount, "scanned" | "extent">;

function formatExtent({ scanned, extent }: CountExtent): string {
  if (extent === "complete") return "whole journal";
  const newest = `newest ${formatNumber(scanned)} records`;
  return extent === "partial" ? newest : `${newest} so far`;
}

/** Returns "" if there are none. */
function formatOutliers({ before, after }: { before: number; after: number }): string {
  const parts = [
    before > 0 ? `${formatNumber(before)} earlier` : "",
    after > 0 ? `${formatNumber(after)} later` : "",
  ];
  const text = parts.filter((part) => part !== "").join(", ");
  return text && `Not shown: ${text}`;
}

function formatLinkProblem({ record, reason }: LinkProblem): string {
  if (record === undefined) {
    return "This link is from another journal. The records shown are from this one.";
  }
  const text = LINK_PROBLEMS[reason];
  return text ? `Record ${record} ${text}` : `There is no record ${record} in this journal.`;
}

const LINK_PROBLEMS: Readonly<Partial<Record<LinkProblem["reason"], string>>> = {
  journal:
    "belongs to another journal: since the link was created, the gateway has lost its journal or uses another log directory.",
  retention: "has expired: the retention policy deleted it.",
  not_stored: "was never stored: the gateway stopped before it was on disk.",
  damaged: "cannot be read: the journal is damaged there.",
};
