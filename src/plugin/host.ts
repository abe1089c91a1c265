import type { Level } from "../wire/envelope.ts";
import type { Access } from "./access.ts";
import type { HostHttp } from "./http.ts";
import type { HostJournal, HostMemory } from "./journal.ts";
import type { HostMetrics } from "./metrics.ts";
import type { LogRecord } from "./record.ts";
import type { HostTls } from "./tls.ts";

/** What the gateway gives to each plugin. */
export interface Host {
  /** The component's key in the configuration, such as `file` or `webhook/audit`. */
  readonly id: string;
  /** The exporter's own minimum level: `write` gets no records below it. Undefined if it gets all. */
  readonly level?: Level | undefined;
  /**
   * The exporter's own filter, as text for `parseFilter({ q })`: `write` gets only records that match it. Undefined if it gets
   * all. Exporters that also read the journal apply it there.
   */
  readonly filter?: string | undefined;
  /** The absolute path of the log directory. It exists, belongs to this user, and is not writable by others. */
  readonly logDir: string;
  /** The address that the gateway binds to, such as `127.0.0.1`. Bind ports of your own to it. */
  readonly bindHost: string;
  /** The TLS for ports of your own; undefined if the gateway's ports have none. */
  readonly tls: HostTls | undefined;
  /** Writes lines to the gateway's stderr. */
  readonly log: HostLogger;
  /** Routes and WebSocket upgrades on the main port, and the checks of requests. */
  readonly http: HostHttp;
  /** Reads records and positions of the journal. */
  readonly journal: HostJournal;
  /** Stores one text of the plugin across restarts. */
  readonly memory: HostMemory;
  /** Registers metrics that appear in /metrics. */
  readonly metrics: HostMetrics;
  /** Reports the URL of a listener that is ready. It is printed on stderr when the gateway is up. */
  listening(url: string): void;
  /**
   * Reports where the plugin sends records. If that is this gateway itself, the start fails with SENDS_TO_ITSELF before
   * anything is written: each record would come back forever.
   */
  sendingTo(url: string): void;
}

/** Writes the gateway's own log lines to stderr. They never pass through OpenTelemetry and are rate-limited. */
export interface HostLogger {
  /** Writes a line with the level INFO. */
  info(message: string): void;
  /**
   * Writes a line with the level WARNING. `detail` is appended to the message; it does not make a line different from others
   * for the rate limit.
   */
  warning(message: string, detail?: string): void;
  /** Writes a line with the level ERROR. The text of `cause` is appended to the message. */
  error(message: string, cause?: unknown): void;
}

/** What the gateway gives to a processor. */
export interface ProcessorHost extends Host {
  /**
   * Adds a record of the processor's own, such as a summary of dropped ones. It passes the processors after this one, and is
   * stored like every other record. Never throws: a record that cannot be accepted is counted as dropped.
   */
  emit(record: LogRecord): void;
}

/** What the gateway gives to a receiver. */
export interface ReceiverHost extends Host {
  /** Accepts records. */
  readonly intake: Intake;
}

/**
 * Accepts records into the gateway. Calls resolve when the records are durable, as far as the journal makes them so.
 *
 * Calls reject with a TailgateError, and nothing of the call is stored: OVERLOADED if too much waits for the journal, STOPPED
 * if the gateway is stopping, JOURNAL_FULL or JOURNAL_REFUSED if the disk rejects the write. After JOURNAL_FAILED it is
 * unknown what was stored.
 */
export interface Intake {
  /**
   * Accepts an ExportLogsServiceRequest in protobuf. The gateway retains `body`: nothing else may modify it afterwards.
   *
   * `access`, of a request over the network, limits which types of records are accepted, and audit events tell its principal
   * (`ingested_by`). Without it, everything is accepted.
   * @throws TailgateError OTLP_UNDECODABLE if it is not one; FORBIDDEN if the principal may send none of the records.
   * Nothing is stored then.
   */
  otlpProtobuf(body: Uint8Array, access?: Access): Promise<Ingested>;
  /** Accepts an ExportLogsServiceRequest in JSON. `body` may be reused afterwards. Throws as {@link otlpProtobuf} does. */
  otlpJson(body: Uint8Array, access?: Access): Promise<Ingested>;
  /** Accepts records of any other source; {@link createRecord} makes them. Records that cannot be encoded are rejected. */
  records(records: readonly LogRecord[], access?: Access): Promise<Ingested>;
}

/** What became of the records of one call. */
export interface Ingested {
  /** The number of records that were not rejected: stored, or filtered by `log_level` or a processor. */
  readonly accepted: number;
  /** The number of records that were not stored and that a retry cannot help. */
  readonly rejected: number;
  /** Why records were rejected, or what else the sender should know; "" if nothing. */
  readonly reason: string;
  /** True if the request held something other than log records. */
  readonly unrecognized?: boolean;
}
