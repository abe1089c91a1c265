import { AUDIT_LOGGER, isAuditLogger, LEVELS, type LevelRank } from "../wire/envelope.ts";

import { ascii, JsonWriter } from "./json-writer.ts";
import type { SeverityNumbering } from "./severity.ts";
import { MICROS_BYTES, putMicros, textOfSecond } from "./timestamp.ts";

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

/** The loggers of a gateway, by scope name. */
export class LoggerNames {
  readonly #auditLoggers: readonly string[];
  readonly #names = new Map<string, LoggerName>();
  #chars = 0;

  /** `auditLoggers`: the loggers whose records, and whose children's, are audit events. */
  constructor(auditLoggers: readonly string[]) {
    this.#auditLoggers = auditLoggers;
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

export const SYSTEM_HEAD = ascii('{"type":"system_log","data":{"timestamp":"');
export const AUDIT_HEAD = ascii('{"type":"audit_log","data":{"timestamp":"');

/** A placeholder for the timestamp. */
const TIME = ascii("2025-10-13T09:27:24.339163Z");

/** An envelope up to its message, for one logger and level: copied as a whole, with the time filled in. */
export class EnvelopePrefix {
  /** What follows the timestamp. */
  readonly head: Uint8Array;
  readonly #bytes: Uint8Array;
  readonly #timeStart: number;
  /** The second in `#bytes`; most records share it with the previous one. */
  #second = -1;

  constructor(logger: string, rank: LevelRank, audit: boolean) {
    const type = audit ? AUDIT_HEAD : SYSTEM_HEAD;
    this.#bytes = Buffer.concat([type, TIME, headBytes(logger, rank)]);
    this.#timeStart = type.length;
    this.head = this.#bytes.subarray(type.length + TIME.length);
  }

  /** Writes it. `seconds` must be shown (see timestamp.ts); `micros`: 0-999999. */
  write(writer: JsonWriter, seconds: number, micros: number): void {
    if (seconds !== this.#second) {
      this.#bytes.set(textOfSecond(seconds), this.#timeStart);
      this.#second = seconds;
    }
    writer.raw(this.#bytes);
    putMicros(writer, writer.position - this.head.length - MICROS_BYTES, micros);
  }
}

function headBytes(logger: string, rank: LevelRank): Uint8Array {
  const writer = JsonWriter.scratch();
  writer.raw(ascii(`","level":"${LEVELS[rank]}","logger":`));
  writer.string(logger);
  writer.raw(ascii(',"message":'));
  return Uint8Array.from(writer.buffer.subarray(0, writer.position));
}
