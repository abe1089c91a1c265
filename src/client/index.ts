/** `tailgate/client`: follows a gateway's records and reads its journal, in browsers and in Node, without dependencies. */

// Live records.
export { LogStream } from "./log-stream.ts";
export { rawJson } from "./raw-json.ts";
export type { RawReader } from "./raw-json.ts";
export type { LogStreamOptions } from "./log-stream.ts";
export type { TokenSource } from "./access.ts";
export type { AccessCode, GatewayOptions } from "./gateway.ts";
export type {
  GapReason,
  LogEntry,
  MissingRange,
  StreamEvent,
  StreamListener,
  StreamStatus,
  Transport,
} from "./stream-events.ts";

// The journal.
export { HistoryError, LogHistory } from "./log-history.ts";
export type { HistoryPage, HistoryQuery } from "./log-history.ts";

// The wire format.
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
