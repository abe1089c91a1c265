/** Our own LoggerProvider produces the same records as the SDK's, byte for byte. */

import {
  ROOT_CONTEXT,
  trace,
  type LogRecord,
  type LoggerOptions,
  type LoggerProvider,
} from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { RecordBatch } from "../harness/records.ts";
import { RecordIntake } from "../../src/intake/intake.ts";
import { DirectLoggerProvider, TailgateLoggerProvider } from "../../src/otel/provider.ts";
import { TailgateLogRecordProcessor } from "../../src/otel/processor.ts";

const RESOURCE = resourceFromAttributes({ "service.name": "orchestrator", shard: 3 });

type Provider = typeof DirectLoggerProvider | typeof TailgateLoggerProvider;

/** A provider with a journal that collects its records. */
function openProvider(ProviderClass: Provider) {
  const batches: RecordBatch[] = [];
  const lines: string[] = [];
  const intake = new RecordIntake({
    logLevel: "DEBUG",
    processors: [],
    pendingBytesMax: 64 << 20,
    unstoredBytes: () => 0,
    append: (batch) => {
      batches.push(batch);
      return Promise.resolve();
    },
    storedEvents: [],
    log: { info: fail, warning: fail, error: fail },
  });
  function fail(text: string): void {
    lines.push(text);
  }
  const processor = new TailgateLogRecordProcessor(intake, () => intake.flush());
  const provider: LoggerProvider & { shutdown(): Promise<void> } = new ProviderClass(
    processor,
    RESOURCE,
  );
  return { provider, intake, batches, lines };
}

interface Call {
  readonly name: string;
  readonly version: string | undefined;
  readonly options: LoggerOptions | undefined;
  readonly record: LogRecord;
}

/** Every output of a record: its envelope, its OTLP encoding, and the counters. */
async function outcome(ProviderClass: Provider, calls: readonly Call[]): Promise<unknown> {
  const { provider, intake, batches, lines } = openProvider(ProviderClass);
  for (const { name, version, options, record } of calls) {
    provider.getLogger(name, version, options).emit(record);
  }
  await intake.flush();
  const { received, filtered, sent, dropped } = intake.counters;
  return {
    records: batches.flatMap((batch) =>
      Array.from({ length: batch.length }, (_, index) => ({
        envelope: Buffer.from(batch.bytes(index)).toString(),
        otlp: Buffer.from(batch.from(index).otlp()).toString("hex"),
      })),
    ),
    counts: { received, filtered, sent, dropped: [...dropped] },
    lines,
  };
}

const anything = fc.anything({
  maxDepth: 2,
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
  withUnicodeString: true,
});

const NOW = 1_760_000_000_123;

/** Every value that the API accepts as a time, and some that it does not. */
const time = fc.oneof(
  fc.integer({ min: NOW - 1e9, max: NOW + 1e9 }),
  fc.double({ min: 1, max: 1e6, noNaN: true }),
  fc.date({ noInvalidDate: false }),
  fc.tuple(fc.integer({ min: 0, max: 2e9 }), fc.integer({ min: 0, max: 999_999_999 })),
  fc.constantFrom([0, 0], [-1, 5], [1, Number.NaN]),
);

const errors = fc
  .record({
    message: fc.string(),
    code: fc.constantFrom(undefined, "ENOENT", 7),
    stack: fc.constantFrom("", "Error: x\n    at y"),
  })
  .map(({ message, code, stack }) => Object.assign(new TypeError(message), { code, stack }));

const exception = fc.oneof(errors, fc.string(), fc.integer(), fc.constant({ name: "Plain" }));

const KEYS = [
  "instance_id",
  "message",
  "code.function.name",
  "exception.type",
  "event_type",
  "trace_id",
  "exception",
  "",
  "__proto__",
];

const attributes = fc
  .array(fc.tuple(fc.oneof(fc.constantFrom(...KEYS), fc.string()), fc.oneof(anything, errors)), {
    maxLength: 6,
  })
  .map((entries) => {
    const holder: Record<string, unknown> = {};
    for (const [name, value] of entries) {
      Object.defineProperty(holder, name, { value, enumerable: true, configurable: true });
    }
    return holder;
  });

const spanContext = fc.record({
  traceId: fc.constantFrom("0af7651916cd43dd8448eb211c80319c", "0".repeat(32), "short"),
  spanId: fc.constantFrom("b7ad6b7169203331", "0".repeat(16)),
  traceFlags: fc.constantFrom(0, 1),
});

const record = fc.record(
  {
    timestamp: time,
    observedTimestamp: time,
    severityNumber: fc.oneof(fc.integer({ min: -1, max: 30 }), anything),
    severityText: fc.oneof(fc.constantFrom("INFO", "warning", ""), anything),
    body: anything,
    eventName: fc.oneof(fc.constantFrom("instance.spawn"), anything),
    attributes: fc.oneof({ weight: 4, arbitrary: attributes }, { weight: 1, arbitrary: anything }),
    exception: fc.option(exception, { nil: undefined }),
    context: fc.oneof(
      spanContext.map((context) => trace.setSpanContext(ROOT_CONTEXT, context)),
      fc.constantFrom(ROOT_CONTEXT, undefined, 5),
    ),
  },
  { requiredKeys: [] },
);

const call = fc.record({
  name: fc.constantFrom("orchestrator.server", "orchestrator.audit", "orchestrator.audit.x", ""),
  version: fc.constantFrom(undefined, "1.2.0"),
  options: fc.constantFrom(
    undefined,
    { schemaUrl: "https://example.com/1" },
    { attributes: { tenant: "a", list: [1, 2] } },
  ),
  record: record.map((fields) => fields as LogRecord),
});

afterEach(() => vi.useRealTimers());

describe("our own LoggerProvider", () => {
  it("produces the same records as the SDK's provider", async () => {
    // For records without a time, or with an invalid one.
    vi.useFakeTimers({ toFake: ["Date"], now: NOW });
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 4 }), async (calls) => {
        const expected = await outcome(TailgateLoggerProvider, calls);
        expect(await outcome(DirectLoggerProvider, calls)).toEqual(expected);
      }),
    );
  });

  it.each([DirectLoggerProvider, TailgateLoggerProvider])(
    "retains readable attributes if one throws or removes another: %o",
    async (ProviderClass) => {
      const { provider, intake, batches } = openProvider(ProviderClass);
      const logger = provider.getLogger("orchestrator.server");
      const throwing = {
        get bad(): never {
          throw new Error("no");
        },
        usage: { tokens: 7 },
      };
      const stealing: NonNullable<LogRecord["attributes"]> = {
        get thief() {
          return delete stealing["gone"];
        },
        gone: 1,
        usage: { tokens: 8 },
      };
      for (const hostile of [throwing, stealing]) logger.emit({ attributes: hostile });
      await intake.flush();
      const [first, second] = [0, 1].map((index) => batches[0]!.envelope(index).data);
      expect(first).toMatchObject({ bad: { message: "no" }, usage: { tokens: 7 } });
      expect(second).toMatchObject({ thief: true, usage: { tokens: 8 } });
      expect(second).not.toHaveProperty("gone");
    },
  );

  it("stamps records without times with the time of the call", async () => {
    const { provider, intake, batches } = openProvider(DirectLoggerProvider);
    const before = BigInt(Date.now()) * 1_000_000n;
    provider.getLogger("orchestrator.server").emit({ body: "now" });
    const after = BigInt(Date.now()) * 1_000_000n;
    await intake.flush();
    const { timestamp, observedTimestamp } = batches[0]!.record(0);
    expect(timestamp).toBe(observedTimestamp);
    expect(timestamp >= before && timestamp <= after).toBe(true);
  });

  it.each([DirectLoggerProvider, TailgateLoggerProvider])(
    "rejects records after shutdown, and reports that: %o",
    async (ProviderClass) => {
      const { provider, intake } = openProvider(ProviderClass);
      const logger = provider.getLogger("orchestrator.server");
      expect(logger.enabled()).toBe(true);
      await provider.shutdown();
      expect(logger.enabled()).toBe(false);
      logger.emit({ body: "late" });
      provider.getLogger("orchestrator.other").emit({ body: "late" });
      await intake.flush();
      expect(intake.counters.received).toBe(0);
    },
  );
});
