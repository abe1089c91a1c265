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

/** SGR sequence of attributes: they recede behind the message. */
const DIM = "\x1b[2m";

const INDENT = "    ";

type Fields = Readonly<Record<string, JsonValue>>;

/**
 * The original's line, `2025-10-13 09:27:24 - logger - WARNING - message` in UTC, with the attributes as `key=value`
 * and its line feed. An exception follows on indented lines, so that none of them can pass for a record.
 */
export function consoleLine({ data }: Envelope, isColored: boolean): string {
  const time = data.timestamp.slice(0, 19).replace("T", " ");
  const level = shownLevel(data.level, isColored);
  const line = `${time} - ${printable(data.logger)} - ${level} - ${printable(data.message)}`;
  const fields = data as unknown as Fields;
  return `${line}${shownExtras(extrasText(fields), isColored)}\n${exceptionLines(fields)}`;
}

export function shownLevel(level: Level, isColored: boolean): string {
  return isColored ? COLORS[level] + level + RESET : level;
}

/** What surrounds attributes. */
export function shownExtras(text: string, isColored: boolean): string {
  return isColored && text !== "" ? DIM + text + RESET : text;
}

/** A line shows no more of its attributes. */
export const EXTRAS_CHARACTERS_MAX = 1000;
/** And no more of one value. */
export const EXTRA_CHARACTERS_MAX = 200;

const ELLIPSIS = "…";

/** What a line tells elsewhere, or not at all: where a record was logged. */
const SHOWN_ELSEWHERE = new Set([
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

/** Returns the attributes of a system log's `data`, each as ` key=value`; those that find no room are an ellipsis. */
export function extrasText(data: Fields): string {
  const extras = Object.entries(data).filter(([name]) => !SHOWN_ELSEWHERE.has(name));
  if (extras.length === 0) return "";
  let text = "";
  for (const field of fieldTexts(Object.fromEntries(extras), EXTRA_CHARACTERS_MAX)) {
    if (text.length + 1 + field.length > EXTRAS_CHARACTERS_MAX) return `${text} ${ELLIPSIS}`;
    text += ` ${field}`;
  }
  return text;
}

/** Deeper values are shown as JSON. */
export const FIELD_DEPTH_MAX = 4;

/** `key=value`, with the dotted names that the filter language takes. */
export function fieldTexts(
  fields: Fields,
  charactersMax = Infinity,
  prefix = "",
  depth = 1,
): string[] {
  return Object.entries(fields).flatMap(([key, value]) => {
    const name = prefix + key;
    const isNested = isObject(value) && Object.keys(value).length > 0 && depth < FIELD_DEPTH_MAX;
    if (isNested) return fieldTexts(value, charactersMax, `${name}.`, depth + 1);
    return [`${printable(name)}=${valueText(value, charactersMax)}`];
  });
}

function isObject(value: JsonValue): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text of one word needs no quotes. */
function valueText(value: JsonValue, charactersMax: number): string {
  if (typeof value !== "string") return printable(cut(JSON.stringify(value), charactersMax));
  const text = cut(value, charactersMax);
  return printable(/^[^\s"=]+$/.test(text) ? text : JSON.stringify(text));
}

function cut(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  return text.slice(0, charactersMax).toWellFormed() + ELLIPSIS;
}

/** "" where the record's `data` tells of no exception. */
export function exceptionLines(data: Fields): string {
  const stacktrace = textual(data["exception.stacktrace"]);
  const summary = [data["exception.type"], data["exception.message"]].map(textual);
  const text = stacktrace || summary.filter((part) => part !== "").join(": ");
  if (text === "") return "";
  return text.trimEnd().split(/\r?\n/).map(indented).join("");
}

/** Java and Go indent their frames by tabs. */
function indented(line: string): string {
  const spaces = line.replace(/^\t+/, (tabs) => INDENT.repeat(tabs.length));
  return `${INDENT}${printable(spaces)}\n`;
}

function textual(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
