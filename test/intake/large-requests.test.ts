/** Requests that are encoded over many turns of the event loop while others arrive. */

import { setImmediate } from "node:timers/promises";
import { expect, it } from "vitest";
import { Counters } from "../../src/plugin/metrics.ts";
import type { RecordBatch } from "../harness/records.ts";
import { RecordIntake } from "../../src/intake/intake.ts";
import type { RunningProcessor } from "../../src/intake/processors.ts";

const RECORDS = 12_000;

class Fixture {
  readonly stored: RecordBatch[] = [];
  readonly intake: RecordIntake;
  #sequence = 1;

  constructor(processors: readonly RunningProcessor[] = []) {
    this.intake = new RecordIntake({
      logLevel: "DEBUG",
      processors,
      pendingBytesMax: 60 << 20,
      unstoredBytes: () => 0,
      append: async (batch) => {
        batch.firstSequence = this.#sequence;
        this.#sequence += batch.length;
        this.stored.push(batch);
      },
      storedEvents: [],
      log: { info: () => {}, warning: () => {}, error: () => {} },
    });
  }

  get messages(): string[] {
    return this.stored.flatMap((batch) =>
      Array.from({ length: batch.length }, (_, index) => batch.envelope(index).data.message),
    );
  }
}

function event(key: string): object {
  return {
    body: { stringValue: key },
    attributes: [{ key: "log.record.uid", value: { stringValue: key } }],
  };
}

/** Creates a JSON request with system logs before its audit events. */
function request(systemLogs: number, events: readonly object[], last: object = {}): Buffer {
  const logRecords = Array.from({ length: systemLogs }, (_, index) => ({
    timeUnixNano: "1760347644339163000",
    body: { stringValue: `record ${index}` },
  }));
  const time = { timeUnixNano: "1760347644339163001" };
  return Buffer.from(
    JSON.stringify({
      resourceLogs: [
        {
          scopeLogs: [
            { scope: { name: "a" }, logRecords },
            {
              scope: { name: "orchestrator.audit" },
              logRecords: events.map((one) => ({ ...time, ...one })),
            },
            {
              scope: { name: "b" },
              logRecords: [{ ...time, body: { stringValue: "last" }, ...last }],
            },
          ],
        },
      ],
    }),
  );
}

const expected = Array.from({ length: RECORDS }, (_, index) => `record ${index}`);

it("are committed as a whole, after records that arrived while they were encoded", async () => {
  const fixture = new Fixture();
  let isDone = false;
  const large = fixture.intake.otlpJson(request(RECORDS, [event("a")])).then((ingested) => {
    isDone = true;
    return ingested;
  });
  await setImmediate();
  await fixture.intake.otlpJson(request(1, []));
  expect(isDone).toBe(false);
  expect(await large).toEqual({ accepted: RECORDS + 2, rejected: 0, reason: "" });
  expect(fixture.messages).toEqual(["record 0", "last", ...expected, "a", "last"]);
  expect(fixture.intake.pendingBytes).toBe(0);
});

it("store their audit events once, even if other requests contain them in the meantime", async () => {
  const fixture = new Fixture();
  const large = fixture.intake.otlpJson(request(RECORDS, [event("a"), event("b"), event("b")]));
  await setImmediate();
  await fixture.intake.otlpJson(request(0, [event("a")]));
  await large;
  expect(fixture.messages).toEqual(["a", "last", ...expected, "b", "last"]);
  await fixture.intake.otlpJson(request(RECORDS, [event("a"), event("b")]));
  expect(fixture.messages.filter((message) => message === "a" || message === "b")).toHaveLength(2);
});

it("lose only an invalid record", async () => {
  const fixture = new Fixture();
  const wrong = request(RECORDS, [event("a")], { severityNumber: "x" });
  const { rejected, reason } = await fixture.intake.otlpJson(wrong);
  expect(rejected).toBe(1);
  expect(reason).toContain("severityNumber");
  expect(fixture.messages).toHaveLength(RECORDS + 1);
});

it.each([10, RECORDS])(
  "lose only a record that is invalid before a processor, of %i",
  async (records) => {
    const processor: RunningProcessor = {
      id: "same",
      processor: { process: (record) => record },
      counters: new Counters(),
      lastError: undefined,
      failed: () => {},
    };
    const fixture = new Fixture([processor]);
    const wrong = request(records, [event("a")], { severityNumber: "x", traceId: "abc" });
    const { accepted, rejected, reason } = await fixture.intake.otlpJson(wrong);
    expect([accepted, rejected]).toEqual([records + 1, 1]);
    expect(reason).toContain("1 log record rejected: resourceLogs[0].scopeLogs[2]");
    expect(fixture.messages).toHaveLength(records + 1);
    expect(processor.counters.received).toBe(records + 1);
    const { counters } = fixture.intake;
    expect([counters.received, counters.droppedSum]).toEqual([records + 2, 1]);
    await fixture.intake.stop();
  },
);

it("store nothing if one of their records is not valid JSON, or if the gateway stops", async () => {
  const fixture = new Fixture();
  const wrong = request(RECORDS, [event("a")], { severityNumber: "x" });
  wrong[wrong.lastIndexOf('"x"')] = "x".charCodeAt(0);
  await expect(fixture.intake.otlpJson(wrong)).rejects.toThrow("its text");
  const stopped = fixture.intake.otlpJson(request(RECORDS, [event("a")]));
  await setImmediate();
  const [refused] = await Promise.allSettled([stopped, fixture.intake.stop()]);
  expect(refused).toMatchObject({ reason: { code: "STOPPED" } });
  expect(fixture.messages).toEqual([]);
  expect(fixture.intake.pendingBytes).toBe(0);
});
