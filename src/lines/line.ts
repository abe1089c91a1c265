import { DEFAULT_KEYS, lineOfFields, type LineKeys } from "./fields.ts";
import { parseJsonObject } from "./json.ts";
import { parseLogfmt } from "./logfmt.ts";
import type { ParsedLine } from "./parsed-line.ts";
import { parseText } from "./text.ts";
import { readTime, timeZoneOf, type TimeZone } from "./time.ts";

/** How lines are parsed. */
export interface LineOptions {
  /**
   * `json` and `logfmt`: lines of that format; others are texts. `text`: all lines are texts. `auto`, the default: each line
   * tells. Times, levels and loggers at the head of a text are recognized, as are lines of klog and of syslog.
   */
  readonly format?: "auto" | "json" | "logfmt" | "text" | undefined;
  /** The names of fields in JSON and logfmt. Default for each meaning: those of the usual libraries. */
  readonly keys?: Partial<LineKeys> | undefined;
  /** The zone of times without one: `local`, the default, `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`. */
  readonly timeZone?: string | undefined;
}

/** Parses lines of a log, one by one. Never throws, and takes time in proportion to the line's length. */
export interface LineParser {
  /** Returns what a line of any format says. */
  parse(text: string): ParsedLine;
  /** Returns what a line of JSON or logfmt says; undefined if it is neither, or not of the format in the options. */
  parseFields(text: string): ParsedLine | undefined;
  /** Returns whether a line starts with a time, also in a bracket, or is JSON: the first of several that belong together. */
  startsWithTime(text: string): boolean;
}

const OPEN_BRACE = 0x7b;

/**
 * Returns a parser of log lines.
 * @throws RangeError if the time zone is unknown
 */
export function lineParser(options: LineOptions = {}): LineParser {
  const { format = "auto", timeZone = "local" } = options;
  const zone = timeZoneOf(timeZone);
  const keys = { ...DEFAULT_KEYS, ...options.keys };
  const parseFields = (text: string): ParsedLine | undefined =>
    format === "text" ? undefined : fieldsOf(text, format, keys, zone);
  return {
    parseFields,
    parse: (text) => parseFields(text) ?? parseText(text, zone),
    startsWithTime: (text) => startsWithTime(text, zone),
  };
}

function startsWithTime(text: string, zone: TimeZone): boolean {
  if (text.charCodeAt(0) === OPEN_BRACE) return true;
  return readTime(text, text.startsWith("[") ? 1 : 0, zone) !== undefined;
}

function fieldsOf(
  text: string,
  format: "auto" | "json" | "logfmt",
  keys: LineKeys,
  zone: TimeZone,
): ParsedLine | undefined {
  if (text.trimStart().charCodeAt(0) === OPEN_BRACE) {
    const json = format === "logfmt" ? undefined : parseJsonObject(text);
    return json && lineOfFields("json", json, keys, zone);
  }
  const pairs = format === "json" ? undefined : parseLogfmt(text, format === "logfmt");
  return pairs && lineOfFields("logfmt", pairs, keys, zone);
}
