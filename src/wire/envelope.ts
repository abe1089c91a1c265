/** The wire format (version 1): what browsers, files and plugins receive. DESIGN "The envelope". */

/** The level names, the least severe first. */
export const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;

/** The only five level names that ever reach a client. */
export type Level = (typeof LEVELS)[number];

/** The index of a level in {@link LEVELS}: a higher rank is more severe. */
export type LevelRank = 0 | 1 | 2 | 3 | 4;

export const INFO_RANK: LevelRank = 1;

/** The types of records. */
export const ENVELOPE_TYPES = ["system_log", "audit_log"] as const;

/** `system_log` or `audit_log`. */
export type EnvelopeType = (typeof ENVELOPE_TYPES)[number];

/** The value of an attribute in an envelope: strict JSON. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** The `data` of a system log. */
export interface SystemLog {
  /** UTC, always with six fractional digits: `2025-10-13T09:27:24.339163Z`. */
  readonly timestamp: string;
  readonly level: Level;
  readonly logger: string;
  readonly message: string;
  /** Basename of the source file without its extension; "" if unknown. */
  readonly module: string;
  /** Last component of the function's name; "" if unknown. */
  readonly function: string;
  /** Line of the call, from 1; 0 if unknown. */
  readonly line: number;
  /** Every other attribute of the record, under its own name. */
  readonly [extra: string]: JsonValue;
}

/** The `data` of an audit event. */
export interface AuditLog {
  readonly timestamp: string;
  readonly level: Level;
  readonly logger: string;
  readonly message: string;
  /** The kind of event, such as `instance_spawn`. */
  readonly action?: string;
  readonly metadata?: { readonly [key: string]: JsonValue };
}

/** A record as clients and files get it. */
export type Envelope =
  | { readonly type: "system_log"; readonly data: SystemLog }
  | { readonly type: "audit_log"; readonly data: AuditLog };

export const AUDIT_LOGGER = "orchestrator.audit";

/** The loggers of the gateway's own audit events, whatever the configuration says. */
const OWN_AUDIT_LOGGERS = new Set([
  "orchestrator.audit.checkpoint",
  "orchestrator.audit.clock",
  "orchestrator.audit.journal",
  "orchestrator.audit.key",
]);

/** Whether a logger is an audit logger or a child of one: `orchestrator.audit.x` is, `orchestrator.auditor` is not. */
export function isAuditLogger(logger: string, auditLoggers: readonly string[]): boolean {
  return auditLoggers.some((name) => isSameOrChild(logger, name)) || OWN_AUDIT_LOGGERS.has(logger);
}

/** Whether a logger is `parent` or below it in the dotted hierarchy. */
export function isSameOrChild(logger: string, parent: string): boolean {
  return (
    logger.startsWith(parent) &&
    (logger.length === parent.length || logger.charCodeAt(parent.length) === DOT)
  );
}

const DOT = 0x2e;

const RANK_BY_NAME = new Map<string, LevelRank>([
  ["DEBUG", 0],
  ["INFO", 1],
  ["WARNING", 2],
  ["WARN", 2],
  ["ERROR", 3],
  ["CRITICAL", 4],
  ["FATAL", 4],
]);

/** Returns the rank of a level's name in any case, including WARN and FATAL; undefined for other texts. */
export function rankOfName(name: string): LevelRank | undefined {
  return RANK_BY_NAME.get(name) ?? RANK_BY_NAME.get(name.toUpperCase());
}
