import {
  SeverityNumber,
  type LogRecord,
  type Logger,
  type LoggerOptions,
  type LoggerProvider,
} from "@opentelemetry/api";
import { INFO_RANK, isAuditLogger, LEVELS, type LevelRank } from "../wire/envelope.ts";
import { captureCallSite, type CallSiteAttributes } from "./call-site.ts";
import { isError } from "./plain-value.ts";
import type { DirectLoggerProvider, TailgateLoggerProvider, SafeLogger } from "./provider.ts";

/** Fields of a record besides its message. An Error under `exception` becomes `exception.type`, `.message`, `.stacktrace`. */
export type Extras = Readonly<Record<string, unknown>>;

const SEVERITY_NUMBERS = [
  SeverityNumber.DEBUG,
  SeverityNumber.INFO,
  SeverityNumber.WARN,
  SeverityNumber.ERROR,
  SeverityNumber.FATAL,
] as const;

/** The settings of the gateway that an {@link OrchestratorLogger} applies to each record. */
export interface LoggerSettings {
  /** The minimum rank that is logged. For audit events it is INFO. */
  readonly lowest: number;
  readonly auditLoggers: readonly string[];
  /** The minimum rank at which the call site is captured, which takes some microseconds. */
  readonly lowestWithSite: number;
  filtered(): void;
}

/**
 * A logger with the level methods of Python's logging module, for the code of an orchestrator. Never throws. An Error in
 * place of the extras is the record's exception.
 */
export class OrchestratorLogger {
  readonly #relay: LoggerRelay;
  readonly #logger: RelayLogger;
  readonly #name: string;
  /** The settings that `#lowest` was derived from. */
  #settings: LoggerSettings | undefined;
  #lowest = 0;

  constructor(name: string, relay: LoggerRelay) {
    this.#name = name;
    this.#relay = relay;
    this.#logger = relay.getLogger(name);
  }

  debug(message: string, extras?: Extras | Error): void {
    this.#log(0, message, extras, this.debug);
  }

  info(message: string, extras?: Extras | Error): void {
    this.#log(1, message, extras, this.info);
  }

  warning(message: string, extras?: Extras | Error): void {
    this.#log(2, message, extras, this.warning);
  }

  error(message: string, extras?: Extras | Error): void {
    this.#log(3, message, extras, this.error);
  }

  critical(message: string, extras?: Extras | Error): void {
    this.#log(4, message, extras, this.critical);
  }

  #log(
    rank: LevelRank,
    message: string,
    extras: Extras | Error | undefined,
    method: (message: string) => void,
  ): void {
    const settings = this.#relay.target?.settings;
    if (settings === undefined) return this.#relay.countLost();
    if (settings !== this.#settings) this.#applySettings(settings);
    if (rank < this.#lowest) return settings.filtered();
    const record: LogRecord = {
      severityNumber: SEVERITY_NUMBERS[rank],
      severityText: LEVELS[rank],
      body: message,
    };
    if (isError(extras)) record.exception = extras;
    else if (extras) record.attributes = extras;
    const site = rank >= settings.lowestWithSite ? captureCallSite(method) : undefined;
    this.#logger.emit(record, site);
  }

  #applySettings(settings: LoggerSettings): void {
    const isAudit = isAuditLogger(this.#name, settings.auditLoggers);
    this.#settings = settings;
    this.#lowest = isAudit ? INFO_RANK : settings.lowest;
  }
}

export interface RelayTarget {
  readonly provider: TailgateLoggerProvider | DirectLoggerProvider;
  readonly settings: LoggerSettings;
}

/**
 * A LoggerProvider whose loggers outlive the gateway. After a gateway has stopped, the next one in the process attaches to
 * the relay, and loggers that were obtained earlier work again. Records in between are counted as lost.
 */
export class LoggerRelay implements LoggerProvider {
  #target: RelayTarget | undefined;
  #lost = 0;

  get target(): RelayTarget | undefined {
    return this.#target;
  }

  attach(target: RelayTarget): void {
    this.#target = target;
  }

  /** Does nothing if another target has been attached since. */
  detach(target: RelayTarget): void {
    if (this.#target === target) this.#target = undefined;
  }

  getLogger(name: string, version?: string, options?: LoggerOptions): RelayLogger {
    return new RelayLogger(this, name, version, options);
  }

  async forceFlush(): Promise<void> {
    await this.#target?.provider.forceFlush();
  }

  /** Shuts down the provider, but not the gateway. */
  async shutdown(): Promise<void> {
    await this.#target?.provider.shutdown();
  }

  countLost(): void {
    this.#lost++;
  }

  /** Returns how many records were lost since the last call. */
  drainLost(): number {
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }
}

type LoggerArguments = Parameters<LoggerProvider["getLogger"]>;

export class RelayLogger implements Logger {
  readonly #relay: LoggerRelay;
  readonly #arguments: LoggerArguments;
  #target: RelayTarget | undefined;
  #logger: SafeLogger | undefined;

  constructor(relay: LoggerRelay, ...args: LoggerArguments) {
    this.#relay = relay;
    this.#arguments = args;
    this.#current();
  }

  #current(): SafeLogger | undefined {
    const { target } = this.#relay;
    if (target !== this.#target) {
      this.#target = target;
      this.#logger = target?.provider.getLogger(...this.#arguments);
    }
    return this.#logger;
  }

  enabled(options?: Parameters<Logger["enabled"]>[0]): boolean {
    return this.#current()?.enabled(options) ?? false;
  }

  /** `site` is the call site; the record's own `code.*` attributes take precedence. */
  emit(record: LogRecord, site?: CallSiteAttributes): void {
    const logger = this.#current();
    if (logger === undefined) this.#relay.countLost();
    else logger.emit(record, site);
  }
}
