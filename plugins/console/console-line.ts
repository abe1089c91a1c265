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

const INDENT = "    ";

/**
 * The original's line, `2025-10-13 09:27:24 - logger - WARNING - message` in UTC, with its line feed. An exception
 * follows on indented lines, so that none of them can pass for a record.
 */
export function consoleLine({ data }: Envelope, isColored: boolean): string {
  const time = data.timestamp.slice(0, 19).replace("T", " ");
  const level = shownLevel(data.level, isColored);
  const line = `${time} - ${printable(data.logger)} - ${level} - ${printable(data.message)}\n`;
  return line + exceptionLines(data as unknown as Readonly<Record<string, JsonValue>>);
}

export function shownLevel(level: Level, isColored: boolean): string {
  return isColored ? COLORS[level] + level + RESET : level;
}

/** "" where the record's `data` tells of no exception. */
export function exceptionLines(data: Readonly<Record<string, JsonValue>>): string {
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
