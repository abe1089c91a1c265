import {
  defaultResource,
  detectResources,
  envDetector,
  serviceInstanceIdDetector,
} from "@opentelemetry/resources";
import { resolveConfig, type Config } from "./config/config.ts";
import { Problems, suggest } from "./config/problems.ts";
import { AUDIT_LOGGER, LEVELS, type Level } from "./wire/envelope.ts";
import { TailgateError, textOf } from "./wire/errors.ts";
import { hostLogger, writeToStderr, type WriteLine } from "./gateway/host-log.ts";
import type { Receipt } from "./intake/audit-events.ts";
import type { IntakeOutcome } from "./intake/intake.ts";
import type { HostLogger } from "./plugin/index.ts";
import { toAuditRecord, type AuditEvent, type AuditOptions } from "./otel/audit-event.ts";
import { DirectLoggerProvider, TailgateLoggerProvider, type SafeLogger } from "./otel/provider.ts";
import { OrchestratorLogger, LoggerRelay, type RelayTarget } from "./otel/loggers.ts";
import { TailgateLogRecordProcessor } from "./otel/processor.ts";
import {
  GLOBAL_RELAY,
  findLoadedApis,
  registerGlobally,
  type LoadedApis,
  type Registration,
} from "./otel/registration.ts";
import { startTailgate, type RunningTailgate } from "./gateway/start.ts";
import type { LoggingConnection } from "./connect/connection.ts";
import type { ConnectOptions } from "./connect/options.ts";

/** Components as in `tailgate.yaml`: `{ file: { max_bytes: 1000000 }, console: null }`. */
export type ComponentOptions = Readonly<Record<string, Readonly<Record<string, unknown>> | null>>;

export interface LoggingOptions {
  /** Path of a configuration file. The options below override it. */
  readonly config?: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 8001; 0 picks a free port. */
  readonly port?: number;
  /** Default /tmp/madrox_logs. */
  readonly logDir?: string;
  /** Default INFO. */
  readonly logLevel?: Level | Lowercase<Level>;
  /** As `audit_loggers` in `tailgate.yaml`; default `["orchestrator.audit"]`. */
  readonly auditLoggers?: readonly string[];
  /** Default none: records come only from this process. */
  readonly receivers?: ComponentOptions;
  /** Default none. */
  readonly processors?: ComponentOptions;
  /** Default websocket, file, audit-file and console. */
  readonly exporters?: ComponentOptions;
  /** As `journal` in `tailgate.yaml`; default engine sqlite, in the log directory. */
  readonly journal?: Readonly<Record<string, unknown>>;
  /** The minimum level at which records tell module, function and line. Default WARNING. */
  readonly callSiteLevel?: Level | "never";
  /**
   * The LoggerProvider: "sdk" is OpenTelemetry's own; "direct" bypasses the SDK's record, which is faster for applications
   * that log a lot. The records are the same. Default "sdk".
   */
  readonly loggerProvider?: "sdk" | "direct";
  /** Whether to become the provider of the global `logs` of the OpenTelemetry APIs. Default true. */
  readonly registerGlobally?: boolean;
  /**
   * Whether to write everything when a signal (SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2) arrives that nothing else in the
   * process handles. The signal then ends the process as usual. Default true.
   */
  readonly handleSignals?: boolean;
  /** Writes the gateway's own log lines. Default: to stderr. */
  readonly write?: WriteLine;
}

/** To reject misspelled options in JavaScript too: the logs might go where nobody looks. */
const OPTIONS = {
  config: true,
  host: true,
  port: true,
  logDir: true,
  logLevel: true,
  auditLoggers: true,
  receivers: true,
  processors: true,
  exporters: true,
  journal: true,
  callSiteLevel: true,
  loggerProvider: true,
  registerGlobally: true,
  handleSignals: true,
  write: true,
} as const satisfies Record<keyof LoggingOptions, true>;

/** How long `flush` waits for exporters that make no progress. */
const FLUSH_MS_MAX = 30_000;

/**
 * A gateway inside the process of an orchestrator.
 *
 * Lifecycle: `await LoggingManager.start()`; log from anywhere; `await stop()`. Logging calls never throw and never block,
 * not even before or after. What is logged after `stop` is lost and counted. Loggers that were obtained before `stop`, or
 * from the global APIs before the first `start`, work again after the next `start`. Several managers can run in one
 * process; the first one owns the global `logs` APIs.
 */
export class LoggingManager {
  /** For code that takes an OpenTelemetry LoggerProvider. */
  readonly provider: LoggerRelay;
  /** For a LoggerProvider that is set up elsewhere: `new LoggerProvider({ processors: [manager.processor] })`. */
  readonly processor: TailgateLogRecordProcessor;
  /** Whether this manager is the provider of the global `logs` APIs; undefined with `registerGlobally: false`. */
  readonly registration: Registration | undefined;
  readonly #running: RunningTailgate;
  readonly #target: RelayTarget;
  readonly #audit: SafeLogger<IntakeOutcome>;
  readonly #log: HostLogger;
  #stopping: Promise<void> | undefined;
  #hasWarnedOfUntyped = false;

  private constructor(
    running: RunningTailgate,
    { logLevel, auditLoggers = [AUDIT_LOGGER] }: Config,
    options: LoggingOptions,
    log: HostLogger,
    apis: LoadedApis | undefined,
  ) {
    this.#running = running;
    this.#log = log;
    this.processor = new TailgateLogRecordProcessor(running.gateway.intake, () => this.flush());
    const detected = detectResources({ detectors: [envDetector, serviceInstanceIdDetector] });
    const Provider =
      options.loggerProvider === "direct" ? DirectLoggerProvider : TailgateLoggerProvider;
    const resource = defaultResource().merge(detected);
    const provider = new Provider(this.processor, resource);
    const auditProvider = new DirectLoggerProvider(this.processor, resource);
    this.#audit = auditProvider.getAuditLogger(auditLoggers[0]!);
    const { callSiteLevel = "WARNING" } = options;
    const settings = {
      lowest: LEVELS.indexOf(logLevel),
      auditLoggers,
      lowestWithSite: callSiteLevel === "never" ? LEVELS.length : LEVELS.indexOf(callSiteLevel),
      filtered: () => running.gateway.intake.countFiltered(),
    };
    this.#target = { provider, settings };
    this.provider = freeRelays.shift() ?? new LoggerRelay();
    this.provider.attach(this.#target);
    this.registration = apis && registerGlobally(apis);
    const { api = false, apiLogs = false } = this.registration ?? {};
    if (api || apiLogs) GLOBAL_RELAY.attach(this.#target);
  }

  /**
   * Starts a gateway: dashboard and WebSocket on `port`, files in `logDir`, the console.
   * @throws TailgateError CONFIG_INVALID, LOG_DIR_UNUSABLE, PORT_IN_USE and the others of `startTailgate`.
   */
  static async start(options: LoggingOptions = {}): Promise<LoggingManager> {
    rejectUnknownOptions(options);
    const {
      receivers,
      processors,
      exporters,
      journal,
      auditLoggers,
      config: file,
      write = writeToStderr,
      ...rest
    } = options;
    const config = await resolveConfig({
      ...(file === undefined ? {} : { file }),
      document: { receivers, processors, exporters, journal, audit_loggers: auditLoggers },
      env: process.env,
      flags: rest,
      cwd: process.cwd(),
      base: "embedded",
    });
    const { handleSignals: handlesSignals = true } = options;
    const running = await startTailgate(config, { write, keepsAlive: false, handlesSignals });
    const log = hostLogger("tailgate.logging-manager", write);
    const apis = options.registerGlobally === false ? undefined : await findLoadedApis();
    const manager = new LoggingManager(running, config, options, log, apis);
    for (const notice of running.notices) log.info(notice);
    for (const problem of manager.registration?.problems ?? []) log.error(problem.message);
    manager.#reportLost();
    return manager;
  }

  /**
   * Connects to a gateway, or to any OpenTelemetry Collector, over OTLP/HTTP: for a worker process, which has no gateway
   * of its own. Resolves at once, whether or not the gateway is reachable.
   * @throws TailgateError CONFIG_INVALID
   */
  static async connect(options: ConnectOptions = {}): Promise<LoggingConnection> {
    // Loads OpenTelemetry's exporter, which a gateway does not need.
    const { openConnection } = await import("./connect/connection.ts");
    return openConnection(options);
  }

  /** The URL of the dashboard, such as `http://127.0.0.1:8001`; the WebSocket is at `/ws/logs`. */
  get url(): string {
    return this.#running.url;
  }

  /** Returns a logger with level methods. Names are dotted, such as `orchestrator.instance_manager`. */
  getLogger(name: string): OrchestratorLogger {
    return new OrchestratorLogger(textOf(name), this.provider);
  }

  /**
   * Logs an audit event with the first of the `audit_loggers` and resolves with its receipt when it is durable. After a
   * rejection the call can be retried with the same `key`: an event that was stored is not stored again, and its original
   * receipt is returned.
   * @throws TailgateError whose message says what became of the event. Not stored: OVERLOADED (no capacity for two seconds),
   * STOPPED, JOURNAL_FULL, JOURNAL_REFUSED, AUDIT_REFUSED (such as an event without `eventType`). Unknown: JOURNAL_FAILED.
   */
  audit(event: AuditEvent, options: AuditOptions = {}): Promise<Receipt> {
    return this.#running.gateway.intake.receipt(this.#emit(toAuditRecord(event, options)));
  }

  /**
   * Logs an audit event with the first of the `audit_loggers`. Does not wait and never throws. Events that could not be
   * stored are counted and reported on stderr; events without `eventType` are counted too, and reported once.
   */
  logAuditEvent(event: AuditEvent, options: AuditOptions = {}): void {
    const record = toAuditRecord(event, options);
    this.#emit(record);
    if (!TailgateError.is(record) || this.#hasWarnedOfUntyped) return;
    this.#hasWarnedOfUntyped = true;
    this.#log.warning(`An audit event was rejected. ${record.message}`);
  }

  /** Emits the record, or counts the event that has none. */
  #emit(record: ReturnType<typeof toAuditRecord>): IntakeOutcome {
    return TailgateError.is(record)
      ? this.#running.gateway.intake.reject("untyped_event", record)
      : this.#audit.emit(record);
  }

  /** Resolves when each exporter has written or dropped every record that was logged before, at most after 30 s. */
  flush(): Promise<void> {
    return this.#running.gateway.flush(AbortSignal.timeout(FLUSH_MS_MAX));
  }

  /** Flushes, closes files and connections, and unregisters from the global APIs, within about ten seconds. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    this.registration?.undo();
    await this.#running.stop();
    GLOBAL_RELAY.detach(this.#target);
    this.provider.detach(this.#target);
    freeRelays.push(this.provider);
  }

  /** Warns about records that were logged while no gateway was running. */
  #reportLost(): void {
    const lost = this.provider.drainLost() + GLOBAL_RELAY.drainLost();
    if (lost === 0) return;
    const records = lost === 1 ? "1 record was" : `${lost} records were`;
    this.#log.warning(`${records} logged after the previous gateway had stopped, and lost.`);
  }
}

/** The relays of managers that have stopped; the next manager takes over their loggers. */
const freeRelays: LoggerRelay[] = [];

/** @throws TailgateError CONFIG_INVALID */
function rejectUnknownOptions(options: LoggingOptions): void {
  const known = Object.keys(OPTIONS);
  const problems = new Problems();
  for (const name of Object.keys(options).filter((key) => !known.includes(key))) {
    problems.add(name, `unknown option${suggest(name, known)}`);
  }
  problems.throwIfAny("LoggingManager");
}
