import { SeverityNumber, type LogRecord } from "@opentelemetry/api";
import { INFO_RANK, isAuditLogger, LEVELS, type LevelRank } from "../wire/envelope.ts";
import { callSiteAbove } from "./call-site.ts";
import { isError } from "./plain-value.ts";
import type { LoggerRelay, RelayLogger } from "./relay.ts";

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

/** What an {@link OrchestratorLogger} asks of the gateway for each record. */
export interface LoggerSettings {
  /** The lowest rank that is logged; audit events are from INFO up. */
  readonly lowest: number;
  readonly auditLoggers: readonly string[];
  /** The lowest rank at which the place of the call is looked up, which costs some microseconds. */
  readonly lowestWithSite: number;
  /** Called for each record that is left out because of its level. */
  filtered(): void;
}

/**
 * A logger with the level methods of Python's: what an orchestrator's code calls. It never throws. An Error in place
 * of the extras is the record's exception.
 */
export class OrchestratorLogger {
  readonly #relay: LoggerRelay;
  readonly #logger: RelayLogger;
  readonly #name: string;
  /** The settings that `#lowest` is worked out of. */
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
    if (settings === undefined) return this.#relay.lose();
    if (settings !== this.#settings) this.#adopt(settings);
    if (rank < this.#lowest) return settings.filtered();
    const record: LogRecord = {
      severityNumber: SEVERITY_NUMBERS[rank],
      severityText: LEVELS[rank],
      body: message,
    };
    if (isError(extras)) record.exception = extras;
    else if (extras) record.attributes = extras;
    const site = rank >= settings.lowestWithSite ? callSiteAbove(method) : undefined;
    this.#logger.emit(record, site);
  }

  #adopt(settings: LoggerSettings): void {
    const isAudit = isAuditLogger(this.#name, settings.auditLoggers);
    this.#settings = settings;
    this.#lowest = isAudit ? INFO_RANK : settings.lowest;
  }
}
