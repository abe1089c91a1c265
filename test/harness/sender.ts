import { postMessages } from "./otlp.ts";

/** Sends requests one at a time until the gateway is gone. */
export class Sender {
  readonly #gateway: { readonly url: string };
  readonly #logger: string;
  #next = 0;
  /** Messages answered with 200. */
  readonly answered: string[] = [];
  readonly #sent: string[] = [];

  constructor(gateway: { readonly url: string }, logger: string) {
    this.#gateway = gateway;
    this.#logger = logger;
  }

  async run(): Promise<void> {
    for (;;) {
      const count = 1 + Math.floor(Math.random() * 20);
      const messages = Array.from({ length: count }, () => `${this.#next++}`);
      this.#sent.push(...messages);
      const sending = postMessages(this.#gateway.url, messages, { logger: this.#logger });
      const status = await sending.catch(() => undefined);
      if (status === undefined) return;
      if (status !== 200) throw new Error(`The gateway answered ${status}`);
      this.answered.push(...messages);
    }
  }

  /** Acknowledged messages that are missing. */
  missingIn(lines: readonly string[]): string[] {
    const there = new Set(lines);
    return this.answered.filter((message) => !there.has(message));
  }

  /** The stored messages, once and in the order sent. */
  inOrder(lines: readonly string[]): string[] {
    const there = new Set(lines);
    return this.#sent.filter((message) => there.has(message));
  }
}
