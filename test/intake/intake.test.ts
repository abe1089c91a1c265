/** The intake, with a journal that the test blocks and lets fail: what is lost, and who is notified. */

import { afterEach, describe, expect, it, vi } from "vitest";
import { AUDIT_LOGGER, LEVELS } from "tailgate";
import { TailgateError } from "tailgate";
import { RecordIntake, type IntakeOutcome } from "../../src/intake/intake.ts";
import type { RunningProcessor } from "../../src/intake/processors.ts";
import type { RecordBatch } from "../harness/records.ts";
import type { LogRecord } from "tailgate/plugin";
import { partsOfRecord } from "../../src/envelope/encoder.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { Counters } from "../../src/plugin/metrics.ts";
import { recordOf } from "tailgate/testing";

const ROOM_BYTES = 1 << 20;
const SCOPE = { version: "", attributes: new Map() };
const NUMBERS = [5, 9, 13, 17, 21];

afterEach(() => vi.useRealTimers());

/** An intake before a journal that holds its batches until released. */
class IntakeHarness {
  readonly stored: RecordBatch[] = [];
  readonly waiting: { batch: RecordBatch; safe: PromiseWithResolvers<void> }[] = [];
  readonly lines: string[] = [];
  readonly intake: RecordIntake;
  isOpen = true;
  #sequence = 1;

  constructor(processors: readonly RunningProcessor[] = []) {
    const line = (level: string) => (text: string, cause?: unknown) =>
      void this.lines.push([level, text, cause instanceof Error ? cause.message : ""].join(" "));
    this.intake = new RecordIntake({
      logLevel: "DEBUG",
      processors,
      pendingBytesMax: ROOM_BYTES,
      unstoredBytes: () => this.waiting.reduce((sum, { batch }) => sum + batch.memoryBytes, 0),
      append: (batch) => this.#append(batch),
      storedEvents: [],
      log: { info: line("INFO"), warning: line("WARNING"), error: line("ERROR") },
    });
  }

  #append(batch: RecordBatch): Promise<void> {
    batch.firstSequence = this.#sequence;
    this.#sequence += batch.length;
    const safe = Promise.withResolvers<void>();
    this.waiting.push({ batch, safe });
    if (this.isOpen) this.letGo();
    return safe.promise;
  }

  /** Lets the journal store the waiting batches. */
  letGo(): void {
    for (const { batch, safe } of this.waiting.splice(0)) {
      this.stored.push(batch);
      safe.resolve();
    }
  }

  fail(error: Error): void {
    for (const { safe } of this.waiting.splice(0)) safe.reject(error);
  }

  emit(given: Partial<LogRecord>, wantsReceipt = false): IntakeOutcome {
    const record = recordOf(given);
    const origin = originOfRecords([record]);
    // Only the envelopes are queued, so that tests can compute their size.
    const withoutBytes = {
      recordBytes: 0,
      record: () => origin.record(0),
      resourceAttributes: () => ({}),
      scopeAttributes: () => ({}),
      otlp: () => origin.otlp(0),
    };
    return this.intake.accept(partsOfRecord(record), withoutBytes, wantsReceipt);
  }

  system(rank: number, body: string): void {
    this.emit({ severityNumber: NUMBERS[rank]!, severityText: LEVELS[rank]!, body });
  }

  audit(body: string, attributes: LogRecord["attributes"] = new Map()): IntakeOutcome {
    return this.emit({ body, attributes, scope: { ...SCOPE, name: AUDIT_LOGGER } }, true);
  }

  /** Fills the queue to that fraction, as seen by the next record. */
  async fill(part: number): Promise<void> {
    this.isOpen = false;
    this.system(4, "x".repeat(Math.floor(part * ROOM_BYTES)));
    await this.turn();
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  /** Expects every accepted record to be accounted for: received = filtered + sent + dropped. */
  async settled(): Promise<void> {
    await this.intake.flush();
    if (this.intake.pendingRecords !== 0) {
      throw new Error(`${this.intake.pendingRecords} records are not accounted for.`);
    }
  }

  get messages(): string[] {
    return this.stored.flatMap((batch) =>
      Array.from({ length: batch.length }, (_, index) => batch.envelope(index).data.message),
    );
  }

  /** Returns the stored messages without those that fill the queue. */
  get words(): string[] {
    return this.messages.filter((message) => !message.startsWith("xx"));
  }
}

describe("a full queue before the journal", () => {
  it.each([
    [0.5, ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]],
    [0.65, ["INFO", "WARNING", "ERROR", "CRITICAL"]],
    [0.75, ["WARNING", "ERROR", "CRITICAL"]],
    [0.85, ["ERROR", "CRITICAL"]],
    [0.95, ["CRITICAL"]],
    [1.05, []],
  ])("accepts, when full to %d, of system logs %j", async (part, levels) => {
    const harness = new IntakeHarness();
    await harness.fill(part);
    for (const rank of LEVELS.keys()) harness.system(rank, LEVELS[rank]!);
    harness.isOpen = true;
    harness.letGo();
    await harness.intake.flush();
    expect(harness.words.filter((word) => LEVELS.includes(word as "INFO"))).toEqual(levels);
    expect(harness.intake.counters.dropped.get("intake_full") ?? 0).toBe(5 - levels.length);
    await harness.settled();
  });

  it("writes a loss marker with counts to the stream once there is capacity again", async () => {
    const harness = new IntakeHarness();
    await harness.fill(1.05);
    for (let index = 0; index < 7; index++) harness.system(0, "lost");
    for (let index = 0; index < 3; index++) harness.system(2, "lost");
    await harness.turn();
    harness.isOpen = true;
    harness.letGo();
    harness.system(1, "next");
    await vi.waitFor(() => expect(harness.words).toHaveLength(2));
    const batch = harness.stored.at(-1)!;
    expect(batch.envelope(batch.length - 1).data).toMatchObject({
      level: "WARNING",
      logger: "tailgate.intake",
      message: "10 system logs were lost before this line.",
      lost: 10,
      lost_levels: { DEBUG: 7, WARNING: 3 },
      lost_reasons: { intake_full: 10 },
    });
    await harness.settled();
  });

  it("reports system logs that the journal rejected, with the marker that was rejected too", async () => {
    const harness = new IntakeHarness();
    harness.isOpen = false;
    harness.system(1, "one");
    harness.system(3, "two");
    await harness.turn();
    harness.fail(new TailgateError("JOURNAL_FULL", "No."));
    await harness.intake.flush();
    harness.system(1, "three");
    await harness.turn();
    harness.fail(new TailgateError("JOURNAL_FULL", "No."));
    await harness.intake.flush();
    harness.isOpen = true;
    await vi.waitFor(() => expect(harness.words).toHaveLength(1), 5_000);
    expect(harness.stored[0]!.envelope(0).data).toMatchObject({
      lost: 3,
      lost_levels: { INFO: 2, ERROR: 1 },
      lost_reasons: { journal_full: 3 },
    });
    expect(harness.intake.counters.dropped.get("journal_full")).toBeGreaterThanOrEqual(3);
    await harness.settled();
  });

  it("is reported at the latest on stop, and never after it", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const harness = new IntakeHarness();
    const lose = async (): Promise<void> => {
      await harness.fill(1.05);
      harness.system(0, "lost");
      harness.isOpen = true;
      harness.letGo();
    };
    await lose();
    await harness.turn();
    await vi.advanceTimersByTimeAsync(100);
    await harness.turn();
    expect(harness.words).toHaveLength(1);
    await lose();
    await harness.intake.stop();
    const words = [
      "1 system log was lost before this line.",
      "1 system log was lost before this line.",
    ];
    expect(harness.words).toEqual(words);
    await vi.advanceTimersByTimeAsync(5_000);
    await harness.turn();
    expect(harness.words).toEqual(words);
    await harness.settled();
  });

  it("rejects requests of other processes, and accepts them again later", async () => {
    const harness = new IntakeHarness();
    await harness.fill(1.05);
    await expect(harness.intake.records([recordOf({})])).rejects.toMatchObject({
      code: "OVERLOADED",
    });
    await expect(harness.intake.otlpProtobuf(new Uint8Array())).rejects.toThrow(
      "The queue of the journal is full",
    );
    harness.isOpen = true;
    harness.letGo();
    await harness.fill(0.95);
    const debug = harness.intake.records([recordOf({ body: "whole", severityText: "DEBUG" })]);
    await harness.turn();
    harness.isOpen = true;
    harness.letGo();
    expect(await debug).toMatchObject({ accepted: 1 });
    expect(harness.words).toEqual(["whole"]);
    expect(await harness.intake.records([recordOf({ body: "again" })])).toMatchObject({
      accepted: 1,
    });
    await harness.settled();
  });
});

describe("audit events", () => {
  it("wait for capacity in order, and get it before anything else", async () => {
    const harness = new IntakeHarness();
    await harness.fill(1.05);
    const receipts = ["one", "two"].map((body) => harness.intake.receipt(harness.audit(body)));
    await harness.turn();
    harness.audit("three");
    await harness.turn();
    expect(harness.waiting).toHaveLength(1);
    harness.isOpen = true;
    harness.letGo();
    const [one, two] = await Promise.all(receipts);
    expect([one!.seq, two!.seq]).toEqual([2, 3]);
    await harness.intake.flush();
    expect(harness.words.slice(0, 3)).toEqual(["one", "two", "three"]);
    await harness.settled();
  });

  it("that were lost are all reported at the latest on stop", async () => {
    const harness = new IntakeHarness();
    for (const body of ["one", "two", "three"]) {
      harness.isOpen = false;
      const receipt = harness.intake.receipt(harness.audit(body));
      await harness.turn();
      harness.fail(new TailgateError("JOURNAL_FULL", "No."));
      await expect(receipt).rejects.toMatchObject({ code: "JOURNAL_FULL" });
    }
    expect(harness.lines).toEqual([
      expect.stringMatching(/^ERROR 1 audit event was not stored: No/),
    ]);
    await harness.intake.stop();
    expect(harness.lines.slice(1)).toEqual([
      expect.stringMatching(/^ERROR 2 audit events were not stored: No/),
    ]);
  });

  it("that wait for capacity do not delay requests whose records are stored", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const harness = new IntakeHarness();
    await harness.fill(0.9);
    const request = harness.intake.records([recordOf({ body: "z".repeat(ROOM_BYTES / 5) })]);
    const receipt = harness.intake.receipt(harness.audit("no room"));
    const rejected = receipt.catch((error: unknown) => error);
    await harness.turn();
    expect(harness.waiting).toHaveLength(2);
    // It still counts as waiting for the disk, so there is no capacity yet.
    harness.waiting[1]!.safe.resolve();
    expect(await request).toMatchObject({ accepted: 1 });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await rejected).toMatchObject({ code: "OVERLOADED" });
    harness.letGo();
    await harness.settled();
  });

  it("fail with a code after two seconds without capacity, and the operator is notified once", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const harness = new IntakeHarness();
    await harness.fill(1.05);
    const receipt = harness.intake.receipt(harness.audit("late"));
    const rejected = receipt.catch((error: unknown) => error);
    harness.audit("late too");
    await harness.turn();
    await vi.advanceTimersByTimeAsync(1_999);
    expect(harness.intake.counters.dropped.size).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(await rejected).toMatchObject({
      code: "OVERLOADED",
      message: expect.stringContaining("Nothing was stored."),
    });
    expect(harness.intake.counters.dropped).toEqual(new Map([["overloaded", 2]]));
    expect(harness.lines).toEqual([
      expect.stringMatching(/^ERROR 2 audit events were not stored: .*/),
    ]);
    harness.isOpen = true;
    harness.letGo();
    await harness.intake.flush();
    expect(harness.words).toEqual([]);
    await harness.settled();
  });

  it("are rejected at once if sixteen MiB of them wait", async () => {
    const harness = new IntakeHarness();
    await harness.fill(1.05);
    const body = "y".repeat(1 << 20);
    const outcomes: Promise<boolean>[] = [];
    const isTaken = (receipt: Promise<unknown>): Promise<boolean> =>
      receipt.then(
        () => true,
        () => false,
      );
    for (let index = 0; index < 20; index++) {
      outcomes.push(isTaken(harness.intake.receipt(harness.audit(body))));
      await harness.turn();
    }
    await vi.waitFor(() =>
      expect(harness.intake.counters.dropped.get("overloaded")).toBeGreaterThanOrEqual(4),
    );
    harness.isOpen = true;
    harness.letGo();
    const accepted = (await Promise.all(outcomes)).filter(Boolean).length;
    expect(accepted).toBe(20 - harness.intake.counters.dropped.get("overloaded")!);
    await harness.settled();
  });

  it("are awaited on stop", async () => {
    const harness = new IntakeHarness();
    await harness.fill(1.05);
    harness.audit("last");
    await harness.turn();
    const stopped = harness.intake.stop();
    harness.letGo();
    await stopped;
    expect(harness.words).toEqual(["last"]);
    const rejected = harness.intake.receipt(harness.audit("after"));
    await expect(rejected).rejects.toMatchObject({ code: "STOPPED" });
  });

  it("reject with the journal's error, and are accepted when retried", async () => {
    const harness = new IntakeHarness();
    harness.isOpen = false;
    const attributes = new Map([["log.record.uid", "a"]]);
    const first = harness.intake.receipt(harness.audit("event", attributes));
    await harness.turn();
    harness.fail(new TailgateError("JOURNAL_REFUSED", "No."));
    await expect(first).rejects.toMatchObject({ code: "JOURNAL_REFUSED" });
    harness.isOpen = true;
    await harness.intake.receipt(harness.audit("event", attributes));
    expect(harness.words).toEqual(["event"]);
    expect(harness.lines[0]).toMatch(/^ERROR 1 audit event was not stored: No\./);
    await harness.settled();
  });

  it("cannot be dropped by a processor", async () => {
    const failures: unknown[] = [];
    const dropping: RunningProcessor = {
      id: "dropping",
      processor: { process: () => undefined },
      counters: new Counters(),
      lastError: undefined,
      failed: (error) => failures.push(error),
    };
    const harness = new IntakeHarness([dropping]);
    harness.system(4, "system");
    await harness.intake.receipt(harness.audit("event"));
    expect(harness.words).toEqual(["event"]);
    expect(failures).toEqual([
      expect.objectContaining({ message: expect.stringContaining("stored anyway") }),
    ]);
    expect(dropping.counters).toMatchObject({ received: 2, filtered: 1, sent: 1, failed: 1 });
  });
});

describe("an audit event with a key", () => {
  const keyed = (key: string, more = "") =>
    new Map([
      ["log.record.uid", key],
      ["more", more],
    ]);

  it("that is retried while in flight is one event, with one receipt", async () => {
    const harness = new IntakeHarness();
    harness.isOpen = false;
    const first = harness.intake.receipt(harness.audit("event", keyed("a")));
    const second = harness.intake.receipt(harness.audit("event", keyed("a")));
    await harness.turn();
    const third = harness.intake.receipt(harness.audit("event", keyed("a")));
    await harness.turn();
    harness.letGo();
    expect(await second).toEqual(await first);
    expect(await third).toEqual(await first);
    expect(harness.words).toEqual(["event"]);
    expect(harness.intake.counters).toMatchObject({ received: 3, sent: 1, filtered: 2 });
    await harness.settled();
  });

  it("is not acknowledged before the attempt that it retries is stored", async () => {
    const harness = new IntakeHarness();
    harness.isOpen = false;
    harness.audit("event", keyed("a"));
    await harness.turn();
    const record = recordOf({
      body: "event",
      attributes: keyed("a"),
      scope: { ...SCOPE, name: AUDIT_LOGGER },
    });
    const answered = harness.intake.records([record]);
    const early = await Promise.race([answered, harness.turn().then(() => harness.turn())]);
    expect(early).toBe(undefined);
    harness.letGo();
    expect(await answered).toMatchObject({ accepted: 1 });
    expect(harness.words).toEqual(["event"]);
  });

  it("with different content is another event, and the operator is notified", async () => {
    const harness = new IntakeHarness();
    await harness.intake.receipt(harness.audit("event", keyed("a", "1")));
    await harness.intake.receipt(harness.audit("event", keyed("a", "2")));
    const again = await harness.intake.receipt(harness.audit("event", keyed("a", "2")));
    expect(again.seq).toBe(2);
    expect(harness.words).toHaveLength(2);
    expect(harness.lines).toEqual([
      expect.stringMatching(/^WARNING Two different audit events have the key a\. /),
    ]);
  });

  it("with the same content and another key, or none, is another event", async () => {
    const harness = new IntakeHarness();
    await harness.intake.receipt(harness.audit("event", keyed("a")));
    await harness.intake.receipt(harness.audit("event", keyed("b")));
    await harness.intake.receipt(harness.audit("event"));
    await harness.intake.receipt(harness.audit("event"));
    expect(harness.words).toHaveLength(4);
  });
});
