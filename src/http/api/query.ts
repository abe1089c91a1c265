import { parseFilter, type Filter } from "../../filter/filter.ts";
import { FILTER_PARAMETERS } from "../../wire/filter.ts";
import { quotedExcerpt } from "../../wire/printable.ts";
import { HttpError } from "../server/rejections.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1000;

const WAIT_SECONDS_MAX = 30;

const ORDERS = ["desc", "asc"] as const;
const FORMATS = ["json", "ndjson"] as const;

const SEARCH_PARAMETERS = [...FILTER_PARAMETERS, "since", "until", "order"];
const HISTORY_PARAMETERS = [...SEARCH_PARAMETERS, "limit", "cursor", "wait", "format"];
const COUNT_PARAMETERS = [...SEARCH_PARAMETERS, "cursor", "facets"];
const FIELDS_PARAMETERS = [...SEARCH_PARAMETERS, "cursor"];
const VALUES_PARAMETERS = [...SEARCH_PARAMETERS, "limit", "cursor", "prefix"];
const PATTERNS_PARAMETERS = [...SEARCH_PARAMETERS, "limit", "cursor"];

const FACETS_MAX = 16;

/** As a limit: all records that match, in one response. */
const ALL = "all";

/** A position in the journal: the next sequence to read, and its epoch. */
export interface PageCursor {
  readonly epoch: string;
  readonly sequence: number;
}

/** What a request searches the journal for. */
export interface SearchRequest {
  readonly filter: Filter;
  /** As envelopes show times, so that texts can be compared; undefined without a bound. */
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly order: (typeof ORDERS)[number];
  /** Undefined for the first page. */
  readonly cursor: PageCursor | undefined;
}

/** A request to /api/logs. */
export interface HistoryRequest extends SearchRequest {
  /** Undefined for all records, as lines. */
  readonly limit: number | undefined;
  /** How long to wait for a record if there is none; undefined if the search ends at the end of the journal. */
  readonly waitMs: number | undefined;
  /** Undefined if the Accept header decides. */
  readonly format: (typeof FORMATS)[number] | undefined;
}

/** A request to /api/counts. */
export interface CountRequest extends SearchRequest {
  /** The fields whose values are counted. */
  readonly facets: readonly string[];
}

/** A request to /api/fields/{name}/values. */
export interface ValuesRequest extends SearchRequest {
  readonly field: string;
  readonly limit: number;
  readonly prefix: string | undefined;
}

/** A request to /api/patterns. */
export interface PatternsRequest extends SearchRequest {
  readonly limit: number;
}

/** @throws HttpError PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parseHistoryQuery(search: string): HistoryRequest {
  const parameters = parseParameters(search, HISTORY_PARAMETERS);
  const query = parseSearchQuery(parameters);
  const isAll = parameters["limit"] === ALL;
  const format = parseChoice("format", FORMATS, parameters["format"]);
  const waitMs = parseWait(parameters["wait"], query.order);
  if (isAll && format !== "ndjson") {
    throw invalid(
      "The parameter limit=all needs format=ndjson: the response is a stream of lines.",
    );
  }
  if (isAll && waitMs !== undefined) {
    throw invalid("The parameter wait cannot be used with limit=all: such a response ends.");
  }
  return {
    ...query,
    limit: isAll ? undefined : parseLimit(parameters["limit"], ` or ${ALL}`),
    waitMs,
    format,
  };
}

/** @throws HttpError PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parseCountQuery(search: string): CountRequest {
  const parameters = parseParameters(search, COUNT_PARAMETERS);
  return { ...parseSearchQuery(parameters), facets: parseFacets(parameters["facets"]) };
}

/** @throws HttpError PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parseFieldsQuery(search: string): SearchRequest {
  return parseSearchQuery(parseParameters(search, FIELDS_PARAMETERS));
}

/** @throws HttpError PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parseValuesQuery(field: string, search: string): ValuesRequest {
  const parameters = parseParameters(search, VALUES_PARAMETERS);
  const limit = parseLimit(parameters["limit"]);
  return { ...parseSearchQuery(parameters), field, limit, prefix: parameters["prefix"] };
}

/** @throws HttpError PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parsePatternsQuery(search: string): PatternsRequest {
  const parameters = parseParameters(search, PATTERNS_PARAMETERS);
  return { ...parseSearchQuery(parameters), limit: parseLimit(parameters["limit"]) };
}

/** A request to /api/logs/{sequence}. */
export interface RecordRequest {
  readonly sequence: number;
  /** Undefined for the current one. */
  readonly epoch: string | undefined;
}

/** @throws HttpError PARAMETER_INVALID */
export function parseRecordQuery(sequence: string, search: string): RecordRequest {
  if (!/^[1-9]\d{0,14}$/.test(sequence)) {
    throw invalidValue("sequence", sequence, "the sequence number of a record");
  }
  const { epoch } = parseParameters(search, ["epoch"]);
  return { sequence: Number(sequence), epoch };
}

type QueryParameters = Readonly<Record<string, string | undefined>>;

/**
 * Returns the parameters of a query; one without a value counts as absent.
 * @throws HttpError PARAMETER_INVALID if one is unknown or given twice.
 */
function parseParameters(search: string, known: readonly string[]): QueryParameters {
  const parameters: Record<string, string | undefined> = Object.create(null);
  for (const [name, value] of new URLSearchParams(search)) {
    if (!known.includes(name)) {
      throw invalid(
        `The parameter ${quotedExcerpt(name)} is unknown. Known parameters: ${known.join(", ")}.`,
      );
    }
    if (name in parameters) throw invalid(`The parameter ${name} is given twice.`);
    parameters[name] = value === "" ? undefined : value;
  }
  return parameters;
}

function parseSearchQuery(parameters: QueryParameters): SearchRequest {
  return {
    filter: parseFilter(parameters),
    since: parseTime("since", parameters["since"]),
    until: parseUntil(parameters["until"]),
    order: parseChoice("order", ORDERS, parameters["order"]) ?? "desc",
    cursor: parseCursor(parameters["cursor"]),
  };
}

function parseChoice<Choice extends string>(
  name: string,
  choices: readonly Choice[],
  value: string | undefined,
): Choice | undefined {
  if (value === undefined) return undefined;
  const choice = choices.find((known) => known === value);
  if (choice === undefined) throw invalidValue(name, value, `one of ${choices.join(", ")}`);
  return choice;
}

/** A name between commas, in double quotes if it has a comma or starts with a quote. */
const FACET = /(?:"(?<quoted>(?:[^"\\]|\\.)+)"|(?<bare>[^",][^,]*))(?:,|$)/suy;

function parseFacets(value: string | undefined): readonly string[] {
  const names = new Set<string>();
  if (value === undefined) return [];
  FACET.lastIndex = 0;
  while (FACET.lastIndex < value.length) {
    const { quoted, bare } = FACET.exec(value)?.groups ?? {};
    const name = bare ?? quoted?.replaceAll(/\\(.)/gsu, "$1");
    if (name === undefined || names.size === FACETS_MAX) {
      throw invalidValue("facets", value, `at most ${FACETS_MAX} names of fields between commas`);
    }
    names.add(name);
  }
  return [...names];
}

function parseLimit(value: string | undefined, alternative = ""): number {
  if (value === undefined) return LIMIT_DEFAULT;
  const limit = /^\d{1,4}$/.test(value) ? Number(value) : 0;
  if (limit < 1 || limit > LIMIT_MAX) {
    throw invalidValue("limit", value, `1 to ${LIMIT_MAX}${alternative}`);
  }
  return limit;
}

const SECONDS = /^\d{1,2}(?:\.\d{1,3})?$/;

function parseWait(value: string | undefined, order: HistoryRequest["order"]): number | undefined {
  if (value === undefined) return undefined;
  const seconds = SECONDS.test(value) ? Number(value) : Infinity;
  if (seconds > WAIT_SECONDS_MAX) {
    throw invalidValue("wait", value, `0 to ${WAIT_SECONDS_MAX} seconds`);
  }
  if (order === "desc") {
    throw invalid("The parameter wait needs order=asc: new records follow the existing ones.");
  }
  return 1000 * seconds;
}

const CURSOR = /^(.+):(\d{1,15})$/;

function parseCursor(value: string | undefined): PageCursor | undefined {
  if (value === undefined) return undefined;
  const [, epoch, sequence] = CURSOR.exec(value) ?? [];
  if (epoch === undefined) throw invalidValue("cursor", value, "the next_cursor of a response");
  return { epoch, sequence: Number(sequence) };
}

/** Returns a cursor as clients send it back. */
export function cursorText(epoch: string, sequence: number): string {
  return `${epoch}:${sequence}`;
}

const ISO_TIME =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:\d{2})?$/i;

/** `1760347644339`: milliseconds since 1970. */
const EPOCH_MS = /^\d{1,15}$/;

/** The last millisecond of the year 9999. */
const EPOCH_MS_MAX = 253_402_300_799_999;

/** Converts ISO 8601, in UTC if it has no zone, or milliseconds since 1970 to the form `2025-10-13T09:27:24.339163Z`. */
function parseTime(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  // An unescaped plus in a query means a space; in a time it can only be the zone's sign.
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
 * As {@link parseTime}, but rounds up. Envelopes show whole microseconds: what was before a time between two of them has
 * to be before the result.
 */
function parseUntil(value: string | undefined): string | undefined {
  const text = parseTime("until", value);
  if (text === undefined || !/\.\d{6}0*[1-9]/.test(value!)) return text;
  const micros = Number(text.slice(20, 26)) + 1;
  if (micros < 1_000_000) return `${text.slice(0, 20)}${String(micros).padStart(6, "0")}Z`;
  const next = new Date(Date.parse(`${text.slice(0, 19)}Z`) + 1000).toISOString();
  return `${next.slice(0, 20)}000000Z`;
}

function invalidValue(name: string, value: string, expected: string): HttpError {
  return invalid(`The parameter ${name} is ${quotedExcerpt(value)}; expected ${expected}.`);
}

function invalid(message: string): HttpError {
  return new HttpError(400, "PARAMETER_INVALID", message);
}
