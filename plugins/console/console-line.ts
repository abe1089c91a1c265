import { printable, type Envelope, type JsonValue, type Level } from "tailgate/plugin";

const RESET = "\x1b[0m";

/** SGR sequences (ECMA-48, 8.3.117). */
const COLORS: Readonly<Record<Level, string>> = {
  DEBUG: "\x1b[2m",
  INFO: "\x1b[32m",
  WARNING: "\x1b[33m",
  ERROR: "\x1b[31m",
  CRITICAL: "\x1b[1;37;41m",
};

/** SGR sequence of attributes, so that the message stands out. */
const DIM = "\x1b[2m";

const INDENT = "    ";

type JsonFields = Readonly<Record<string, JsonValue>>;

/**
 * Returns the lines of a system log: `2025-10-13 09:27:24 - logger - WARNING - message` in UTC, with the attributes as
 * `key=value`. An exception follows on indented lines, so that none of them can pass for a record.
 */
export function consoleLine({ data }: Envelope, isColored: boolean): string {
  const time = data.timestamp.slice(0, 19).replace("T", " ");
  const level = formatLevel(data.level, isColored);
  const fields = data as unknown as JsonFields;
  const text = escaped(data.message) + formatExtras(fields, isColored);
  const line = `${time} - ${escaped(data.logger)} - ${level} - ${text}\n`;
  return line + formatException(fields);
}

export function formatLevel(level: Level, isColored: boolean): string {
  return isColored ? COLORS[level] + level + RESET : level;
}

/** A line shows no more characters of its attributes than this. */
export const EXTRAS_CHARACTERS_MAX = 1000;
/** And no more of a single value. */
export const VALUE_CHARACTERS_MAX = 200;

const ELLIPSIS = "…";

/** Fields that are shown elsewhere in the line, or not at all, such as the call site. */
const HIDDEN_FIELDS = new Set([
  "timestamp",
  "level",
  "logger",
  "message",
  "module",
  "function",
  "line",
  "exception.type",
  "exception.message",
  "exception.stacktrace",
]);

/** Returns the attributes of a system log, each as ` key=value`, and an ellipsis if they exceed the limit. */
export function formatExtras(data: JsonFields, isColored: boolean): string {
  const extras: string[] = [];
  for (const key of Object.keys(data)) {
    if (!HIDDEN_FIELDS.has(key)) addField(extras, key, data[key]!, VALUE_CHARACTERS_MAX, 1);
  }
  let text = "";
  for (const extra of extras) {
    const isTooLong = text.length + 1 + extra.length > EXTRAS_CHARACTERS_MAX;
    text += ` ${isTooLong ? ELLIPSIS : extra}`;
    if (isTooLong) break;
  }
  return isColored && text !== "" ? DIM + text + RESET : text;
}

/** Returns `key=value` for each field, with the dotted names of the filter language. */
export function formatFields(fields: JsonFields): string[] {
  const formatted: string[] = [];
  for (const [key, value] of Object.entries(fields)) addField(formatted, key, value, Infinity, 1);
  return formatted;
}

/** More deeply nested values are shown as JSON. */
export const DEPTH_MAX = 4;

function addField(
  formatted: string[],
  name: string,
  value: JsonValue,
  charactersMax: number,
  depth: number,
): void {
  if (depth < DEPTH_MAX && isObject(value)) {
    const members = Object.entries(value);
    for (const [key, member] of members) {
      addField(formatted, `${name}.${key}`, member, charactersMax, depth + 1);
    }
    if (members.length > 0) return;
  }
  formatted.push(`${escaped(name)}=${formatValue(value, charactersMax)}`);
}

function isObject(value: JsonValue): value is JsonFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A string without spaces needs no quotes. */
function formatValue(value: JsonValue, charactersMax: number): string {
  if (typeof value !== "string") return escaped(truncate(JSON.stringify(value), charactersMax));
  const text = truncate(value, charactersMax);
  return escaped(/^[^\s"=]+$/.test(text) ? text : JSON.stringify(text));
}

function truncate(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  return text.slice(0, charactersMax).toWellFormed() + ELLIPSIS;
}

/** Returns an empty string if the record has no exception. */
function formatException(data: JsonFields): string {
  const stacktrace = toText(data["exception.stacktrace"]);
  const type = toText(data["exception.type"]);
  const message = toText(data["exception.message"]);
  const text = stacktrace || (type && message ? `${type}: ${message}` : type || message);
  if (text === "") return "";
  return text.trimEnd().split(/\r?\n/).map(indent).join("");
}

/** Java and Go indent stack frames with tabs. */
function indent(line: string): string {
  const spaces = line.replace(/^\t+/, (tabs) => INDENT.repeat(tabs.length));
  return `${INDENT}${escaped(spaces)}\n`;
}

function toText(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

const PRINTABLE_ASCII = /^[ -~]*$/;

/** Escapes control characters. Most texts are ASCII, for which the test is much faster than the replacement. */
function escaped(text: string): string {
  return PRINTABLE_ASCII.test(text) ? text : printable(text);
}
