import { LoggerProvider, type LogRecordProcessor } from "@opentelemetry/sdk-logs";
import { expect, test } from "vitest";
import { RecordIntake } from "../../src/intake/intake.ts";
import { TailgateLogRecordProcessor } from "../../src/otel/processor.ts";

/** A processor registered before ours that leaves attributes which cannot be enumerated. */
const BREAKER: LogRecordProcessor = {
  onEmit(record) {
    const attributes = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("not to be listed");
        },
      },
    );
    Object.assign(record, { attributes });
  },
  forceFlush: () => Promise.resolve(),
  shutdown: () => Promise.resolve(),
};

test("unreadable values left by an earlier processor do not throw into the caller, and are counted", () => {
  const nothing = (): void => {};
  const intake = new RecordIntake({
    logLevel: "INFO",
    processors: [],
    pendingBytesMax: 1 << 20,
    unstoredBytes: () => 0,
    append: () => Promise.resolve(),
    storedEvents: [],
    log: { info: nothing, warning: nothing, error: nothing },
  });
  const processor = new TailgateLogRecordProcessor(intake, () => intake.flush());
  const logger = new LoggerProvider({ processors: [BREAKER, processor] }).getLogger("a");
  logger.emit({ body: "spoilt" });
  expect(intake.counters).toMatchObject({ received: 1, dropped: new Map([["not_readable", 1]]) });
});
