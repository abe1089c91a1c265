/** `tailgate`: the gateway inside your own process. For plugins there is `tailgate/plugin`. */

import "./runtime/supported-node.ts";

// A gateway inside an orchestrator's process.
export { LoggingManager } from "./logging-manager.ts";
export type { ComponentOptions, LoggingOptions } from "./logging-manager.ts";
export type { AuditEvent, AuditOptions } from "./otel/audit-event.ts";
export type { Receipt } from "./intake/audit-events.ts";
export type { Extras, OrchestratorLogger } from "./otel/loggers.ts";

// In a worker process without a gateway of its own.
export type { ConnectionStatus, LoggingConnection, RemoteReceipt } from "./connect/connection.ts";
export type { ConnectOptions } from "./connect/options.ts";

// A gateway without OpenTelemetry's APIs.
export { resolveConfig } from "./config/config.ts";
export type { Config } from "./config/config.ts";
export { startTailgate } from "./gateway/start.ts";
export type { RunningTailgate, StartOptions } from "./gateway/start.ts";

// What clients receive.
export { AUDIT_LOGGER, ENVELOPE_TYPES, LEVELS } from "./wire/envelope.ts";
export type {
  AuditLog,
  Envelope,
  EnvelopeType,
  JsonValue,
  Level,
  SystemLog,
} from "./wire/envelope.ts";

// Errors.
export { TailgateError } from "./wire/errors.ts";
export type { ErrorCode } from "./wire/errors.ts";
