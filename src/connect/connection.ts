import { randomUUID } from "node:crypto";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { CompressionAlgorithm } from "@opentelemetry/otlp-exporter-base";
import { JsonLogsSerializer } from "@opentelemetry/otlp-transformer";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
  serviceInstanceIdDetector,
  type Resource,
} from "@opentelemetry/resources";
import type { ReadableLogRecord } from "@opentelemetry/sdk-logs";
import { requestHeaders, type Destination } from "../../plugins/otlp/destination.ts";
import { hostLogger, writeToStderr, type WriteLine } from "../gateway/host-log.ts";
import { keepAlive, onProcessExit } from "../gateway/process-exit.ts";
import { toAuditRecord, type AuditEvent, type AuditOptions } from "../otel/audit-event.ts";
import { OrchestratorLogger, LoggerRelay, type RelayTarget } from "../otel/loggers.ts";
import { DirectLoggerProvider, type SafeLogger } from "../otel/provider.ts";
import {
  GLOBAL_RELAY,
  findLoadedApis,
  registerGlobally,
  type LoadedApis,
  type Registration,
} from "../otel/registration.ts";
import type { HostLogger } from "../plugin/index.ts";
import { clearTimeout, setTimeout, whenAborted } from "../runtime/timers.ts";
import { LEVELS, type Level } from "../wire/envelope.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { AuditSender } from "./audit-sender.ts";
import { OtlpLogQueue, toReadableRecord, type QueueDropReason } from "./log-queue.ts";
import {
  readOptions,
  type ConnectOptions,
  type ConnectSettings,
  type Destinations,
} from "./options.ts";

/** What `audit` resolves with. OTLP returns neither the sequence nor the hash of an event. */
export interface RemoteReceipt {
  /** The event's key (`log.record.uid`): the given one, or the one that was created for it. */
  readonly key: string;
}

export interface ConnectionStatus {
  /** The URL without user, password and query. */
  readonly endpoint: string;
  /** Records that the destination has not acknowledged yet. */
  readonly pending: number;
  /** Audit events that the destination has not acknowledged yet. */
  readonly pendingAuditEvents: number;
  /**
   * Records that the destination acknowledged. It may have rejected some of them: OpenTelemetry's exporter does not
   * report a partial success, but the gateway counts and logs it.
   */
  readonly sent: number;
  /** Audit events that the destination acknowledged. */
  readonly sentAuditEvents: number;
  /** Records that were not logged because of `logLevel`. */
  readonly filtered: number;
  /** Records that were dropped, by reason; `audit_event` counts events whose `audit` or `logAuditEvent` failed. */
  readonly dropped: Readonly<Record<QueueDropReason | "audit_event", number>>;
  /** Why the last request failed; undefined after a success. */
  readonly lastError: string | undefined;
}

/** Opens a connection, as `LoggingManager.connect` does. */
export async function openConnection({
  write = writeToStderr,
  ...options
}: ConnectOptions): Promise<LoggingConnection> {
  const { settings, destinations } = await readOptions(options);
  const apis = settings.registerGlobally ? await findLoadedApis() : undefined;
  return new LoggingConnection(settings, destinations, write, apis);
}

/**
 * Logging from a worker process that has no gateway of its own: records go to a gateway, or to any collector, over
 * OTLP/HTTP. Loggers and `audit` are those of `LoggingManager`.
 *
 * 1. Open: `await LoggingManager.connect()`. The destination need not be reachable.
 * 2. Log: nothing throws or blocks. Records wait in a bounded queue, also during an outage; what is dropped is counted
 *    in `status` and reported on stderr.
 * 3. Stop: `await stop()` flushes. Without it, the connection flushes when the process has nothing left to do, or when
 *    a signal ends it, for up to `stopTimeoutMs`. `process.exit()`, an uncaught exception and SIGKILL leave no time for
 *    a request: records that wait then are lost, and reported on stderr except after SIGKILL.
 */
export class LoggingConnection {
  /** For code that takes an OpenTelemetry LoggerProvider. */
  readonly provider = new LoggerRelay();
  /** Whether the global `logs` APIs lead here. */
  readonly registration: Registration | undefined;
  readonly #settings: ConnectSettings;
  readonly #destinations: Destinations;
  readonly #log: HostLogger;
  readonly #queue: OtlpLogQueue;
  readonly #target: RelayTarget;
  readonly #audits: AuditSender;
  readonly #auditLogger: SafeLogger<ReadableLogRecord>;
  readonly #dropReport: DropReport;
  readonly #unsubscribe: () => void;
  #filtered = 0;
  #stopping: Promise<void> | undefined;
  /** Set if draining at the end of the process timed out, so that it does not start again. */
  #hasGivenUp = false;

  /** @internal Use `LoggingManager.connect`. */
  constructor(
    settings: ConnectSettings,
    destinations: Destinations,
    write: WriteLine,
    apis: LoadedApis | undefined,
  ) {
    this.#settings = settings;
    this.#destinations = destinations;
    this.#log = hostLogger("tailgate.connection", write);
    this.#dropReport = new DropReport(this.#log, () => this.#queue.lastError);
    this.#queue = new OtlpLogQueue(createExporter(destinations.records, settings), {
      capacity: settings.queueCapacity,
      batchSize: settings.batchSize,
      delayMs: settings.batchDelayMs,
      dropped: (reason, count) => this.#dropReport.add(reason, count),
      unauthorized: (reason) =>
        this.#log.warning(
          "The credentials were rejected. Records wait in the queue until they are accepted.",
          reason,
        ),
    });
    this.#audits = new AuditSender(destinations.audit, settings);
    const resource = createResource(settings);
    this.#auditLogger = new DirectLoggerProvider(
      {
        accept: toReadableRecord,
        forceFlush: () => Promise.resolve(),
        shutdown: () => Promise.resolve(),
      },
      resource,
    ).getAuditLogger(settings.auditLoggers[0]!);
    this.#target = {
      provider: new DirectLoggerProvider(this.#queue, resource),
      settings: {
        lowest: toRank(settings.logLevel),
        auditLoggers: settings.auditLoggers,
        lowestWithSite: toRank(settings.callSiteLevel),
        filtered: () => this.#filtered++,
      },
    };
    this.provider.attach(this.#target);
    this.registration = apis && registerGlobally(apis);
    const { api = false, apiLogs = false, problems = [] } = this.registration ?? {};
    if (api || apiLogs) GLOBAL_RELAY.attach(this.#target);
    for (const problem of problems) this.#log.error(problem.message);
    this.#unsubscribe = onProcessExit({
      isForSignals: settings.handleSignals,
      hold: () => this.#hold(),
      endSync: () => this.#reportUnsent(),
      drain: () => this.#drain(),
    });
  }

  /** Returns a logger with level methods. Names are dotted, such as `orchestrator.instance_manager`. */
  getLogger(name: string): OrchestratorLogger {
    return new OrchestratorLogger(textOf(name), this.provider);
  }

  /**
   * Sends an audit event of the first of the `auditLoggers`, outside the queue, and resolves when the gateway has
   * acknowledged it, which it does when the event is durable. Retries with the event's key, so that the event is stored
   * once; without a key the event gets a random one. Audit events are sent in the order of the calls.
   * @throws TailgateError whose text says what became of the event. Not stored: AUDIT_REFUSED, by the gateway or for an
   * event without `eventType`; UNAUTHENTICATED and FORBIDDEN, if the gateway rejects the credentials; OVERLOADED, after
   * `auditTimeoutMs`; GATEWAY_UNREACHABLE, likewise; STOPPED, after `stop`.
   * Unknown: AUDIT_UNCONFIRMED.
   */
  audit(event: AuditEvent, options?: AuditOptions): Promise<RemoteReceipt> {
    const receipt = this.#audit(event, options);
    receipt.catch(() => this.#dropReport.add("audit_event", 1));
    return receipt;
  }

  async #audit(event: AuditEvent, options: AuditOptions | undefined): Promise<RemoteReceipt> {
    if (this.#stopping !== undefined) {
      throw new TailgateError("STOPPED", "The connection has stopped.");
    }
    const key = options?.key || randomUUID();
    const record = toAuditRecord(event, { key });
    if (TailgateError.is(record)) throw record;
    const body = JsonLogsSerializer.serializeRequest([this.#auditLogger.emit(record)])!;
    await keepAlive(this.#audits.send(body, key));
    return { key };
  }

  /** Sends an audit event without waiting for it. Never throws; an event that fails is counted and reported on stderr. */
  logAuditEvent(event: AuditEvent, options?: AuditOptions): void {
    this.audit(event, options).catch((error: unknown) =>
      this.#log.warning("An audit event was not confirmed.", textOf(error)),
    );
  }

  get status(): ConnectionStatus {
    return {
      endpoint: this.#destinations.records.name,
      pending: this.#queue.pending,
      pendingAuditEvents: this.#audits.pending,
      sent: this.#queue.sent,
      sentAuditEvents: this.#audits.sent,
      filtered: this.#filtered,
      dropped: { ...this.#queue.dropped, audit_event: this.#dropReport.total("audit_event") },
      lastError: this.#queue.lastError ?? this.#audits.lastError,
    };
  }

  /** Resolves when everything logged before was acknowledged or dropped, or after 30 seconds. */
  async flush(): Promise<void> {
    const signal = AbortSignal.timeout(FLUSH_MS_MAX);
    await keepAlive(Promise.all([this.#queue.flush(signal), this.#audits.settled()]));
  }

  /**
   * Flushes for up to `stopTimeoutMs`, drops what is left, and releases the global APIs. Waits for pending audit events,
   * which have their own time limit.
   */
  stop(): Promise<void> {
    return (this.#stopping ??= keepAlive(this.#stop()));
  }

  async #stop(): Promise<void> {
    this.registration?.undo();
    const signal = AbortSignal.timeout(this.#settings.stopTimeoutMs);
    await this.#queue.stop(signal);
    await this.#audits.settled();
    this.#unsubscribe();
    GLOBAL_RELAY.detach(this.#target);
    this.#dropReport.write();
    for (const { agent } of Object.values(this.#destinations)) agent.destroy();
  }

  /** Called when the process has nothing left to do. */
  #hold(): void {
    if (this.#queue.pending > 0 && !this.#hasGivenUp) void keepAlive(this.#drain());
  }

  async #drain(): Promise<void> {
    const signal = AbortSignal.timeout(this.#settings.stopTimeoutMs);
    const sent = Promise.all([this.#queue.flush(signal), this.#audits.settled()]);
    await Promise.race([sent, whenAborted(signal)]);
    this.#hasGivenUp = this.#queue.pending > 0;
  }

  #reportUnsent(): void {
    this.#dropReport.write();
    const { pending } = this.#queue;
    const audits = this.#audits.pending;
    if (pending + audits === 0) return;
    const records = pending === 1 ? "1 record was" : `${pending} records were`;
    const events = audits === 0 ? "" : ` Unconfirmed audit events: ${audits}.`;
    this.#log.warning(
      `The process ended before ${records} acknowledged: await stop() before process.exit().${events}`,
    );
  }
}

/** How long `flush` waits for the destination. */
const FLUSH_MS_MAX = 30_000;

/** Time between two reports. */
const REPORT_INTERVAL_MS = 10_000;

/** The first report waits a moment, so that it covers a burst. */
const FIRST_REPORT_MS = 1000;

/** Counts drops, and reports them in one line each ten seconds. */
class DropReport {
  readonly #log: HostLogger;
  readonly #lastError: () => string | undefined;
  readonly #totals = new Map<string, number>();
  readonly #unreported = new Map<string, number>();
  #writtenAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: HostLogger, lastError: () => string | undefined) {
    this.#log = log;
    this.#lastError = lastError;
  }

  total(reason: string): number {
    return this.#totals.get(reason) ?? 0;
  }

  add(reason: QueueDropReason | "audit_event", count: number): void {
    this.#totals.set(reason, this.total(reason) + count);
    this.#unreported.set(reason, (this.#unreported.get(reason) ?? 0) + count);
    const nextMs = this.#writtenAtMs + REPORT_INTERVAL_MS - performance.now();
    this.#timer ??= setTimeout(() => this.write(), Math.max(FIRST_REPORT_MS, nextMs)).unref();
  }

  /** Writes what is unreported. */
  write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#unreported.size === 0) return;
    this.#writtenAtMs = performance.now();
    const counts = Array.from(this.#unreported, ([reason, count]) => `${reason} ${count}`);
    this.#unreported.clear();
    const error = this.#lastError();
    this.#log.warning(
      `Records were dropped: ${counts.join(", ")}.`,
      error === undefined ? undefined : `Last error: ${error}`,
    );
  }
}

function createExporter(
  destination: Destination,
  { requestTimeoutMs }: ConnectSettings,
): OTLPLogExporter {
  const { url, isGzipped, agent } = destination;
  return new OTLPLogExporter({
    url: url.href,
    headers: () => requestHeaders(destination),
    timeoutMillis: requestTimeoutMs,
    // The agent has the certificates and the proxy of the destination.
    httpAgentOptions: () => agent,
    compression: isGzipped ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE,
  });
}

function createResource({ serviceName, resourceAttributes }: ConnectSettings): Resource {
  const detected = detectResources({ detectors: [envDetector, serviceInstanceIdDetector] });
  const given = {
    ...resourceAttributes,
    ...(serviceName !== undefined && { "service.name": serviceName }),
  };
  return defaultResource().merge(detected).merge(resourceFromAttributes(given));
}

function toRank(name: Level | Lowercase<Level> | "never"): number {
  return name === "never" ? LEVELS.length : LEVELS.indexOf(name.toUpperCase() as Level);
}
