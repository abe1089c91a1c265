import type { Level } from "../wire/envelope.ts";
import type { HostHttp } from "./http.ts";
import type { HostJournal, HostMemory } from "./journal.ts";
import type { HostMetrics } from "./metrics.ts";
import type { LogRecord } from "./record.ts";

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

/** The gateway's own lines, on stderr, never through OpenTelemetry. */
export interface HostLogger {
  info(message: string): void;
  /** `detail` follows the message, and does not count where lines are told apart to limit their number. */
  warning(message: string, detail?: string): void;
  error(message: string, cause?: unknown): void;
}

export interface ReceiverHost extends Host {
  readonly intake: Intake;
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
