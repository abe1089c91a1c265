import { SeverityNumber, type LogRecord } from "@opentelemetry/api";
import { INFO_RANK, isAuditLogger, LEVELS, type Level, type LevelRank } from "../envelope.ts";
import { callSiteAbove } from "./call-site.ts";
import { isError } from "./plain-value.ts";
import type { SafeLogger } from "./safe-logger.ts";

/** Fields of a record beside its message. An Error under `exception` becomes `exception.type`, `.message`, `.stacktrace`. */
export type Extras = Readonly<Record<string, unknown>>;

/** By rank. */
const SEVERITY_NUMBERS = [
  SeverityNumber.DEBUG,
  SeverityNumber.INFO,
  SeverityNumber.WARN,
  SeverityNumber.ERROR,
  SeverityNumber.FATAL,
] as const;

export interface LoggerSettings {
  readonly logLevel: Level;
  /** The lowest level at which the place of the call is looked up, which costs some microseconds; "never" for none. */
  readonly callSiteLevel: Level | "never";
  /** Told of each record that is left out because of its level. */
  filtered(): void;
}

/**
 * A logger with the level methods of Python's: what an orchestrator's code calls. It never throws. An Error in place
 * of the extras is the record's exception.
 */
export class OrchestratorLogger {
  readonly #logger: SafeLogger;
  readonly #settings: LoggerSettings;
  readonly #lowest: number;
  readonly #lowestWithSite: number;

  constructor(name: string, logger: SafeLogger, settings: LoggerSettings) {
    const { logLevel, callSiteLevel } = settings;
    this.#logger = logger;
    this.#settings = settings;
    this.#lowest = isAuditLogger(name) ? INFO_RANK : LEVELS.indexOf(logLevel);
    this.#lowestWithSite =
      callSiteLevel === "never" ? LEVELS.length : LEVELS.indexOf(callSiteLevel);
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
    if (rank < this.#lowest) return this.#settings.filtered();
    const record: LogRecord = {
      severityNumber: SEVERITY_NUMBERS[rank],
      severityText: LEVELS[rank],
      body: message,
    };
    if (isError(extras)) record.exception = extras;
    else if (extras) record.attributes = extras;
    this.#logger.emit(record, rank >= this.#lowestWithSite ? callSiteAbove(method) : undefined);
  }
}
