/** The prefix of an envelope, all that stands before its message: timestamp, level and logger. */

import {
  INFO_RANK,
  type LevelRank,
  AUDIT_LOGGER,
  isAuditLogger,
  LEVELS,
} from "../wire/envelope.ts";
import { ascii, JsonWriter } from "./json-writer.ts";
import type { EnvelopeRules } from "./rules.ts";

/** The position and the length of the timestamp's text in an envelope's `data`, which never change. */
export const TIMESTAMP_START = '{"timestamp":"'.length;
export const TIMESTAMP_LENGTH = "2025-10-13T09:27:24.339163Z".length;

/** The last second of the year 9999: later ones have no ISO form of the same length. */
const SECONDS_MAX = 253_402_300_799;

const DAY_SECONDS = 86_400;
const HOUR_SECONDS = 3600;
const MINUTE_SECONDS = 60;

/** `2025-10-13T09:27:24.` for the last second that was written; most records share the second or at least the day. */
const secondText = new Uint8Array(20);
let secondOfText = -1;
let dayOfText = -1;

/** Returns `2025-10-13T09:27:24.` for seconds since 1970 UTC; valid until the next call. */
function textOfSecond(seconds: number): Uint8Array {
  if (seconds !== secondOfText) writeSecond(seconds);
  return secondText;
}

function writeSecond(seconds: number): void {
  const day = Math.floor(seconds / DAY_SECONDS);
  if (day !== dayOfText) {
    // Also writes the colons and the point.
    secondText.set(ascii(new Date(1000 * seconds).toISOString().slice(0, secondText.length)));
    dayOfText = day;
  }
  const rest = seconds - DAY_SECONDS * day;
  const hours = (rest / HOUR_SECONDS) | 0;
  const minutes = ((rest - HOUR_SECONDS * hours) / MINUTE_SECONDS) | 0;
  putPair("2025-10-13T".length, hours);
  putPair("2025-10-13T09:".length, minutes);
  putPair("2025-10-13T09:27:".length, rest - HOUR_SECONDS * hours - MINUTE_SECONDS * minutes);
  secondOfText = seconds;
}

/** Writes two digits of {@link secondText}. */
function putPair(at: number, value: number): void {
  const tens = (value / 10) | 0;
  secondText[at] = ZERO + tens;
  secondText[at + 1] = ZERO + value - 10 * tens;
}

/** Whether a timestamp can show these seconds: the years 1970 to 9999. */
export function isShownSecond(seconds: number): boolean {
  return seconds >= 0 && seconds <= SECONDS_MAX;
}

/** The number of bytes that {@link putMicros} writes. */
const MICROS_BYTES = 7;

const ZERO = 0x30;
const TRIPLE = 1000;
const TRIPLE_DIGITS = 3;
/** The Z of UTC as the fourth byte, after three digits. */
const ZULU = 0x5a << 24;

/** The three digits of each number below a thousand, the first one in the lowest byte. */
const TRIPLES = Int32Array.from(
  { length: TRIPLE },
  (_, number) =>
    (ZERO + Math.floor(number / 100)) |
    ((ZERO + (Math.floor(number / 10) % 10)) << 8) |
    ((ZERO + (number % 10)) << 16),
);

/** Writes six digits and the Z of UTC at a position; micros 0-999999. */
function putMicros({ view }: { readonly view: DataView }, at: number, micros: number): void {
  const upper = (micros / TRIPLE) | 0;
  view.setInt32(at, TRIPLES[upper]!, true);
  view.setInt32(at + TRIPLE_DIGITS, TRIPLES[micros - TRIPLE * upper]! | ZULU, true);
}

const WORD = 2 ** 32;
const MILLI_NANOS = 1_000_000;
const SECOND_MILLIS = 1000;
const MICRO_NANOS = 1000;

const SECOND_NANOS = SECOND_MILLIS * MILLI_NANOS;

/**
 * Splits nanoseconds since 1970 into seconds and microseconds. The nanoseconds come as two halves of 64 bits, because a
 * double would lose the lowest digits.
 */
export class SplitTime {
  seconds = 0;
  micros = 0;
  /** The time that was last split by division, and its nanoseconds within the second. */
  #low = 0;
  #high = 0;
  #nanos = 0;

  set(low: number, high: number): void {
    // Most times are in the same second as the previous one: the difference is small, and so exact.
    const nanos = this.#nanos + (high - this.#high) * WORD + (low - this.#low);
    if (nanos >= 0 && nanos < SECOND_NANOS) this.micros = Math.floor(nanos / MICRO_NANOS);
    else this.#divide(low, high);
  }

  /**
   * Divides by a million, one half at a time: the remainder of the upper half times 2^32 stays below 2^52, where doubles
   * are exact.
   */
  #divide(low: number, high: number): void {
    const upper = Math.floor(high / MILLI_NANOS);
    const rest = (high - upper * MILLI_NANOS) * WORD + low;
    const lower = Math.floor(rest / MILLI_NANOS);
    const millis = upper * WORD + lower;
    this.seconds = Math.floor(millis / SECOND_MILLIS);
    const milli = millis - this.seconds * SECOND_MILLIS;
    this.#low = low;
    this.#high = high;
    this.#nanos = milli * MILLI_NANOS + rest - lower * MILLI_NANOS;
    this.micros = Math.floor(this.#nanos / MICRO_NANOS);
  }
}

/** The library whose numbers a severity text may be, as in `"30"`; only the scope can tell. */
export type SeverityNumbering = "pino" | "syslog";

/** Levels by severity text in upper case. */
const RANK_BY_TEXT = new Map<string, LevelRank>();

const TEXTS: readonly (readonly string[])[] = [
  ["DEBUG", "TRACE", "FINE", "FINER", "FINEST", "VERBOSE"],
  ["INFO", "NOTICE", "INFORMATION", "CONFIG"],
  ["WARNING", "WARN"],
  ["ERROR", "ERR", "SEVERE"],
  ["CRITICAL", "CRIT", "FATAL", "ALERT", "EMERG", "EMERGENCY", "PANIC", "DPANIC"],
];
for (const [rank, texts] of TEXTS.entries()) {
  for (const text of texts) RANK_BY_TEXT.set(text, rank as LevelRank);
}

/** OpenTelemetry's short names, such as `WARN2` (logs data model, "Displaying Severity"). */
const SHORT_NAME = /^(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)[1-4]$/;

/** How Python shows a level without a name. */
const PYTHON_LEVEL = /^LEVEL (\d+)$/;

const DIGITS = /^\d+$/;

/** No known severity text is longer. */
const TEXT_CHARS_MAX = 24;

/** Returns a record's level: by its severity number, otherwise by its severity text, otherwise INFO. */
export function rankOf(
  severityNumber: number | undefined,
  severityText: string | undefined,
  numbering?: SeverityNumbering,
): LevelRank {
  return (
    rankOfNumber(severityNumber) ??
    (severityText ? rankOfText(severityText, numbering) : undefined) ??
    INFO_RANK
  );
}

/** Returns the level of a severity number (logs data model, "SeverityNumber"); undefined if there is none. */
export function rankOfNumber(severityNumber: number | undefined): LevelRank | undefined {
  if (severityNumber === undefined || !(severityNumber > 0)) return undefined;
  if (severityNumber <= 8) return 0;
  if (severityNumber <= 12) return 1;
  if (severityNumber <= 16) return 2;
  return severityNumber <= 20 ? 3 : 4;
}

/** Returns the level of a severity text in any case; undefined for an unknown text. */
export function rankOfText(text: string, numbering?: SeverityNumbering): LevelRank | undefined {
  const trimmed = text.trim();
  if (trimmed.length > TEXT_CHARS_MAX) return undefined;
  const name = trimmed.toUpperCase();
  const known = RANK_BY_TEXT.get(name) ?? RANK_BY_TEXT.get(SHORT_NAME.exec(name)?.[1] ?? "");
  if (known !== undefined) return known;
  const pythonLevel = PYTHON_LEVEL.exec(name)?.[1];
  if (pythonLevel !== undefined) return rankOfTens(Number(pythonLevel) - 10);
  if (numbering === undefined || !DIGITS.test(name)) return undefined;
  return numbering === "pino" ? rankOfTens(Number(name) - 20) : rankOfSyslog(Number(name));
}

/** For levels that are ten apart: 0 is DEBUG, 40 and above is CRITICAL. */
function rankOfTens(number: number): LevelRank {
  return Math.min(Math.max(Math.floor(number / 10), 0), 4) as LevelRank;
}

/** From 0, emergency, to 7, debug (RFC 5424, 6.2.1). */
const SYSLOG_RANKS: readonly LevelRank[] = [4, 4, 4, 3, 2, 1, 1, 0];

function rankOfSyslog(severity: number): LevelRank | undefined {
  return SYSLOG_RANKS[severity];
}

/**
 * Bridges whose scope is the bridge itself. Their records carry the logger's name as an attribute (otel.md,
 * "Semantic conventions").
 */
const BRIDGES = new Set([
  "@opentelemetry/instrumentation-pino",
  "@opentelemetry/instrumentation-bunyan",
  "@opentelemetry/instrumentation-winston",
  "@opentelemetry/winston-transport",
  "@opentelemetry/instrumentation-console",
  "pino-opentelemetry-transport",
]);

/** Scope names that mean that there is none; the JavaScript SDK uses the second for a logger without a name. */
const NAMELESS = new Set(["", "unknown"]);

const UNKNOWN = "unknown";

/** The attributes that name the logger of a bridge's record, or of one without a scope name, by precedence. */
const BRIDGE_NAME_ATTRIBUTES = ["logger", "name", "label"] as const;
const NAME_ATTRIBUTES = ["logger", "logger.name", "name"] as const;

/** Parts of scope names that tell whose numbers a severity text may be; bunyan uses those of pino. */
const NUMBERINGS: readonly (readonly [RegExp, SeverityNumbering])[] = [
  [/(?:^|[^a-z])(?:pino|bunyan)(?:[^a-z]|$)/i, "pino"],
  [/(?:^|[^a-z])syslog(?:receiver)?(?:[^a-z]|$)/i, "syslog"],
];

/** What follows from a logger's name; computed once for each name. */
export interface LoggerName {
  readonly name: string;
  readonly audit: boolean;
  /** The attributes that may name the logger instead, by precedence; undefined if this name counts. */
  readonly nameAttributes: readonly string[] | undefined;
  /** Whether it is the name of a bridge. */
  readonly bridge: boolean;
  readonly numbering: SeverityNumbering | undefined;
  /** For each level the part of the envelope before the message. */
  readonly prefixes: readonly EnvelopePrefix[];
}

/** More names than any program has loggers. Beyond that, the cache is cleared. */
const NAMES_MAX = 10_000;
/** Longer names are not cached. */
const NAME_CHARS_MAX = 1000;
/** The limit of all names together: each is there eleven times. */
const CHARS_MAX = 1 << 19;

/**
 * The version of the code that makes envelopes. It has to grow when any record's envelope changes, and the envelopes of
 * earlier versions have to be made as before (rules.ts).
 */
export const ENVELOPE_VERSION = 1;

/** The loggers of a gateway, by scope name. */
export class LoggerNames {
  readonly #auditLoggers: readonly string[];
  readonly #names = new Map<string, LoggerName>();
  #chars = 0;

  /** The attributes of the resource that envelopes have. */
  readonly resourceAttributes: readonly string[];
  /** The rules by which envelopes are made with them. */
  readonly rules: EnvelopeRules;

  /** `auditLoggers`: the loggers whose records, and whose children's, are audit events. */
  constructor(auditLoggers: readonly string[], resourceAttributes: readonly string[] = []) {
    this.#auditLoggers = auditLoggers;
    this.resourceAttributes = resourceAttributes;
    this.rules = { version: ENVELOPE_VERSION, resourceAttributes };
  }

  of(name: string): LoggerName {
    let known = this.#names.get(name);
    if (!known) {
      known = this.#describe(name);
      if (name.length <= NAME_CHARS_MAX) this.#cache(name, known);
    }
    return known;
  }

  #cache(name: string, described: LoggerName): void {
    if (this.#names.size >= NAMES_MAX || this.#chars + name.length > CHARS_MAX) {
      this.#names.clear();
      this.#chars = 0;
    }
    this.#names.set(name, described);
    this.#chars += name.length;
  }

  #describe(scopeName: string): LoggerName {
    const name = scopeName || UNKNOWN;
    const audit = isAuditLogger(name, this.#auditLoggers);
    const bridge = BRIDGES.has(name);
    return {
      name,
      audit,
      bridge,
      nameAttributes: nameAttributesOf(name, bridge),
      numbering: NUMBERINGS.find(([part]) => part.test(name))?.[1],
      prefixes: LEVELS.map((_, rank) => new EnvelopePrefix(name, rank as LevelRank, audit)),
    };
  }
}

function nameAttributesOf(name: string, bridge: boolean): readonly string[] | undefined {
  if (bridge) return BRIDGE_NAME_ATTRIBUTES;
  return NAMELESS.has(name) ? NAME_ATTRIBUTES : undefined;
}

/** For use without a configuration: `orchestrator.audit` is the audit logger. */
export const DEFAULT_LOGGER_NAMES = new LoggerNames([AUDIT_LOGGER]);

const SYSTEM_HEAD = ascii('{"type":"system_log","data":{"timestamp":"');
const AUDIT_HEAD = ascii('{"type":"audit_log","data":{"timestamp":"');

/** A placeholder for the timestamp. */
const TIME = ascii("2025-10-13T09:27:24.339163Z");

/** An envelope up to its message, for one logger and level: copied as a whole, with the time filled in. */
export class EnvelopePrefix {
  /** The size of what follows the timestamp. */
  readonly #headBytes: number;
  readonly #bytes: Uint8Array;
  readonly #timeStart: number;
  /** The second in `#bytes`; most records share it with the previous one. */
  #second = -1;

  constructor(logger: string, rank: LevelRank, audit: boolean) {
    const type = audit ? AUDIT_HEAD : SYSTEM_HEAD;
    this.#bytes = Buffer.concat([type, TIME, headBytes(logger, rank)]);
    this.#timeStart = type.length;
    this.#headBytes = this.#bytes.length - type.length - TIME.length;
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** Writes it. `seconds` must be shown (see {@link isShownSecond}); `micros`: 0-999999. */
  write(writer: JsonWriter, seconds: number, micros: number): void {
    writer.reserve(this.#bytes.length);
    writer.position = this.put(writer, writer.position, seconds, micros);
  }

  /** Writes it at a position in memory that was reserved, and returns the position after it. */
  put(
    target: { readonly buffer: Uint8Array; readonly view: DataView },
    at: number,
    seconds: number,
    micros: number,
  ): number {
    if (seconds !== this.#second) {
      this.#bytes.set(textOfSecond(seconds), this.#timeStart);
      this.#second = seconds;
    }
    target.buffer.set(this.#bytes, at);
    return this.putMicros(target, at + this.#bytes.length, micros);
  }

  /** Writes the microseconds into a copy that ends at that position, which it returns. */
  putMicros(target: { readonly view: DataView }, end: number, micros: number): number {
    putMicros(target, end - this.#headBytes - MICROS_BYTES, micros);
    return end;
  }
}

function headBytes(logger: string, rank: LevelRank): Uint8Array {
  const writer = JsonWriter.scratch();
  writer.raw(ascii(`","level":"${LEVELS[rank]}","logger":`));
  writer.string(logger);
  writer.raw(ascii(',"message":'));
  return Uint8Array.from(writer.buffer.subarray(0, writer.position));
}
