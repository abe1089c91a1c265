import type { HostLogger } from "tailgate/plugin";

/** How often a repeated complaint of the other side is said again. */
const SAID_AGAIN_MS = 60_000;

/** What the other side has not kept of what it was sent: counted until delivery asks, and said. */
export class Losses {
  readonly #name: string;
  readonly #quarantine: string | undefined;
  readonly #things: string;
  readonly #log: HostLogger;
  #refused = 0;
  #firstRefused = "";
  #rejected = 0;
  /** Rejected ones that nobody was told of yet, and what was said last. */
  #unsaid = 0;
  #saidMessage: string | undefined;
  #saidAtMs = 0;

  /** `quarantine`: the file that keeps what is refused; `things`: what is sent. */
  constructor(
    name: string,
    quarantine: string | undefined,
    log: HostLogger,
    things: "records" | "spans" = "records",
  ) {
    this.#name = name;
    this.#quarantine = quarantine;
    this.#things = things;
    this.#log = log;
  }

  /** One that is refused for good. `sequence`: of its record, or of the one that it ends with. */
  refused(sequence: number, reason: string): void {
    if (this.#refused++ === 0) this.#firstRefused = `sequence ${sequence}, ${reason}`;
  }

  /** Those of a partial success; with a message and none of them it is a warning. */
  rejected(count: number, message: string): void {
    this.#rejected += count;
    this.#unsaid += count;
    if (count === 0 && message === "") return;
    const nowMs = performance.now();
    if (message === this.#saidMessage && nowMs - this.#saidAtMs < SAID_AGAIN_MS) return;
    this.#log.warning(
      `${this.#name} took a request and rejected ${this.#unsaid} of its ${this.#things}: ${message || "without a reason"}`,
    );
    this.#unsaid = 0;
    this.#saidMessage = message;
    this.#saidAtMs = nowMs;
  }

  /** All since the last call, by reason. */
  take(): Record<string, number> {
    const dropped = { refused: this.#refused, rejected: this.#rejected };
    if (this.#refused > 0) {
      const kept = this.#quarantine === undefined ? "" : `; they are in ${this.#quarantine}`;
      this.#log.error(
        `${this.#name} refused ${this.#refused} ${this.#things} for good${kept}. The first: ${this.#firstRefused}`,
      );
    }
    this.#refused = 0;
    this.#rejected = 0;
    return dropped;
  }
}
