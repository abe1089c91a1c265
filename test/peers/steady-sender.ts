import { setTimeout as wait } from "node:timers/promises";
import { postRequest } from "./numbered-records.ts";

const RECORDS_A_REQUEST = 100;
const PAUSE_MS = 10;

/** Sends numbered records continuously, accepted or not, and remembers the acknowledged ones. */
export class SteadySender {
  /** The numbers of the records that were acknowledged. */
  readonly acknowledged: number[] = [];
  /** The number of the next record. */
  next: number;
  readonly #urlOf: () => string;
  #isEnding = false;
  #running: Promise<void> | undefined;

  /** `urlOf` returns the URL for the next request. */
  constructor(urlOf: () => string, first = 0) {
    this.#urlOf = urlOf;
    this.next = first;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when the last request has settled. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isEnding) {
      const from = this.next;
      this.next += RECORDS_A_REQUEST;
      const status = await postRequest(this.#urlOf(), from, this.next).catch(() => 0);
      if (status === 200) {
        for (let number = from; number < this.next; number++) this.acknowledged.push(number);
      }
      await wait(PAUSE_MS);
    }
  }
}
