import { AUDIT_LOGGER, type Level } from "../wire/envelope.ts";
import type { LogRecord, Value } from "../plugin/index.ts";

const NANOS_PER_MS = 1_000_000n;

const SEVERITY_NUMBERS = { INFO: 9, WARNING: 13 } as const satisfies Partial<Record<Level, number>>;

export interface OwnEvent {
  /** The last part of the logger's name, below the audit logger. */
  readonly logger: string;
  readonly level: keyof typeof SEVERITY_NUMBERS;
  readonly eventType: string;
  readonly timeMs: number;
  readonly details: Map<string, Value>;
}

/** Returns an audit event of the gateway's own, which tells about the audit trail itself. */
export function ownEvent({ logger, level, eventType, timeMs, details }: OwnEvent): LogRecord {
  const nanos = BigInt(timeMs) * NANOS_PER_MS;
  return {
    timestamp: nanos,
    observedTimestamp: nanos,
    severityNumber: SEVERITY_NUMBERS[level],
    severityText: level,
    body: eventType,
    eventName: "",
    attributes: new Map<string, Value>([
      ["event_type", eventType],
      ["details", details],
    ]),
    traceId: "",
    spanId: "",
    flags: 0,
    resource: null,
    scope: { name: ownLogger(logger), version: "", attributes: new Map() },
  };
}

export function ownLogger(name: string): string {
  return `${AUDIT_LOGGER}.${name}`;
}

const OWN_MARK = Buffer.from(`"logger":"${AUDIT_LOGGER}.`);

/** Whether a line of an audit file may be an event of the gateway's own: a quick look, for most lines are not. */
export function mayBeOwnEvent(line: Buffer): boolean {
  return line.includes(OWN_MARK);
}
