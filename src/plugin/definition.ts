import type { z } from "zod";
import type { EnvelopeType, JsonValue } from "../wire/envelope.ts";
import type { Batch } from "./batch.ts";
import type { Host, ReceiverHost } from "./host.ts";
import type { LogRecord } from "./record.ts";

/** The version of this interface; a gateway takes plugins of its own version only. */
export const API_VERSION = 1;

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
