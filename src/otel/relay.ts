import type { LogRecord, Logger, LoggerOptions, LoggerProvider } from "@opentelemetry/api";
import type { CallSiteAttributes } from "./call-site.ts";
import type { DirectLoggerProvider, TailgateLoggerProvider, SafeLogger } from "./provider.ts";
import type { LoggerSettings } from "./orchestrator-logger.ts";

/** The gateway that the loggers of a relay log to. */
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

  /** Resolves when everything that was emitted before has been written. */
  async forceFlush(): Promise<void> {
    await this.#target?.provider.forceFlush();
  }

  /** Shuts down the provider, but not the gateway. */
  async shutdown(): Promise<void> {
    await this.#target?.provider.shutdown();
  }

  /** Counts a record that was emitted while no gateway was attached. */
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

/** A logger of a {@link LoggerRelay}. */
export class RelayLogger implements Logger {
  readonly #relay: LoggerRelay;
  readonly #arguments: LoggerArguments;
  /** The target that `#logger` belongs to. */
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
