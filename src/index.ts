/** `tailgate`: the gateway inside your own process. Plugins are written against `tailgate/plugin`. */

import "./supported-node.ts";

// In an orchestrator's own process.
export { LoggingManager } from "./logging-manager.ts";
export type {
  AuditEvent,
  AuditOptions,
  ComponentOptions,
  LoggingOptions,
} from "./logging-manager.ts";
export type { Receipt } from "./intake/audit-events.ts";
export type { Extras, OrchestratorLogger } from "./otel/orchestrator-logger.ts";

// The gateway alone.
export { resolveConfig } from "./config.ts";
export type { Config } from "./config.ts";
export { startTailgate } from "./start.ts";
export type { RunningTailgate, StartOptions } from "./start.ts";

// What clients receive.
export { AUDIT_LOGGER, ENVELOPE_TYPES, LEVELS } from "./envelope.ts";
export type { AuditLog, Envelope, EnvelopeType, JsonValue, Level, SystemLog } from "./envelope.ts";

// What can go wrong.
export { TailgateError } from "./errors.ts";
export type { ErrorCode } from "./errors.ts";
