import { SeverityNumber, type LogRecord } from "@opentelemetry/api";
import { INFO_RANK, isAuditLogger, LEVELS, type LevelRank } from "../wire/envelope.ts";
import { captureCallSite } from "./call-site.ts";
import { isError } from "./plain-value.ts";
import type { LoggerRelay, RelayLogger } from "./relay.ts";

/** Fields of a record besides its message. An Error under `exception` becomes `exception.type`, `.message`, `.stacktrace`. */
export type Extras = Readonly<Record<string, unknown>>;

/** By rank. */
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
  /** Called for each record that is filtered by level. */
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
