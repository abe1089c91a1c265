import type { z } from "zod";
import type { EnvelopeType, JsonValue } from "../wire/envelope.ts";
import type { Batch } from "./batch.ts";
import type { Host, ProcessorHost, ReceiverHost } from "./host.ts";
import type { LogRecord } from "./record.ts";
import type { RecordView, Verdict } from "./record-view.ts";

/** The version of the plugin interface. A gateway loads only plugins of its own version. */
export const API_VERSION = 1;

/** Returns the definition of an exporter, which writes records to a destination. It is the default export of its file. */
export function defineExporter<Schema extends OptionSchema>(
  definition: Given<ExporterDefinition<Schema>>,
): ExporterDefinition<Schema> {
  return { ...definition, kind: "exporter", apiVersion: API_VERSION };
}

/** Returns the definition of a processor, which changes or drops records before they are encoded and stored. */
export function defineProcessor<Schema extends OptionSchema>(
  definition: Given<ProcessorDefinition<Schema>>,
): ProcessorDefinition<Schema> {
  return { ...definition, kind: "processor", apiVersion: API_VERSION };
}

/** Returns the definition of a receiver, which accepts records from a source. */
export function defineReceiver<Schema extends OptionSchema>(
  definition: Given<ReceiverDefinition<Schema>>,
): ReceiverDefinition<Schema> {
  return { ...definition, kind: "receiver", apiVersion: API_VERSION };
}

/** A definition as its author writes it. */
type Given<D> = Omit<D, "kind" | "apiVersion">;

/** What the three kinds of definitions have in common. */
export interface Definition<
  Kind extends string = string,
  Schema extends OptionSchema = OptionSchema,
> {
  /** The plugin's name, such as `webhook`; matches `^[a-z][a-z0-9-]*$`. */
  readonly name: string;
  /** What the plugin does, in one sentence, for `tailgate plugins`. */
  readonly description: string;
  /**
   * The options: a `z.object` of zod 4, each member with a description and, if possible, a default. Keys that the gateway
   * reads itself are reserved: `use`, for exporters `level`, `filter`, `queue_bytes` and `timeout_seconds`, for processors
   * `on_error`, for receivers `attributes`.
   */
  readonly options: Schema;
  /** Set by the define functions. */
  readonly kind: Kind;
  /** Set by the define functions to {@link API_VERSION}. */
  readonly apiVersion: number;
  /**
   * Returns which ports, paths and targets `open` will use, and throws if `open` would throw because of the options or
   * the environment. Opens, creates and sends nothing. `tailgate validate` and every start call it, and reject two
   * components with the same port or path, and a component that would send to its own gateway.
   */
  plan?(options: z.output<Schema>): Plan | Promise<Plan>;
}

/** What {@link defineExporter} returns: a {@link Definition} with these members. */
export interface ExporterDefinition<Schema extends OptionSchema = OptionSchema> extends Definition<
  "exporter",
  Schema
> {
  /**
   * The only type of records that `write` gets; both types if absent. Records of the other type count as filtered. If an
   * option decides, set {@link Exporter.type} instead.
   */
  readonly type?: EnvelopeType;
  /**
   * True if the destination needs every record of {@link type}, because one that is left out looks like a removed one. The
   * option `filter` is then invalid.
   */
  readonly complete?: boolean;
  /**
   * True for live subscribers: they get records before they are durable, and miss what is logged while the gateway is
   * down. Other exporters get every durable record, across restarts.
   */
  readonly live?: boolean;
  /**
   * Returns the names of files and folders in the log directory that only this exporter may write. The gateway does not
   * start if two exporters, or an exporter and the journal, have the same.
   */
  owns?(options: z.output<Schema>): readonly string[];
  /**
   * Opens the exporter. Writes begin once all components are open. If it throws, or takes longer than 10 seconds, the start
   * fails with PLUGIN_OPEN_FAILED.
   */
  open(options: z.output<Schema>, host: Host): Exporter | Promise<Exporter>;
}

/** What {@link defineProcessor} returns: a {@link Definition} with these members. */
export interface ProcessorDefinition<Schema extends OptionSchema = OptionSchema> extends Definition<
  "processor",
  Schema
> {
  /**
   * True if a record that the processor fails on must not be stored as it is: `on_error: keep` is then invalid, and the
   * default is `fail` for system logs, too. For processors that remove secrets.
   */
  readonly failsClosed?: boolean;
  /** Opens the processor. If it throws, or takes longer than 10 seconds, the start fails with PLUGIN_OPEN_FAILED. */
  open(options: z.output<Schema>, host: ProcessorHost): Processor | Promise<Processor>;
}

/** What {@link defineReceiver} returns: a {@link Definition} with this member. */
export interface ReceiverDefinition<Schema extends OptionSchema = OptionSchema> extends Definition<
  "receiver",
  Schema
> {
  /**
   * Opens the receiver, the last kind to be opened: register routes and open ports here. If it throws, or takes longer than
   * 10 seconds, the start fails with PLUGIN_OPEN_FAILED.
   */
  open(options: z.output<Schema>, host: ReceiverHost): Receiver | Promise<Receiver>;
}

/** The default export of a plugin's file. */
export type PluginDefinition = ExporterDefinition | ProcessorDefinition | ReceiverDefinition;

/** The schema of a plugin's options. */
export type OptionSchema = z.ZodObject;

/** An open exporter, as its definition's `open` returns it. */
export interface Exporter {
  /**
   * The sequence number of the newest record at the destination, for an exporter that can find it there, such as a file
   * with sequence numbers in its lines. Read once, after opening. If absent, delivery resumes after the last batch that
   * `write` confirmed.
   */
  readonly resumeAfter?: number | undefined;
  /** The only type of records that `write` gets; by default that of the definition. Read once, after opening. */
  readonly type?: EnvelopeType | undefined;
  /**
   * Writes a batch; called with one batch at a time. Resolves when the batch is safe at the destination, or with
   * {@link Written} if some of its records are not. If it rejects with {@link PermanentError}, the batch is dropped; any
   * other error is retried with backoff and the same batch, after {@link RetryLaterError} not before the time that the
   * destination asked for. `signal` aborts at the time limit: stop then.
   */
  write(batch: Batch, signal: AbortSignal): Promise<Written | void> | Written | void;
  /**
   * Writes a batch before it returns; called when the process exits and its event loop has no further turn. A `write` of
   * the same batch may be unfinished, and is no longer awaited. If this is absent or throws, the records stay in the
   * journal for the next start. For destinations that take milliseconds, such as files.
   */
  writeSync?(batch: Batch): void;
  /**
   * Releases what `open` acquired; called once, after the last write. `signal` aborts after about a second, when the gateway
   * waits no longer.
   */
  close?(signal: AbortSignal): Promise<void> | void;
}

/** What became of a batch of which some records did not reach the destination. */
export interface Written {
  /** The number of records, by reason, that count as dropped and not as sent. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** An open processor, as its definition's `open` returns it. It has `process`, `inspect` or both. */
export interface Processor {
  /**
   * Looks at a record, and decides what happens to it; called before `process`, and for each record. With it, records that
   * do not concern the processor are never decoded and stay byte for byte as they were sent. Without it, each record is
   * decoded and given to `process`. It must be synchronous, and what it throws is handled as what `process` throws.
   */
  inspect?(view: RecordView): Verdict;
  /**
   * Returns the record, modified or not, or undefined to drop it. Audit events cannot be dropped, unless
   * {@link dropsAuditEvents} says so. Required unless `inspect` never returns `process`.
   *
   * Must be synchronous, because it runs in the caller's `emit`: an async function fails the start. If it throws, or
   * returns anything else, such as a promise, the error is counted and logged, and the option `on_error` decides: by
   * default an audit event is rejected, and a system log is stored as the processor left it.
   *
   * An audit event whose `scope` is changed to a logger of system logs becomes a system log; `audit()` then resolves with
   * an empty hash.
   */
  process?(record: LogRecord): LogRecord | undefined;
  /**
   * Which audit events the processor may drop, and why, as a sentence that is logged at the start. Without it, an audit event
   * that it drops is stored anyway, and the drop counts as a failure. Read once, after opening.
   */
  readonly dropsAuditEvents?: string | undefined;
  /**
   * Emits what the processor holds back, such as the summary of an open window, by `host.emit`. Called before `close`, while
   * records are still accepted; if a reload fails, records may pass the processor again after it.
   */
  flush?(): void;
  /** Releases what `open` acquired; called once. `signal` aborts after a second, when the gateway waits no longer. */
  close?(signal: AbortSignal): Promise<void> | void;
}

/** An open receiver, as its definition's `open` returns it. */
export interface Receiver {
  /**
   * Stops accepting, and resolves when requests in flight are done; called once, before any other plugin is closed. `signal`
   * aborts after 3 seconds, when the gateway waits no longer.
   */
  close?(signal: AbortSignal): Promise<void> | void;
}

/** What a component will use, as far as its options and the environment tell before it is opened. */
export interface Plan {
  /** Ports that it will listen on, by the option that sets each. Leave out 0, which picks a free port. */
  readonly ports?: Readonly<Record<string, number>>;
  /** Paths on the main port that it will serve, for requests or upgrades. */
  readonly paths?: readonly string[];
  /** URLs that it will send records to, as it will report to {@link Host.sendingTo}. */
  readonly targets?: readonly string[];
  /**
   * Absolute paths of files that it reads when it opens, such as certificates. A reload restarts the component if their
   * contents have changed.
   */
  readonly files?: readonly string[];
  /** Options whose effective values come from elsewhere, for `tailgate validate`. */
  readonly effective?: Readonly<Record<string, EffectiveOption>>;
  /** Other facts for `tailgate validate`, one line each. */
  readonly notes?: readonly string[];
}

/** The effective value of an option, and its source. */
export interface EffectiveOption {
  /** The value that is used. */
  readonly value: JsonValue;
  /** Where it comes from, such as `option endpoint`, `OTEL_EXPORTER_OTLP_ENDPOINT` or `default`. */
  readonly source: string;
}
