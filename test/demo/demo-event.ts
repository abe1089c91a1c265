import { AUDIT_LOGGER, type Level } from "tailgate";

/** What the demo's orchestrator logs at one time. */
export interface DemoEvent {
  /** Milliseconds since its start. */
  readonly atMs: number;
  readonly level: Level;
  readonly logger: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly trace?: Trace;
  readonly error?: Error;
}

export interface Trace {
  readonly traceId: string;
  readonly spanId: string;
}

/** The source location of a logger, which its records include. */
const SOURCES: Readonly<Record<string, string>> = {
  "orchestrator.server": "server.py",
  "orchestrator.instance_manager": "instance_manager.py",
  "orchestrator.monitor": "monitor.py",
  "orchestrator.message_bus": "message_bus.py",
  "orchestrator.instance": "instance.py",
};

export function systemLog(
  atMs: number,
  level: Level,
  [logger, code]: readonly [logger: string, code: string],
  message: string,
  more: Partial<DemoEvent> = {},
): DemoEvent {
  const [functionName, line] = code.split(":");
  const place = {
    "code.file.path": SOURCES[logger],
    "code.function.name": functionName,
    "code.line.number": Number(line),
  };
  return { atMs, level, logger, message, ...more, fields: { ...more.fields, ...place } };
}

export function auditEvent(
  atMs: number,
  eventType: string,
  instanceId: string | null,
  details: Readonly<Record<string, unknown>>,
  trace?: Trace,
): DemoEvent {
  return {
    atMs,
    level: eventType === "error" || eventType === "manager_daemon_failure" ? "ERROR" : "INFO",
    logger: AUDIT_LOGGER,
    message: eventType,
    fields: { event_type: eventType, instance_id: instanceId, details },
    ...(trace && { trace }),
  };
}
