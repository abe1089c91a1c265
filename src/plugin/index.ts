/**
 * `tailgate/plugin`: everything that a plugin author needs. The built-in plugins use nothing else.
 *
 * A plugin is one file whose default export is made by {@link defineReceiver}, {@link defineProcessor} or
 * {@link defineExporter}. Its lifecycle:
 *
 * 1. Load: the file is imported, and the definition and its `apiVersion` are checked.
 * 2. Options: the configuration under the component's key is validated with `options`.
 * 3. Plan: `plan(options)`, if present, returns the ports, paths and targets. `tailgate validate` ends here.
 * 4. Open: `open(options, host)`, exporters first, then processors, then receivers. An exception ends the start with the
 *    plugin's name. Register routes here; they are served from step 5 on.
 * 5. Running: `write` for exporters, one call at a time, and `process` for processors. Exceptions are counted, and
 *    retried or isolated; other plugins are not affected.
 * 6. Close: receivers first, exporters last, once they were offered what was accepted. `close` is called once.
 */

// Defining a plugin.
export { z } from "zod";
export { API_VERSION, defineExporter, defineProcessor, defineReceiver } from "./definition.ts";
export type {
  Definition,
  EffectiveOption,
  Exporter,
  ExporterDefinition,
  OptionSchema,
  Plan,
  PluginDefinition,
  Processor,
  ProcessorDefinition,
  Receiver,
  ReceiverDefinition,
  Written,
} from "./definition.ts";

// What the gateway offers to a plugin.
export type { Host, HostLogger, Ingested, Intake, ProcessorHost, ReceiverHost } from "./host.ts";
export type { HistogramOptions, HostMetrics } from "./metrics.ts";
export type {
  Gap,
  HostClock,
  HostJournal,
  HostMemory,
  JournalPage,
  JournalQuery,
} from "./journal.ts";

// HTTP requests and who makes them.
export type {
  AddressedRequest,
  CrossOrigin,
  HostHttp,
  RefusalHandler,
  Rejection,
  RequestUrl,
  RouteHandler,
  RouteOptions,
  RouteRefusal,
  UpgradeHandler,
} from "./http.ts";
export type { Access, RouteAccess } from "./access.ts";
export type { HostTls, SecureServer } from "./tls.ts";
export { ACCESS_SCOPES } from "../wire/access-scopes.ts";
export type { AccessScope } from "../wire/access-scopes.ts";

// Records.
export type { Batch, OtlpForm } from "./batch.ts";
export { createRecord } from "./record.ts";
export type { LogRecord, RecordInit, Resource, Scope, Value, ValueMap } from "./record.ts";
export type { EncodedMessage, RecordView, Verdict } from "./record-view.ts";
export { ENVELOPE_TYPES, LEVELS } from "../wire/envelope.ts";
export type {
  AuditLog,
  Envelope,
  EnvelopeType,
  JsonValue,
  Level,
  SystemLog,
} from "../wire/envelope.ts";

// Lines of logs.
export type { LineKeys } from "../lines/fields.ts";
export { lineParser } from "../lines/line.ts";
export type { LineOptions, LineParser } from "../lines/line.ts";
export { recordOfLine } from "../lines/parsed-line.ts";
export type { LineFormat, ParsedLine } from "../lines/parsed-line.ts";
export type { Severity } from "../lines/severity.ts";
export { LineSplitter } from "../lines/splitter.ts";
export type { SplitLine } from "../lines/splitter.ts";

// Errors.
export type { ErrorCode } from "../wire/errors.ts";
export { PermanentError, RetryLaterError, TailgateError, textOf } from "../wire/errors.ts";

// Filters and the messages of `tailgate.v1`.
export { bothFilters, parseFilter } from "../filter/filter.ts";
export type { Filter, FilterTerm } from "../filter/filter.ts";
export { heldRecord } from "../filter/records.ts";
export type { RecordFields } from "../filter/records.ts";
export { FILTER_CHARACTERS_MAX, FILTER_PARAMETERS } from "../wire/filter.ts";
export type { FilterQuery } from "../wire/filter.ts";
export { BatchMatch } from "./batch-match.ts";
export type { BatchFilter } from "./batch-match.ts";
export { PLAIN_SUBPROTOCOL, SUBPROTOCOL } from "../wire/protocol.ts";
export type { ClientMessage, GapMessage, ServerMessage } from "../wire/protocol.ts";

// Helpers.
export { refuseUpgrade, requestUrl, withPath } from "./http.ts";
export { printable, quotedExcerpt } from "../wire/printable.ts";
export {
  compressedTextFrame,
  frameHeaderBytes,
  textFrame,
  textFrameAt,
  writeFrameHeader,
} from "./text-frame.ts";
export { withSignals } from "../runtime/timers.ts";
