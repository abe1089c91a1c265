/** `tailgate/client`: a gateway's records in a browser or in Node, live and from the past, without a dependency. */

export { LogStream } from "./log-stream.ts";
export type { LogStreamOptions } from "./log-stream.ts";
export type {
  GapReason,
  LogEntry,
  MissingRange,
  StreamEvent,
  StreamListener,
  StreamStatus,
  Transport,
} from "./stream-events.ts";

// The past.
export { HistoryError, LogHistory } from "./log-history.ts";
export type { HistoryPage, HistoryQuery } from "./log-history.ts";

// What comes over the wire.
export { LEVELS } from "../wire/envelope.ts";
export type {
  AuditLog,
  Envelope,
  EnvelopeType,
  JsonValue,
  Level,
  SystemLog,
} from "../wire/envelope.ts";
export type { FilterQuery } from "../wire/filter.ts";
export { SUBPROTOCOL } from "../wire/protocol.ts";
export type { ClientMessage, GapMessage, Resume, ServerMessage, Start } from "../wire/protocol.ts";
