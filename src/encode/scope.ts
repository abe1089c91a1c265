import { isAuditLogger, LEVELS, type LevelRank } from "../envelope.ts";
import { EnvelopeStart } from "./envelope-start.ts";

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

/** The attributes that may name a bridge's logger, the first one that is a string counts. */
export const BRIDGE_NAME_ATTRIBUTES = ["logger", "name", "label"] as const;

/** What follows from a logger's name, worked out once for each name. */
export interface LoggerName {
  readonly name: string;
  readonly audit: boolean;
  /** True where the name is a bridge's, and the record has to be asked for its logger. */
  readonly bridge: boolean;
  /** For each level what is before the message. */
  readonly starts: readonly EnvelopeStart[];
}

/** More names than any program has loggers; beyond it the memory starts anew. */
const NAMES_MAX = 10_000;
/** A longer name is nobody's logger, and not worth to be remembered. */
const NAME_CHARS_MAX = 1000;
/** Of all names together: each is there eleven times. */
const CHARS_MAX = 1 << 19;

const names = new Map<string, LoggerName>();
let chars = 0;

export function loggerName(name: string): LoggerName {
  let known = names.get(name);
  if (!known) {
    known = describe(name || "unknown");
    if (name.length <= NAME_CHARS_MAX) remember(name, known);
  }
  return known;
}

function remember(name: string, described: LoggerName): void {
  if (names.size >= NAMES_MAX || chars + name.length > CHARS_MAX) {
    names.clear();
    chars = 0;
  }
  names.set(name, described);
  chars += name.length;
}

function describe(name: string): LoggerName {
  const audit = isAuditLogger(name);
  return {
    name,
    audit,
    bridge: BRIDGES.has(name),
    starts: LEVELS.map((_, rank) => new EnvelopeStart(name, rank as LevelRank, audit)),
  };
}
