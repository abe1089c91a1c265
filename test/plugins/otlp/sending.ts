import { testHost, batchOf, type TestHost } from "tailgate/testing";
import { vi } from "vitest";
import otlp from "../../../plugins/otlp.ts";
import type { Delivery } from "../../../src/delivery/delivery.ts";
import { createJournalDelivery } from "../../../src/delivery/journal-cursor.ts";
import { memoryJournal } from "../../harness/memory-journal.ts";
import type { RecordBatch } from "../../harness/records.ts";
import type { ExporterDefinition, LogRecord } from "tailgate/plugin";

const NEVER = new AbortController().signal;

interface SendingOptions {
  readonly timeoutMs?: number;
  /** Default: the exporter `otlp`. */
  readonly definition?: ExporterDefinition;
}

/** An exporter with delivery from a journal, as in a gateway. */
export class Sending implements AsyncDisposable {
  readonly host: TestHost;
  readonly delivery: Delivery;

  private constructor(host: TestHost, delivery: Delivery) {
    this.host = host;
    this.delivery = delivery;
  }

  static async open(
    options: Readonly<Record<string, unknown>>,
    { timeoutMs = 10_000, definition = otlp }: SendingOptions = {},
  ): Promise<Sending> {
    const host = await testHost(definition.name);
    const exporter = await definition.open(definition.options.parse(options), host);
    const { log } = host;
    const journal = memoryJournal(host);
    const selection = { type: undefined, level: undefined };
    return new Sending(
      host,
      createJournalDelivery(exporter, { ...selection, journal, consumer: host.id, timeoutMs, log }),
    );
  }

  /** Appends records to the journal and wakes delivery. */
  async log(...records: readonly Partial<LogRecord>[]): Promise<void> {
    await this.append(batchOf(records) as RecordBatch);
  }

  async append(batch: RecordBatch): Promise<void> {
    await this.host.journal.append(batch);
    this.delivery.wake();
  }

  /** Logs messages; resolves when they have been sent or dropped. */
  async send(...messages: readonly string[]): Promise<void> {
    await this.log(...messages.map((body) => ({ body })));
    await this.delivery.drain(NEVER);
  }

  /** Resolves with the error of the last write, once one fails. */
  lastError(): Promise<string> {
    return vi.waitUntil(() => this.delivery.lastError, { interval: 5 });
  }

  get dropped(): Record<string, number> {
    return Object.fromEntries(this.delivery.counters.dropped);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.delivery.close(AbortSignal.timeout(0));
    await this.host.close();
  }
}
