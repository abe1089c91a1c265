import { LEVELS, type Level, type LogRecord, type ParsedLine, type Value } from "tailgate/plugin";

/** What a record is before its message is parsed. */
export interface Original {
  readonly isAudit: boolean;
  readonly level: Level;
  readonly logger: string;
}

/** What becomes of the record's own values and of its message. */
export interface MergeOptions {
  /** Whether the message's fields replace what the record has. */
  readonly overwrite: boolean;
  readonly keepMessage: boolean;
}

/** The logger of a record that names none. */
const NAMELESS = "unknown";

/** Goes before the names of fields that the record already has with another value. */
const PREFIX = "message.";

/** Puts what a message says into its record. Fields that the record has with another value get the prefix `message.`. */
export function mergeFields(
  line: ParsedLine,
  record: LogRecord,
  original: Original,
  { overwrite, keepMessage }: MergeOptions,
): void {
  const others = new Map<string, Value>();
  if (line.body !== null && !keepMessage) record.body = line.body;
  if (line.timestamp !== undefined && (overwrite || record.timestamp === 0n)) {
    record.timestamp = line.timestamp;
  }
  mergeSeverity(line, record, original, overwrite, others);
  mergeLogger(line, record, original, overwrite, others);
  for (const [id, name] of IDS) {
    const value = line[id];
    if (value === undefined || value === record[id]) continue;
    if (overwrite || record[id] === "") record[id] = value;
    else others.set(name, value);
  }
  for (const [key, value] of line.attributes) {
    const own = record.attributes.get(key);
    if (own === undefined || overwrite) record.attributes.set(key, value);
    else if (!Object.is(own, value)) others.set(key, value);
  }
  for (const [key, value] of others) record.attributes.set(freeName(key, record), value);
}

/** The ids of a line, and the names of the fields for them. */
const IDS = [
  ["traceId", "trace_id"],
  ["spanId", "span_id"],
] as const;

function mergeSeverity(
  { severity }: ParsedLine,
  record: LogRecord,
  { isAudit, level }: Original,
  overwrite: boolean,
  others: Map<string, Value>,
): void {
  if (severity === undefined) return;
  const isUnset = record.severityNumber === 0 && record.severityText === "";
  const rank = rankOf(severity.number);
  // The gateway rejects audit events below INFO.
  if ((isUnset || overwrite) && !(isAudit && rank < LEVELS.indexOf("INFO"))) {
    record.severityNumber = severity.number;
    record.severityText = severity.text;
  } else if (LEVELS[rank] !== level) others.set("level", severity.text);
}

/** Returns the index in LEVELS for a severity number (logs data model, "SeverityNumber"). */
function rankOf(severityNumber: number): number {
  return Math.min(Math.max(Math.ceil(severityNumber / 4) - 2, 0), LEVELS.length - 1);
}

function mergeLogger(
  { logger }: ParsedLine,
  record: LogRecord,
  original: Original,
  overwrite: boolean,
  others: Map<string, Value>,
): void {
  if (logger === undefined || logger === original.logger) return;
  // Otherwise a message could take its record out of the audit trail.
  const isReplaced = !original.isAudit && (overwrite || original.logger === NAMELESS);
  if (isReplaced) record.scope = { ...record.scope, name: logger };
  else others.set("logger", logger);
}

function freeName(key: string, { attributes }: LogRecord): string {
  let name = PREFIX + key;
  while (attributes.has(name)) name = PREFIX + name;
  return name;
}
