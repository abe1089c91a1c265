/**
 * `tailgate/plugin`: everything that a plugin author needs, and all that the built-in plugins use.
 *
 * A plugin is one file whose default export is made by {@link defineReceiver}, {@link defineProcessor} or
 * {@link defineExporter}. Its life:
 *
 * 1. Load: the file is imported; the definition and its `apiVersion` are checked.
 * 2. Options: what the configuration says under its key is validated with `options`.
 * 3. Plan: `plan(options)`, if there is one, says which ports and paths it will use. `tailgate validate` ends here.
 * 4. Open: `open(options, host)`. Exporters are opened first, then processors, then receivers. What throws here
 *    ends the start of the gateway with the plugin's name. Routes are registered here and served from step 5 on.
 * 5. Running: `write` (exporters, one call at a time), `process` (processors). What throws here is counted, retried
 *    or isolated; other plugins do not notice.
 * 6. Close: receivers first, exporters last, after what was accepted has been offered to them. `close` is called once.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server } from "node:net";
import type { Duplex } from "node:stream";
import { z } from "zod";
import type { Envelope, EnvelopeType, JsonValue, Level } from "../wire/envelope.ts";
import type { HistogramOptions } from "./metrics.ts";

export { z };
export { PermanentError, RetryLaterError, TailgateError, textOf } from "../wire/errors.ts";
export {
  FILTER_CHARACTERS_MAX,
  FILTER_PARAMETERS,
  heldRecord,
  parseFilter,
} from "../wire/filter.ts";
export { LEVELS } from "../wire/envelope.ts";
export { printable, quotedExcerpt } from "../wire/printable.ts";
export { SUBPROTOCOL } from "../wire/protocol.ts";
export { withSignals } from "./time-limit.ts";
export { refuseUpgrade } from "./upgrade-refusal.ts";
export { requestUrl, withPath, type RequestUrl } from "./request-url.ts";
export type {
  AuditLog,
  Envelope,
  EnvelopeType,
  JsonValue,
  Level,
  SystemLog,
} from "../wire/envelope.ts";
export type { Filter, FilterQuery, FilterTerm, RecordFields } from "../wire/filter.ts";
export type { HistogramOptions } from "./metrics.ts";
export type { ClientMessage, GapMessage, ServerMessage } from "../wire/protocol.ts";

/** The version of this interface; a gateway takes plugins of its own version only. */
export const API_VERSION = 1;

/** A value as OTLP's AnyValue has it. Integers beyond 2^53 are bigint; nothing set is null. */
export type Value = string | number | bigint | boolean | null | Uint8Array | Value[] | ValueMap;

/** Keeps the order sent, and takes any key, `__proto__` included. */
export type ValueMap = Map<string, Value>;

/** One OpenTelemetry log record. Times are nanoseconds since 1970 UTC, 0n where absent; ids are lower-case hex or "". */
export interface LogRecord {
  timestamp: bigint;
  observedTimestamp: bigint;
  /** 1-24 as the specification has it; 0 where absent. */
  severityNumber: number;
  severityText: string;
  /** Null without a body. */
  body: Value;
  eventName: string;
  attributes: ValueMap;
  traceId: string;
  spanId: string;
  flags: number;
  /** Null for records of this process, until they come from the journal's disk. Shared by the records of one request: replace it, do not change it. */
  resource: Resource | null;
  /** Shared by the records of one logger: replace it, do not change it. */
  scope: Scope;
}

export interface Resource {
  readonly attributes: ValueMap;
}

export interface Scope {
  /** The logger's name. */
  readonly name: string;
  readonly version: string;
  readonly attributes: ValueMap;
}

/** How records are sent over OTLP. */
export interface OtlpForm {
  /** The logger's name is an attribute of this name too, where the record has none; for stores that drop the scope. */
  readonly loggerAttribute?: string | undefined;
  /**
   * Answers what a sequence is called by: a record gets it as `log.record.uid`, where its sender has given it none, so
   * that one that comes twice is known. {@link HostJournal.uidOf} is made for it.
   */
  readonly uidOf?: ((sequence: number) => string) | undefined;
}

/**
 * Records in the order of their sequence. Bytes are views into shared memory: read them, never change them, and copy
 * what must live longer than `write`.
 */
export interface Batch {
  readonly length: number;
  /** When the journal took the batch, in milliseconds since 1970, by {@link HostJournal.clock}. */
  readonly appendedAtMs: number;
  /** Sum of the envelopes' bytes. */
  readonly byteLength: number;
  /** The record's place in the journal, growing by one from record to record, from 1. */
  sequence(index: number): number;
  type(index: number): EnvelopeType;
  level(index: number): Level;
  logger(index: number): string;
  /** The envelope's size in bytes. */
  size(index: number): number;
  /** The envelope as JSON, UTF-8. */
  bytes(index: number): Uint8Array;
  /** The envelope's `data` object as JSON, UTF-8. */
  data(index: number): Uint8Array;
  /** The envelope, parsed on the first call. */
  envelope(index: number): Envelope;
  /** The OpenTelemetry record, rebuilt on each call. */
  record(index: number): LogRecord;
  /**
   * All records as an ExportLogsServiceRequest in protobuf. Without a form they are as their senders sent them. With
   * one, `{}` at least, they are fit to be sent on: a strict decoder would refuse all of them for one text that is not
   * UTF-8, which has U+FFFD there, or for one id of another length, which is left out.
   */
  otlp(form?: OtlpForm): Uint8Array;
  /** The same as JSON, UTF-8. */
  otlpJson(form?: OtlpForm): Uint8Array;
  /**
   * What ties an audit event to all those before it: SHA-256, 64 hex digits, over the hash of the event before and
   * the event's own line. "" for system logs, for events that are not durable yet, and where the journal is in memory.
   */
  hash(index: number): string;
  /** An audit event's line for the audit file, without its line feed; with `seq` and `hash` where it has a hash. */
  auditLine(index: number): Uint8Array;
  /** All envelopes, each as an unmasked WebSocket text frame (RFC 6455, 5.2), in one piece of memory. */
  frames(): Uint8Array;
  /** What it was joined from, in that order: their frames are there already, and its own are a copy. Absent where it was not. */
  readonly parts?: readonly Batch[];
  /** The records from `index` on. */
  from(index: number): Batch;
  /** The records for which `keep` answers true; the batch itself where it is all of them. */
  select(keep: (index: number) => boolean): Batch;
}

/** What became of a batch, where not all of it is on the other side. */
export interface Written {
  /** Records that are counted as dropped and not as sent, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** An exporter at work. */
export interface Exporter {
  /**
   * For an exporter that finds its own place, such as a file with sequences in it: the sequence of the newest record
   * that it has. Asked once, after opening. Where absent, delivery goes on behind what it has confirmed.
   */
  readonly resumeAfter?: number | undefined;
  /**
   * Resolves when the batch is safe on the other side, perhaps without some of its records, see {@link Written}. A
   * rejection with {@link PermanentError} drops the batch; any other is tried again with the same batch, later, and
   * with {@link RetryLaterError} not before the other side wants it. `signal` aborts at the time limit: give up then.
   */
  write(batch: Batch, signal: AbortSignal): Promise<Written | void> | Written | void;
  /**
   * Writes a batch before it returns, when the process ends and its event loop has no further turn. A `write` may be
   * unfinished: its batch comes here again, and its promise is not awaited any more. If this is absent or throws, the
   * journal keeps the records for the next start. For destinations that are written within milliseconds, such as files.
   */
  writeSync?(batch: Batch): void;
  /** Frees what `open` took. `signal` aborts when the gateway cannot wait any longer. */
  close?(signal: AbortSignal): Promise<void> | void;
}

/** A processor at work. */
export interface Processor {
  /**
   * Returns the record, changed or not, or undefined to drop it; audit events cannot be dropped. Synchronous, because it
   * runs in the caller's `emit`: an async function ends the start. If it throws, or returns anything else, such as a
   * promise, the error is counted and logged, and `on_error` in the configuration says what becomes of the record: by
   * default an audit event is rejected, and a system log is kept as it is then. An audit event whose `scope` it changes
   * to another logger becomes a system log; `audit()` then resolves with an empty hash.
   */
  process(record: LogRecord): LogRecord | undefined;
  close?(signal: AbortSignal): Promise<void> | void;
}

/** A receiver at work. */
export interface Receiver {
  /** Stops accepting, and waits for what is in flight. */
  close?(signal: AbortSignal): Promise<void> | void;
}

/** The gateway's own lines, on stderr, never through OpenTelemetry. */
export interface HostLogger {
  info(message: string): void;
  /** `detail` follows the message, and does not count where lines are told apart to limit their number. */
  warning(message: string, detail?: string): void;
  error(message: string, cause?: unknown): void;
}

export type RouteHandler = (
  request: IncomingMessage,
  response: ServerResponse,
) => void | Promise<void>;

/** Why the gateway does not serve a request: 400 for two Hosts, 403 for Host, Origin or site, 503 while it stops. */
export interface RouteRefusal {
  readonly status: 400 | 403 | 503;
  readonly text: string;
}

/** Answers a request that the gateway does not serve. */
export type RefusalHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  refusal: RouteRefusal,
) => void;

/** Takes over a socket after Host and Origin were checked. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** The gateway's HTTP server, as far as a plugin may use it. */
export interface HostHttp {
  /**
   * Serves `method path` on the main port; the handler ends the response. Method `*` takes all methods. `refuse` answers
   * in the route's own protocol what is refused; plain text where absent. Throws where another plugin has the place.
   */
  route(method: string, path: string, handler: RouteHandler, refuse?: RefusalHandler): void;
  /** Takes WebSocket upgrades of `path` on the main port. Throws where another plugin has the place. */
  upgrade(path: string, handler: UpgradeHandler): void;
  /**
   * Returns why a request on a port of the receiver's own is refused, undefined if it may be served: Host must name
   * this gateway, and so must Origin if there is one; without it, the request must not come from another site.
   */
  refusal(request: AddressedRequest): string | undefined;
  /** The same, with the status that fits. */
  refusalOf(request: AddressedRequest): RouteRefusal | undefined;
  /**
   * Puts the gateway's limits on a server of the receiver's own, before it listens: the number of connections, and for
   * HTTP/1 how long a client may read nothing of its answer.
   */
  protect(server: Server): void;
  /**
   * Counts a request that the plugin rejects, by status, and logs its sender and the reason; equal lines are written once
   * a minute. What is said twice of one request counts once. Without it, a rejected request on the main port is logged
   * with the status alone, and one on a port of the receiver's own not at all.
   */
  rejected(request: AddressedRequest, rejection: Rejection): void;
}

/** How a request was rejected. */
export interface Rejection {
  readonly protocol: "http" | "grpc" | "websocket";
  /** The protocol's own: 413, or INVALID_ARGUMENT. */
  readonly status: number | string;
  /** A sentence, as the sender is told it. */
  readonly reason: string;
}

/** What says to whom a request is addressed, and by which page; a request of node:http is one. */
export interface AddressedRequest {
  readonly headers: {
    /** Of HTTP/2 it is `:authority`. */
    readonly host?: string | undefined;
    readonly origin?: string | undefined;
    readonly "sec-fetch-site"?: string | undefined;
    readonly "sec-fetch-mode"?: string | undefined;
    readonly "sec-fetch-dest"?: string | undefined;
    /** For the log. */
    readonly "user-agent"?: string | undefined;
  };
  /** Names and values in turn, with those that are repeated. */
  readonly rawHeaders?: readonly string[];
  readonly httpVersion?: string;
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly socket: {
    readonly localPort?: number | undefined;
    /** For the log. */
    readonly remoteAddress?: string | undefined;
  };
}

/** Records that cannot be had any more. */
export interface Gap {
  /** The first and the last sequence of the range. */
  readonly from: number;
  readonly to: number;
  /** The records of this type are gone, those of the other one are not; all of the range where absent. */
  readonly type?: EnvelopeType | undefined;
  /** `retention`: deleted for their age or their size; `not_stored`: the disk took them not; `damaged`: unreadable. */
  readonly reason: "retention" | "not_stored" | "damaged";
}

/** What to read of the journal. */
export interface JournalQuery {
  /** The sequence to begin with. */
  readonly from: number;
  /** Towards newer records where absent. */
  readonly order?: "asc" | "desc";
  /** Records of this type only; both where absent. */
  readonly type?: EnvelopeType | undefined;
  /** Only where records may be from this time on, or before that time, in ms since 1970. A hint: others may come too. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

/** A stretch of the journal. */
export interface JournalPage {
  /**
   * The stretch that was looked at, `from <= to`: what is not in `records` and in no gap of it was not asked for.
   * Empty, with `to = from - 1`, at the end of the journal.
   */
  readonly from: number;
  readonly to: number;
  /** In the order of their sequences, whatever the order of reading; undefined where there are none. */
  readonly records: Batch | undefined;
  /** What is missing of the stretch, in the order of the sequences. */
  readonly gaps: readonly Gap[];
}

/**
 * The journal's clock. It is the system clock, except when that jumps: a jump of more than 23 hours is followed only
 * when it has lasted for ten minutes. Times are in ms since 1970.
 */
export interface HostClock {
  now(): number;
  /**
   * The {@link Batch.appendedAtMs} before which batches are older than `ageMs` at `nowMs`, which is now if absent. Only
   * time that really passed makes them older: a jump of the clock does not.
   */
  agedBefore(ageMs: number, nowMs?: number): number;
}

/** Reading the journal. */
export interface HostJournal {
  /** Changes whenever sequence numbers could have been handed out and lost. */
  readonly epoch: string;
  /** The sequence of the newest record, 0 before the first. */
  readonly newest: number;
  /** The sequence up to which records are as safe as the journal makes them. */
  readonly durable: number;
  /** The sequence of the oldest record that memory still holds, `newest + 1` where it holds none. */
  readonly oldest: number;
  /** The clock by which batches get their `appendedAtMs`. */
  readonly clock: HostClock;
  /** The longest run of records in memory that starts with `sequence`; undefined where there is none. */
  readFrom(sequence: number): Batch | undefined;
  /** Reads a stretch of some hundred to some thousand records, from memory or from the disk. */
  read(query: JournalQuery): Promise<JournalPage>;
  /**
   * For who has seen `sequence` in `epoch`: up to which sequence that is still true. Less than `sequence` where
   * records were handed out and lost; undefined where the journal does not know that epoch.
   */
  sharedUpTo(epoch: string, sequence: number): number | undefined;
  /**
   * What a durable record is called by, over restarts and beside other journals: `<epoch>:<sequence>`, with the epoch
   * that took it.
   */
  uidOf(sequence: number): string;
}

/** A text that a plugin keeps in the journal, for its next start: where it is in a file, for example. */
export interface HostMemory {
  /** What was kept last, perhaps by a process before; undefined where nothing was, or the journal is another one. */
  recall(): string | undefined;
  /**
   * Keeps the text instead of the one before. Resolves when it is durable, as far as the journal makes anything so;
   * until then a crash may leave the one before. Each call costs a commit: once in a second is often.
   */
  keep(text: string): Promise<void>;
}

/** Numbers that a plugin shows in /metrics, under `tailgate_` and with its component's name. */
export interface HostMetrics {
  /** Counts up for ever; returns the function that adds. What was never added is not shown: add 0 to what may be lost. */
  counter(
    name: string,
    description: string,
  ): (count: number, labels?: Record<string, string>) => void;
  /** Shows how values are distributed, by default durations in seconds; returns the function that adds a value. */
  histogram(
    name: string,
    description: string,
    options?: HistogramOptions,
  ): (value: number, labels?: Record<string, string>) => void;
  /** Asked at each scrape. */
  gauge(name: string, description: string, read: () => number): void;
}

/** What the gateway gives to a plugin. */
export interface Host {
  /** The component's key in the configuration, such as `file` or `webhook/audit`. */
  readonly id: string;
  /** The lowest level of this exporter; `write` gets nothing below it, but the journal holds it. All where absent. */
  readonly level?: Level | undefined;
  /** Absolute path of the log directory: exists, is ours, mode 0700. */
  readonly logDir: string;
  /** The host that the gateway binds to. */
  readonly bindHost: string;
  readonly log: HostLogger;
  readonly http: HostHttp;
  readonly journal: HostJournal;
  readonly memory: HostMemory;
  readonly metrics: HostMetrics;
  /** Says that a listener is ready: printed on stderr once the gateway is up. */
  listening(url: string): void;
  /**
   * Says where records go from here. Where that is this gateway itself, the start ends with SENDS_TO_ITSELF, before
   * anything is written: each record would come back for ever.
   */
  sendingTo(url: string): void;
}

/** How many records of one call were taken. */
export interface Ingested {
  readonly accepted: number;
  /** Records that no retry can help; they were not stored. */
  readonly rejected: number;
  /** Why records were rejected, or what else their sender should know; "" if there is nothing to tell. */
  readonly reason: string;
  /** True if the request held something other than log records. */
  readonly unrecognized?: boolean;
}

/** The way into the gateway. Resolves when the records are as safe as the journal can make them. */
export interface Intake {
  /**
   * An ExportLogsServiceRequest as protobuf, which belongs to the gateway from then on: nothing else may change it.
   * Rejects with OTLP_UNDECODABLE, OVERLOADED or STOPPED.
   */
  otlpProtobuf(body: Uint8Array): Promise<Ingested>;
  /** An ExportLogsServiceRequest as JSON, which is the caller's again at the end. Rejects as above. */
  otlpJson(body: Uint8Array): Promise<Ingested>;
  /** Records of any other source. */
  records(records: readonly LogRecord[]): Promise<Ingested>;
}

export interface ReceiverHost extends Host {
  readonly intake: Intake;
}

export type OptionSchema = z.ZodObject;

/** A setting in effect, and where it is from. */
export interface EffectiveOption {
  readonly value: JsonValue;
  /** Such as `option endpoint`, `OTEL_EXPORTER_OTLP_ENDPOINT` or `default`. */
  readonly source: string;
}

/** What a component will use, as far as its options and the environment tell before it is opened. */
export interface Plan {
  /** Fixed ports that it will listen on, by the option that sets each. A free port, 0, is left out. */
  readonly ports?: Readonly<Record<string, number>>;
  /** Paths on the main port that it alone will serve, to requests or to upgrades. */
  readonly paths?: readonly string[];
  /** Where it will send records, as {@link Host.sendingTo} is told at opening. */
  readonly targets?: readonly string[];
  /** Options whose values in effect come from elsewhere too, for `tailgate validate`. */
  readonly effective?: Readonly<Record<string, EffectiveOption>>;
  /** What else is in effect, a line each, for `tailgate validate`. */
  readonly notes?: readonly string[];
}

interface Definition<Kind extends string, Schema extends OptionSchema> {
  /** `^[a-z][a-z0-9-]*$`: the type in the configuration's key. */
  readonly name: string;
  /** One sentence for `tailgate plugins` and the documentation. */
  readonly description: string;
  /** Each option with a default and a description (`.default().describe()`). */
  readonly options: Schema;
  readonly kind: Kind;
  readonly apiVersion: number;
  /**
   * Returns what it will use, before anything is opened, and throws where `open` would throw for what the options or
   * the environment say. `tailgate validate` and every start ask: two components that want the same port or path are
   * refused, and so is one that would send to its own gateway. Opens, creates and sends nothing.
   */
  plan?(options: z.output<Schema>): Plan | Promise<Plan>;
}

export interface ExporterDefinition<Schema extends OptionSchema = OptionSchema> extends Definition<
  "exporter",
  Schema
> {
  /** The one type of envelope that it wants; both where absent. Others are counted as filtered. */
  readonly type?: EnvelopeType;
  /**
   * True for viewers: they get records at once, and need not wait until the journal has made them durable; what is
   * logged while they are not there is not for them. The others get every durable record, after a restart too.
   */
  readonly live?: boolean;
  /**
   * Names of files and folders in the log directory that it writes and nobody else may. Where two exporters of a
   * configuration, or one and the journal, have the same, the gateway does not start.
   */
  owns?(options: z.output<Schema>): readonly string[];
  open(options: z.output<Schema>, host: Host): Exporter | Promise<Exporter>;
}

export interface ProcessorDefinition<Schema extends OptionSchema = OptionSchema> extends Definition<
  "processor",
  Schema
> {
  open(options: z.output<Schema>, host: Host): Processor | Promise<Processor>;
}

export interface ReceiverDefinition<Schema extends OptionSchema = OptionSchema> extends Definition<
  "receiver",
  Schema
> {
  open(options: z.output<Schema>, host: ReceiverHost): Receiver | Promise<Receiver>;
}

export type PluginDefinition = ExporterDefinition | ProcessorDefinition | ReceiverDefinition;

type Given<D> = Omit<D, "kind" | "apiVersion">;

/** Defines an exporter: records out. */
export function defineExporter<Schema extends OptionSchema>(
  definition: Given<ExporterDefinition<Schema>>,
): ExporterDefinition<Schema> {
  return { ...definition, kind: "exporter", apiVersion: API_VERSION };
}

/** Defines a processor: records changed or dropped before they are encoded. */
export function defineProcessor<Schema extends OptionSchema>(
  definition: Given<ProcessorDefinition<Schema>>,
): ProcessorDefinition<Schema> {
  return { ...definition, kind: "processor", apiVersion: API_VERSION };
}

/** Defines a receiver: records in. */
export function defineReceiver<Schema extends OptionSchema>(
  definition: Given<ReceiverDefinition<Schema>>,
): ReceiverDefinition<Schema> {
  return { ...definition, kind: "receiver", apiVersion: API_VERSION };
}
