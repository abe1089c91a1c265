import type { Gateway } from "../../gateway/gateway.ts";
import { setTimeout } from "../../runtime/timers.ts";
import { TailgateError, textOf } from "../../wire/errors.ts";
import { say } from "../output.ts";
import type { LineRecord } from "./line-records.ts";
import type { Delivery, RecordSink } from "./sink.ts";

const RETRY_MS = 50;

/** How long the gateway may be without capacity until records are lost. */
const OVERLOAD_MS_MAX = 10_000;

/** Passes records to the gateway of this process. */
export class GatewaySink implements RecordSink {
  readonly #gateway: Gateway;
  #total = 0;
  #lost = 0;
  #reason: string | undefined;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  async add(lines: Iterable<LineRecord>): Promise<void> {
    const records = Array.from(lines, ({ record }) => record);
    if (records.length === 0) return;
    this.#total += records.length;
    const endMs = performance.now() + OVERLOAD_MS_MAX;
    for (;;) {
      try {
        const { rejected } = await this.#gateway.intake.records(records);
        this.#lost += rejected;
        return;
      } catch (error) {
        const isOverloaded = TailgateError.is(error, "OVERLOADED") && performance.now() < endMs;
        if (!isOverloaded) return this.#lose(records.length, error);
        await sleep(RETRY_MS);
      }
    }
  }

  #lose(count: number, error: unknown): void {
    if (this.#reason === undefined) {
      say(
        `The gateway does not accept records: ${textOf(error)} Lines are printed, but not stored.`,
      );
    }
    this.#reason = textOf(error);
    this.#lost += count;
  }

  close(): Promise<Delivery> {
    return Promise.resolve({
      total: this.#total,
      lost: this.#lost,
      destination: "the gateway",
      reason: this.#reason,
    });
  }
}

function sleep(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms);
  return promise;
}
