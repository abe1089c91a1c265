import type { HostLogger } from "tailgate/plugin";

/** How often an unchanged message of the destination is logged. */
const LOG_INTERVAL_MS = 60_000;

/** Counts and logs the items that a destination rejected. */
export class RejectionLog {
  readonly #name: string;
  readonly #quarantine: string | undefined;
  readonly #unit: string;
  readonly #log: HostLogger;
  /** Items whose request was rejected. */
  #rejected = 0;
  #firstRejected = "";
  /** Items of accepted requests. */
  #partiallyRejected = 0;
  /** Those that no log line has reported yet. */
  #unreported = 0;
  #lastMessage: string | undefined;
  #loggedAtMs = 0;

  /** `name`: the destination's; `quarantine`: the file that stores rejected items; `unit`: what an item is. */
  constructor(
    name: string,
    quarantine: string | undefined,
    log: HostLogger,
    unit: "records" | "spans" = "records",
  ) {
    this.#name = name;
    this.#quarantine = quarantine;
    this.#unit = unit;
    this.#log = log;
  }

  /** Adds an item whose request was rejected. `sequence`: of its record, or of the record that ended the span. */
  addRejected(sequence: number, reason: string): void {
    if (this.#rejected++ === 0) this.#firstRejected = `sequence ${sequence}, ${reason}`;
  }

  /** Adds a partial success. A count of 0 with a message is a warning. */
  addPartialSuccess(count: number, message: string): void {
    this.#partiallyRejected += count;
    this.#unreported += count;
    if (count === 0 && message === "") return;
    const nowMs = performance.now();
    if (message === this.#lastMessage && nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) return;
    this.#log.warning(
      `${this.#name} accepted a request but rejected ${this.#unreported} of its ${this.#unit}: ${message || "no reason given"}`,
    );
    this.#unreported = 0;
    this.#lastMessage = message;
    this.#loggedAtMs = nowMs;
  }

  /**
   * Returns the counts since the last call, and logs the items whose request was rejected. The reasons are labels in
   * /metrics: `refused` for rejected requests, `rejected` for partial successes.
   */
  takeCounts(): Record<string, number> {
    const counts = { refused: this.#rejected, rejected: this.#partiallyRejected };
    if (this.#rejected > 0) {
      const stored = this.#quarantine === undefined ? "" : `; they are in ${this.#quarantine}`;
      this.#log.error(
        `${this.#name} rejected ${this.#rejected} ${this.#unit} permanently${stored}. First: ${this.#firstRejected}`,
      );
    }
    this.#rejected = 0;
    this.#partiallyRejected = 0;
    return counts;
  }
}
