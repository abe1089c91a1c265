import assert from "node:assert/strict";
import { createLiveDelivery, type LiveDelivery } from "../delivery/live-queue.ts";
import { AUDIT_LOGGER, type EnvelopeType } from "../wire/envelope.ts";
import {
  PermanentError,
  type Exporter,
  type ExporterDefinition,
  type Written,
} from "../plugin/index.ts";
import { batchOf } from "./batch.ts";
import { testHost, type TestHost } from "./host.ts";

/** An exporter under test, with its real destination. */
export interface ExporterHarness {
  /** The default export of the plugin. */
  readonly definition: ExporterDefinition;
  /** The plugin's options, as under the component's key in the configuration. Default: the defaults of the schema. */
  readonly options?: Readonly<Record<string, unknown>>;
  /**
   * Called after the exporter was opened. Resolves with a function that returns the messages (`data.message`) that have
   * arrived at the destination, in order and with duplicates.
   */
  connect(host: TestHost): Promise<() => Promise<readonly string[]> | readonly string[]>;
  /** Releases what `connect` acquired. Called after the exporter was closed. */
  disconnect?(): Promise<void> | void;
  /**
   * True if the destination outlasts the exporter, such as a file or a server: after a restart, the messages from before
   * are expected to be there too.
   */
  readonly durable: boolean;
}

/** One case of {@link exporterContract}. */
export interface ContractCase {
  /** What the exporter has to do, such as `writes every record once and in order`. */
  readonly name: string;
  /** Opens the exporter on a host of its own, runs the case, and closes both. Rejects with an AssertionError. */
  run(): Promise<void>;
}

const RECORDS_PER_BATCH = 3;
/** The time limit of a write, so long that it never fails a case on a busy machine. */
const TIMEOUT_MS = 30_000;
/** The time limit in the case in which a write exceeds it. */
const SHORT_TIMEOUT_MS = 1_000;

/**
 * Returns the cases that every exporter has to pass, for any test runner:
 * `for (const { name, run } of exporterContract(harness)) test(name, run);`
 *
 * `harness` is called once for each case, and must return an empty destination. Each case writes batches of three records,
 * injects faults between the gateway and the exporter, and compares what has arrived. Run the cases one after another if
 * they share a destination.
 */
export function exporterContract(harness: () => ExporterHarness): ContractCase[] {
  const check = (
    name: string,
    body: (bench: Workbench) => Promise<void>,
    timeoutMs = TIMEOUT_MS,
  ): ContractCase => ({
    name,
    run: async () => {
      const bench = new Workbench(harness(), timeoutMs);
      try {
        await bench.begin();
        await body(bench);
      } finally {
        await bench.end();
        await bench.cleanUp();
      }
    },
  });
  return [
    check("writes every record once and in order", async (bench) => {
      await bench.send(1, 2, 3);
      await bench.expectArrived(1, 2, 3);
      bench.expectCounts({ sent: 3, failed: 0, dropped: 0 });
    }),
    check("loses and duplicates nothing when writes fail temporarily", async (bench) => {
      bench.fault = failTwice;
      await bench.send(1, 2);
      await bench.expectArrived(1, 2);
      bench.expectCounts({ sent: 2, failed: 2, dropped: 0 });
    }),
    check("does not write a batch twice whose confirmation was lost", async (bench) => {
      bench.fault = loseConfirmation;
      await bench.send(1, 2);
      await bench.expectArrived(1, 2);
    }),
    check("continues after a batch that was rejected permanently", async (bench) => {
      bench.fault = rejectFirst;
      await bench.send(1, 2);
      await bench.expectArrived(2);
      bench.expectCounts({ sent: 1, failed: 1, dropped: 1 });
    }),
    check(
      "writes a batch again whose write exceeded the time limit",
      async (bench) => {
        bench.fault = hangFirst;
        await bench.send(1, 2);
        await bench.expectArrived(1, 2);
        bench.expectCounts({ sent: 2, failed: 1, dropped: 0 });
      },
      SHORT_TIMEOUT_MS,
    ),
    check("has written every batch when it is closed", async (bench) => {
      bench.offer(1);
      bench.offer(2);
      await bench.end();
      await bench.expectArrived(1, 2);
    }),
    check("closes without having written anything", async (bench) => {
      await bench.end();
      bench.expectCounts({ sent: 0, failed: 0, dropped: 0 });
    }),
    check("resumes after a restart", async (bench) => {
      await bench.send(1);
      await bench.restart();
      await bench.send(2);
      await bench.expectArrived(...(bench.harness.durable ? [1, 2] : [2]));
    }),
  ];
}

/** Wraps a write of the exporter. `call` counts from 1. */
type Fault = (
  write: () => ReturnType<Exporter["write"]>,
  call: number,
  signal: AbortSignal,
) => Promise<Written | void>;

const failTwice: Fault = async (write, call) => {
  if (call <= 2) throw new Error("injected: the destination is unavailable");
  return write();
};

const loseConfirmation: Fault = async (write, call) => {
  const written = await write();
  if (call === 1) throw new Error("injected: the confirmation was lost");
  return written;
};

const rejectFirst: Fault = async (write, call) => {
  if (call === 1) throw new PermanentError("injected: rejected");
  return write();
};

const hangFirst: Fault = async (write, call, signal) => {
  if (call > 1) return write();
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(new Error("injected: hung")), { once: true });
  });
};

/** One exporter under delivery, on a host of its own. */
class Workbench {
  fault: Fault = async (write) => write();
  readonly harness: ExporterHarness;
  readonly #timeoutMs: number;
  /** The type of records that the exporter gets. */
  #type: EnvelopeType | undefined;
  #host: TestHost | undefined;
  #logDirHost: TestHost | undefined;
  #live: LiveDelivery | undefined;
  #arrived: (() => Promise<readonly string[]> | readonly string[]) | undefined;
  #calls = 0;
  #ended: Promise<void> | undefined;

  constructor(harness: ExporterHarness, timeoutMs: number) {
    this.harness = harness;
    this.#timeoutMs = timeoutMs;
  }

  async begin(logDir?: string): Promise<void> {
    const { definition } = this.harness;
    const options = definition.options.parse(this.harness.options ?? {});
    this.#host = await testHost(definition.name, logDir === undefined ? {} : { logDir });
    this.#logDirHost ??= this.#host;
    const exporter = await definition.open(options, this.#host);
    this.#type = exporter.type ?? definition.type;
    await this.#host.listen();
    this.#arrived = await this.harness.connect(this.#host);
    const faulty: Exporter = {
      write: (batch, signal) =>
        this.fault(() => exporter.write(batch, signal), ++this.#calls, signal),
      close: (signal) => exporter.close?.(signal),
    };
    this.#live = createLiveDelivery(faulty, {
      type: this.#type,
      level: undefined,
      queueBytesMax: Number.MAX_SAFE_INTEGER,
      timeoutMs: this.#timeoutMs,
      log: this.#host.log,
    });
    this.#ended = undefined;
  }

  /** Appends a numbered batch to the journal and offers it, as the gateway does. */
  offer(number: number): void {
    const name = this.#type === "audit_log" ? AUDIT_LOGGER : "orchestrator.server";
    const scope = { name, version: "", attributes: new Map() };
    const batch = batchOf(messagesOf(number).map((body) => ({ body, scope })));
    void this.#host!.journal.append(batch);
    this.#live!.offer(batch);
  }

  async send(...numbers: number[]): Promise<void> {
    for (const number of numbers) this.offer(number);
    await this.#live!.delivery.drain(new AbortController().signal);
  }

  async expectArrived(...numbers: number[]): Promise<void> {
    assert.deepEqual(await this.#arrived!(), numbers.flatMap(messagesOf));
  }

  /** Compares the counters, given in batches. */
  expectCounts(expected: { sent: number; failed: number; dropped: number }): void {
    const { sent, failed, droppedSum: dropped } = this.#live!.delivery.counters;
    const records = Object.entries(expected).map(([name, n]) => [name, n * RECORDS_PER_BATCH]);
    assert.deepEqual({ sent, failed, dropped }, Object.fromEntries(records));
  }

  async restart(): Promise<void> {
    await this.end();
    await this.harness.disconnect?.();
    const { logDir } = this.#host!;
    if (this.#host !== this.#logDirHost) await this.#host!.close();
    await this.begin(logDir);
  }

  /** Closes the exporter. Safe to call again. */
  end(): Promise<void> {
    this.#ended ??= this.#live?.delivery.close(AbortSignal.timeout(5000)) ?? Promise.resolve();
    return this.#ended;
  }

  async cleanUp(): Promise<void> {
    await this.harness.disconnect?.();
    await this.#host?.close();
    await this.#logDirHost?.close();
  }
}

function messagesOf(batch: number): string[] {
  return Array.from({ length: RECORDS_PER_BATCH }, (_, index) => `batch ${batch}, record ${index}`);
}
