/** Times as programs write them into their logs. */

import type { Value } from "../plugin/record.ts";

/** Converts a wall-clock time, in milliseconds since 1970 as if it were UTC, to milliseconds since 1970. */
export type TimeZone = (wallMs: number) => number;

/** A time in a text: nanoseconds since 1970, and the index after it. */
interface FoundTime {
  readonly nanos: bigint;
  readonly end: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const NANOS_PER_MS = 1_000_000n;

/** The times of a zone only change their offset at whole quarters of an hour. */
const QUARTER_MS = 15 * MINUTE_MS;

/** Numbers from here on are times: 1973 in seconds. Smaller ones are durations and counters. */
const SECONDS_MIN = 1e8;
/** Numbers from here on are milliseconds, microseconds, nanoseconds: 1973 in each unit, the year 5138 in the one before. */
const MILLIS_MIN = 1e11;
const MICROS_MIN = 1e14;
const NANOS_MIN = 1e17;
/** Nanoseconds have 64 bits. */
const NANOS_MAX = 2n ** 63n - 1n;

/** No known form of a time is longer. */
const TIME_CHARS_MAX = 48;

const OFFSET = /^([+-])(\d\d)(?::?(\d\d))?$/;

/** The zone of this process. */
const LOCAL: TimeZone = (wallMs) => {
  const wall = new Date(wallMs);
  return new Date(
    wall.getUTCFullYear(),
    wall.getUTCMonth(),
    wall.getUTCDate(),
    wall.getUTCHours(),
    wall.getUTCMinutes(),
    wall.getUTCSeconds(),
  ).getTime();
};

/**
 * Returns the zone for times without one: `local` is that of this process, others are `UTC`, an offset such as `+02:00`, or
 * a name such as `Europe/Berlin`.
 * @throws RangeError if there is no such zone
 */
export function timeZoneOf(name: string): TimeZone {
  if (name === "local") return LOCAL;
  const offsetMs = offsetMsOf(name);
  if (offsetMs !== undefined) return (wallMs) => wallMs - offsetMs;
  return namedZone(name);
}

function offsetMsOf(text: string): number | undefined {
  if (text === "Z" || text === "UTC" || text === "GMT") return 0;
  const match = OFFSET.exec(text);
  if (match === null) return undefined;
  const minutes = Number(match[2]) * 60 + Number(match[3] ?? 0);
  return (match[1] === "-" ? -minutes : minutes) * MINUTE_MS;
}

function namedZone(name: string): TimeZone {
  const format = new Intl.DateTimeFormat("en", { timeZone: name, timeZoneName: "longOffset" });
  let quarter = NaN;
  let offsetMs = 0;
  const offsetAt = (utcMs: number): number => {
    if (Math.floor(utcMs / QUARTER_MS) === quarter) return offsetMs;
    const part = format.formatToParts(utcMs).find(({ type }) => type === "timeZoneName");
    quarter = Math.floor(utcMs / QUARTER_MS);
    offsetMs = offsetMsOf(part?.value.slice("GMT".length) || "UTC") ?? 0;
    return offsetMs;
  };
  // The offset at the wall-clock time taken as UTC is at most one change off.
  return (wallMs) => wallMs - offsetAt(wallMs - offsetAt(wallMs));
}

/**
 * Returns a time in nanoseconds since 1970: of ISO 8601 in its usual variants (`2025-10-13 09:27:24,339`), of a day as in
 * access logs and in syslog, or of a number of seconds, milliseconds, microseconds or nanoseconds, which its size tells.
 * Undefined for everything else. `zone` counts for times without a zone.
 */
export function parseTime(value: Value | undefined, zone: TimeZone = LOCAL): bigint | undefined {
  if (typeof value === "number" || typeof value === "bigint") return numericTime(value);
  if (typeof value !== "string" || value.length > TIME_CHARS_MAX) return undefined;
  const text = value.trim();
  const time = readTime(text, 0, zone);
  if (time !== undefined) return time.end === text.length ? time.nanos : undefined;
  return /^\d+$/.test(text) ? numericTime(BigInt(text)) : decimalTime(text);
}

function decimalTime(text: string): bigint | undefined {
  return /^\d+\.\d+$/.test(text) ? numericTime(Number(text)) : undefined;
}

function numericTime(number: number | bigint): bigint | undefined {
  if (!(number >= SECONDS_MIN)) return undefined;
  if (number >= NANOS_MIN) return nanosInRange(number);
  // As whole microseconds: a double has no more precision for the times of today.
  if (number >= MICROS_MIN) return BigInt(Math.round(Number(number))) * 1000n;
  const scale = number >= MILLIS_MIN ? 1e3 : 1e6;
  return BigInt(Math.round(Number(number) * scale)) * 1000n;
}

function nanosInRange(number: number | bigint): bigint | undefined {
  if (!(number <= NANOS_MAX)) return undefined;
  const nanos = BigInt(number);
  return nanos <= NANOS_MAX ? nanos : undefined;
}

/** `2025-10-13T09:27:24.339Z` and its variants: other separators, no seconds, no zone. */
const ISO =
  /(\d{4})([-/])(\d\d)\2(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?( ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)(?![\w:]))?/y;

/** `13/Oct/2025:09:27:24 +0200`, of access logs. */
const ACCESS = /(\d\d)\/([A-Z][a-z]{2})\/(\d{4}):(\d\d):(\d\d):(\d\d)( [+-]\d{4})?/y;

/** `Oct 13 09:27:24`, of syslog, with fractions in some. */
const SYSLOG = /([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?/y;

/** `1013 09:27:24.339163`, of klog. */
const KLOG = /(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{1,9})/y;

const MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";

/** Returns the time that starts at `start`; undefined if none does. */
export function readTime(text: string, start: number, zone: TimeZone): FoundTime | undefined {
  const code = text.charCodeAt(start);
  const isDigit = code >= 0x30 && code <= 0x39;
  if (!isDigit) return code >= 0x41 && code <= 0x5a ? syslogTime(text, start, zone) : undefined;
  return isoTime(text, start, zone) ?? accessTime(text, start, zone);
}

function isoTime(text: string, start: number, zone: TimeZone): FoundTime | undefined {
  const match = matchAt(ISO, text, start);
  if (match === null) return undefined;
  const [whole, year, , month, day, hour, minute, second = "0", fraction = "", offset] = match;
  const wallMs = wallTime(year, Number(month) - 1, day, hour, minute, second);
  return foundTime(wallMs, fraction, offset?.trim(), zone, start + whole.length);
}

function accessTime(text: string, start: number, zone: TimeZone): FoundTime | undefined {
  const match = matchAt(ACCESS, text, start);
  if (match === null) return undefined;
  const [whole, day, month, year, hour, minute, second, offset] = match;
  const wallMs = wallTime(year, monthOf(month), day, hour, minute, second);
  return foundTime(wallMs, "", offset?.trim(), zone, start + whole.length);
}

function syslogTime(text: string, start: number, zone: TimeZone): FoundTime | undefined {
  const match = matchAt(SYSLOG, text, start);
  if (match === null) return undefined;
  const [whole, month, day, hour, minute, second, fraction = ""] = match;
  const wallMs = recentTime(monthOf(month), day, hour, minute, second, zone);
  return foundTime(wallMs, fraction, undefined, zone, start + whole.length);
}

/** Returns the time of a klog header that starts at `start`. */
export function readKlogTime(text: string, start: number, zone: TimeZone): FoundTime | undefined {
  const match = matchAt(KLOG, text, start);
  if (match === null) return undefined;
  const [whole, month, day, hour, minute, second, fraction = ""] = match;
  const wallMs = recentTime(Number(month) - 1, day, hour, minute, second, zone);
  return foundTime(wallMs, fraction, undefined, zone, start + whole.length);
}

function matchAt(pattern: RegExp, text: string, start: number): RegExpExecArray | null {
  pattern.lastIndex = start;
  return pattern.exec(text);
}

function monthOf(name: string | undefined): number {
  const index = MONTHS.indexOf(name ?? "-");
  return index % 3 === 0 ? index / 3 : NaN;
}

type Digits = string | undefined;

/** Returns the time as if it were UTC; NaN if there is no such time. */
function wallTime(
  year: Digits,
  month: number,
  day: Digits,
  hour: Digits,
  minute: Digits,
  second: Digits,
): number {
  const wallMs = Date.UTC(Number(year), month, Number(day));
  const isDay = new Date(wallMs).getUTCDate() === Number(day) && Number(year) >= 1970;
  // A leap second is the first second of the next minute.
  const isTime = Number(hour) <= 23 && Number(minute) <= 59 && Number(second) <= 60;
  if (!isDay || !isTime) return NaN;
  return wallMs + ((Number(hour) * 60 + Number(minute)) * 60 + Number(second)) * 1000;
}

/** Returns a time whose year is not written: the last one that is not in the future, but for clocks that differ. */
function recentTime(
  month: number,
  day: Digits,
  hour: Digits,
  minute: Digits,
  second: Digits,
  zone: TimeZone,
): number {
  const nowMs = Date.now();
  const year = new Date(nowMs + DAY_MS).getUTCFullYear();
  const candidates = [year, year - 1].map((candidate) =>
    wallTime(String(candidate), month, day, hour, minute, second),
  );
  return candidates.find((wallMs) => zone(wallMs) <= nowMs + DAY_MS) ?? NaN;
}

function foundTime(
  wallMs: number,
  fraction: string,
  offset: string | undefined,
  zone: TimeZone,
  end: number,
): FoundTime | undefined {
  if (Number.isNaN(wallMs)) return undefined;
  const offsetMs = offset === undefined ? undefined : offsetMsOf(offset);
  const ms = offsetMs === undefined ? zone(wallMs) : wallMs - offsetMs;
  if (Number.isNaN(ms) || ms < 0) return undefined;
  const nanos = BigInt(ms) * NANOS_PER_MS + BigInt(fraction.padEnd(9, "0"));
  return nanos <= NANOS_MAX ? { nanos, end } : undefined;
}
