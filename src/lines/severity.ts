/** Levels as programs write them into their logs. */

import type { Value } from "../plugin/record.ts";

/** A severity of the logs data model. */
export interface Severity {
  /** From 1 to 24. */
  readonly number: number;
  /** As the source names it. */
  readonly text: string;
}

/** Severity numbers by name; the levels in between as OpenTelemetry's bridges map them. */
const NUMBERS = new Map<string, number>(
  Object.entries({
    TRACE: 1,
    SILLY: 1,
    FINEST: 1,
    FINER: 2,
    FINE: 5,
    DEBUG: 5,
    DBG: 5,
    VERBOSE: 7,
    HTTP: 8,
    CONFIG: 9,
    INFO: 9,
    INF: 9,
    INFORMATION: 9,
    SUCCESS: 10,
    NOTICE: 10,
    WARN: 13,
    WRN: 13,
    WARNING: 13,
    ERROR: 17,
    ERR: 17,
    SEVERE: 17,
    DPANIC: 21,
    PANIC: 21,
    CRITICAL: 21,
    CRIT: 21,
    FATAL: 21,
    FTL: 21,
    ALERT: 22,
    EMERG: 23,
    EMERGENCY: 23,
  }),
);

/** By the severity of syslog, from 0, emergency, to 7, debug (RFC 5424, 6.2.1). */
const SYSLOG_NAMES = ["EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"];

/** By the tens of pino's and bunyan's numbers. */
const TENS_NAMES = ["TRACE", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/** No known name is longer, with an offset such as `+2`. */
const NAME_CHARS_MAX = 16;

/** A name with Go's offset: `INFO+2`. */
const OFFSET_NAME = /^(DEBUG|INFO|WARN|ERROR)([+-]\d{1,2})$/;

/** How Python shows a level without a name. */
const PYTHON_LEVEL = /^LEVEL (\d{1,3})$/;

/**
 * Returns the severity that a value stands for: a name in any case, or a number of pino and bunyan (30), of Python
 * (`Level 25`) or of syslog (from 0 to 7). Undefined for everything else.
 */
export function parseSeverity(value: Value | undefined): Severity | undefined {
  if (typeof value === "number") return numericSeverity(value);
  if (typeof value !== "string" || value.length > NAME_CHARS_MAX) return undefined;
  const name = value.trim().toUpperCase();
  if (/^\d{1,2}$/.test(name)) return numericSeverity(Number(name));
  const number = NUMBERS.get(name) ?? offsetNumber(name) ?? pythonNumber(name);
  return number === undefined ? undefined : { number, text: value.trim() };
}

function numericSeverity(number: number): Severity | undefined {
  if (!Number.isInteger(number) || number < 0) return undefined;
  if (number < SYSLOG_NAMES.length) return syslogSeverity(number);
  if (number < 10 || number > 100) return undefined;
  return namedSeverity(TENS_NAMES[Math.min(Math.floor(number / 10), TENS_NAMES.length - 1)]!);
}

/** Returns the severity for one of syslog, from 0 to 7. */
export function syslogSeverity(number: number): Severity {
  return namedSeverity(SYSLOG_NAMES[number]!);
}

function namedSeverity(text: string): Severity {
  return { number: NUMBERS.get(text)!, text };
}

function offsetNumber(name: string): number | undefined {
  const match = OFFSET_NAME.exec(name);
  if (match === null) return undefined;
  return Math.min(Math.max(NUMBERS.get(match[1]!)! + Number(match[2]), 1), 24);
}

function pythonNumber(name: string): number | undefined {
  const match = PYTHON_LEVEL.exec(name);
  if (match === null) return undefined;
  // Python's levels are ten apart, those of the data model four: 20, INFO, is 9.
  return Math.min(Math.max(Math.floor((Number(match[1]) * 4) / 10) + 1, 1), 24);
}
