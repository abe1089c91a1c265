import { type Filter, FILTER_PARAMETERS, parseFilter } from "../../wire/filter.ts";
import { quotedExcerpt } from "../../wire/printable.ts";
import { HttpProblem } from "../server/rejections.ts";
import { type Facet, FACETS } from "../../wire/fields.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1000;

const WAIT_SECONDS_MAX = 30;

export const ORDERS = ["desc", "asc"] as const;
const FORMATS = ["json", "ndjson"] as const;

const HISTORY_PARAMETERS: readonly string[] = [
  ...FILTER_PARAMETERS,
  "since",
  "until",
  "order",
  "limit",
  "cursor",
  "wait",
  "format",
];

/** The place of the next record, and the numbering that it belongs to. */
export interface Cursor {
  readonly epoch: string;
  readonly sequence: number;
}

/** What a request to /api/logs asks for. */
export interface HistoryQuery {
  readonly filter: Filter;
  /** In the envelope's form, so that texts can be compared; undefined without a bound. */
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly order: (typeof ORDERS)[number];
  readonly limit: number;
  /** Where to go on; undefined for the first page. */
  readonly cursor: Cursor | undefined;
  /** How long to wait for a record where there is none; undefined where the end of the journal is the end. */
  readonly waitMs: number | undefined;
  /** Undefined where the Accept header is to decide. */
  readonly format: (typeof FORMATS)[number] | undefined;
}

/**
 * Reads the query of /api/logs; a parameter without a value counts as absent.
 * @throws HttpProblem PARAMETER_INVALID, TailgateError FILTER_INVALID
 */
export function parseHistoryQuery(search: string): HistoryQuery {
  const given = parametersOf(search, HISTORY_PARAMETERS);
  const order = parseChoice("order", ORDERS, given["order"]) ?? "desc";
  return {
    filter: parseFilter(given),
    since: parseTime("since", given["since"]),
    until: parseUntil(given["until"]),
    order,
    limit: parseLimit(given["limit"]),
    cursor: parseCursor(given["cursor"]),
    waitMs: parseWait(given["wait"], order),
    format: parseChoice("format", FORMATS, given["format"]),
  };
}

/** What {@link HistoryQuery.cursor} is read from. */
export function cursorText(epoch: string, sequence: number): string {
  return `${epoch}:${sequence}`;
}

/**
 * What a query says; a parameter without a value counts as absent.
 * @throws HttpProblem PARAMETER_INVALID for one that is not known, or is given twice.
 */
export function parametersOf(
  search: string,
  known: readonly string[],
): Record<string, string | undefined> {
  const parameters: Record<string, string | undefined> = Object.create(null);
  for (const [name, value] of new URLSearchParams(search)) {
    if (!known.includes(name)) {
      throw invalid(
        `The parameter ${quotedExcerpt(name)} is unknown. Known are: ${known.join(", ")}.`,
      );
    }
    if (name in parameters) throw invalid(`The parameter ${name} is given twice.`);
    parameters[name] = value === "" ? undefined : value;
  }
  return parameters;
}

export function parseChoice<Choice extends string>(
  name: string,
  choices: readonly Choice[],
  value: string | undefined,
): Choice | undefined {
  if (value === undefined) return undefined;
  const choice = choices.find((known) => known === value);
  if (choice === undefined) throw invalidValue(name, value, `one of ${choices.join(", ")}`);
  return choice;
}

function parseLimit(value: string | undefined): number {
  if (value === undefined) return LIMIT_DEFAULT;
  const limit = /^\d{1,4}$/.test(value) ? Number(value) : 0;
  if (limit < 1 || limit > LIMIT_MAX) throw invalidValue("limit", value, `1 to ${LIMIT_MAX}`);
  return limit;
}

const SECONDS = /^\d{1,2}(?:\.\d{1,3})?$/;

function parseWait(value: string | undefined, order: HistoryQuery["order"]): number | undefined {
  if (value === undefined) return undefined;
  const seconds = SECONDS.test(value) ? Number(value) : Infinity;
  if (seconds > WAIT_SECONDS_MAX) {
    throw invalidValue("wait", value, `0 to ${WAIT_SECONDS_MAX} seconds`);
  }
  if (order === "desc") {
    throw invalid(
      "The parameter wait goes with order=asc: what comes is newer than what is there.",
    );
  }
  return 1000 * seconds;
}

const CURSOR = /^(.+):(\d{1,15})$/;

export function parseCursor(value: string | undefined): Cursor | undefined {
  if (value === undefined) return undefined;
  const [, epoch, sequence] = CURSOR.exec(value) ?? [];
  if (epoch === undefined) throw invalidValue("cursor", value, "a next_cursor of an answer");
  return { epoch, sequence: Number(sequence) };
}

const ISO_TIME =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:\d{2})?$/i;

/** `1760347644339`: milliseconds since 1970. */
const EPOCH_MS = /^\d{1,15}$/;

/** The last millisecond of the year 9999. */
const EPOCH_MS_MAX = 253_402_300_799_999;

/** From ISO 8601, in UTC where it names no zone, or milliseconds since 1970, to `2025-10-13T09:27:24.339163Z`. */
export function parseTime(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  // In a query a plus that is not escaped means a space; in a time it can only have been the zone's.
  const text = value.replace(/ (?=\d{2}:\d{2}$)(?<=:\d{2}(?:\.\d+)? )/, "+");
  const [, date, time = "00:00", second = "00", fraction = "", zone = "Z"] =
    ISO_TIME.exec(text) ?? [];
  const ms = EPOCH_MS.test(text)
    ? Number(text)
    : Date.parse(`${date}T${time}:${second}${zone.toUpperCase()}`);
  if (!(ms >= 0 && ms <= EPOCH_MS_MAX)) {
    throw invalidValue(
      name,
      value,
      "ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970",
    );
  }
  const iso = new Date(ms).toISOString();
  const micros = fraction === "" ? `${iso.slice(20, 23)}000` : fraction.slice(0, 6).padEnd(6, "0");
  return `${iso.slice(0, 20)}${micros}Z`;
}

/**
 * As {@link parseTime}. Envelopes show whole microseconds: a moment between two of them is the later one, so that what
 * was before it still is.
 */
export function parseUntil(value: string | undefined): string | undefined {
  const text = parseTime("until", value);
  if (text === undefined || !/\.\d{6}0*[1-9]/.test(value!)) return text;
  const micros = Number(text.slice(20, 26)) + 1;
  if (micros < 1_000_000) return `${text.slice(0, 20)}${String(micros).padStart(6, "0")}Z`;
  const next = new Date(Date.parse(`${text.slice(0, 19)}Z`) + 1000).toISOString();
  return `${next.slice(0, 20)}000000Z`;
}

export function invalidValue(name: string, value: string, valid: string): HttpProblem {
  return invalid(`The parameter ${name} is ${quotedExcerpt(value)}; valid is ${valid}.`);
}

function invalid(message: string): HttpProblem {
  return new HttpProblem(400, "PARAMETER_INVALID", message);
}

const COUNT_PARAMETERS = [...FILTER_PARAMETERS, "since", "until", "order", "cursor", "facets"];

/** What a request to /api/counts asks for. */
export interface CountQuery extends Omit<HistoryQuery, "limit" | "format" | "waitMs"> {
  /** Whose values are counted, too. */
  readonly facets: readonly Facet[];
}

/** @throws HttpProblem PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parseCountQuery(search: string): CountQuery {
  const given = parametersOf(search, COUNT_PARAMETERS);
  return {
    filter: parseFilter(given),
    since: parseTime("since", given["since"]),
    until: parseUntil(given["until"]),
    order: parseChoice("order", ORDERS, given["order"]) ?? "desc",
    cursor: parseCursor(given["cursor"]),
    facets: parseFacets(given["facets"]),
  };
}

function parseFacets(value: string | undefined): readonly Facet[] {
  const names = value?.split(",") ?? [];
  return names.map((name) => {
    const facet = FACETS.find((known) => known === name);
    if (facet === undefined) throw invalidValue("facets", value!, `some of ${FACETS.join(",")}`);
    return facet;
  });
}
