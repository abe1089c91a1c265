import type { LogRecord, Logger, LoggerOptions, LoggerProvider } from "@opentelemetry/api";
import type { CallSiteAttributes } from "./call-site.ts";
import type { DirectLoggerProvider, TailgateLoggerProvider, SafeLogger } from "./provider.ts";
import type { LoggerSettings } from "./orchestrator-logger.ts";

/** Where the records of a relay's loggers go: to one gateway. */
export interface RelayTarget {
  readonly provider: TailgateLoggerProvider | DirectLoggerProvider;
  readonly settings: LoggerSettings;
}

/**
 * A LoggerProvider whose loggers outlive the gateway: when it has stopped, the next one of this process attaches to the
 * relay, and loggers that were taken before work again. Records that come in between are counted as lost.
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

  /** Resolves when all that was emitted before is durable. */
  async forceFlush(): Promise<void> {
    await this.#target?.provider.forceFlush();
  }

  /** Ends the provider, but not the gateway. */
  async shutdown(): Promise<void> {
    await this.#target?.provider.shutdown();
  }

  /** Counts a record that no gateway was there for. */
  lose(): void {
    this.#lost++;
  }

  /** Returns how many records were lost since the last call. */
  takeLost(): number {
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }
}

type Scope = Parameters<LoggerProvider["getLogger"]>;

/** A logger of a {@link LoggerRelay}. */
export class RelayLogger implements Logger {
  readonly #relay: LoggerRelay;
  readonly #scope: Scope;
  /** The target that `#logger` is of. */
  #target: RelayTarget | undefined;
  #logger: SafeLogger | undefined;

  constructor(relay: LoggerRelay, ...scope: Scope) {
    this.#relay = relay;
    this.#scope = scope;
    this.#current();
  }

  #current(): SafeLogger | undefined {
    const { target } = this.#relay;
    if (target !== this.#target) {
      this.#target = target;
      this.#logger = target?.provider.getLogger(...this.#scope);
    }
    return this.#logger;
  }

  enabled(options?: Parameters<Logger["enabled"]>[0]): boolean {
    return this.#current()?.enabled(options) ?? false;
  }

  /** `site` is the place of the call; what the record's own attributes say of it wins. */
  emit(record: LogRecord, site?: CallSiteAttributes): void {
    const logger = this.#current();
    if (logger === undefined) this.#relay.lose();
    else logger.emit(record, site);
  }
}
