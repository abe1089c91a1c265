import { createRecord, type LogRecord, type Value, type ValueMap } from "../plugin/record.ts";
import type { Severity } from "./severity.ts";

/** The format that a line was found to have. */
export type LineFormat = "json" | "logfmt" | "klog" | "syslog" | "text";

/** What a line of a log says. Everything that is not mentioned is undefined. */
export interface ParsedLine {
  /** The format that was found. */
  readonly format: LineFormat;
  /** The message; null if the line has none. */
  readonly body: Value;
  /** All other fields, in their order. Call sites and exceptions have the names of OpenTelemetry's conventions. */
  readonly attributes: ValueMap;
  /** When it happened, in nanoseconds since 1970. */
  readonly timestamp?: bigint | undefined;
  /** The severity, with its name as in the line. */
  readonly severity?: Severity | undefined;
  /** The logger's name. */
  readonly logger?: string | undefined;
  /** 32 hex digits. */
  readonly traceId?: string | undefined;
  /** 16 hex digits. */
  readonly spanId?: string | undefined;
}

/** Returns the record of a line. `logger` counts if the line does not name one; without a time, it happened now. */
export function recordOfLine(line: ParsedLine, logger: string): LogRecord {
  const record = createRecord({ logger: line.logger ?? logger, body: line.body });
  record.attributes = line.attributes;
  record.severityNumber = line.severity?.number ?? 0;
  record.severityText = line.severity?.text ?? "";
  if (line.timestamp !== undefined) record.timestamp = line.timestamp;
  record.traceId = line.traceId ?? "";
  record.spanId = line.spanId ?? "";
  return record;
}
