import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { createJournalDelivery } from "../../src/delivery/journal-cursor.ts";
import { createLiveDelivery, DeliveryQueue } from "../../src/delivery/live-queue.ts";
import { CompositeBatch } from "../../src/batch/composite.ts";
import {
  parseFilter,
  PermanentError,
  RetryLaterError,
  type Batch,
  type Exporter,
  type LogRecord,
} from "tailgate/plugin";
import type { RecordBatch } from "../harness/records.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { batchOf } from "tailgate/testing";
import { batch as recordsOf, JournalDirectory } from "../journal/journal-directory.ts";
import { denseText } from "../harness/dense-text.ts";

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };
const silent = { info: () => {}, warning: () => {}, error: () => {} };
const defaults = {
  type: undefined,
  level: undefined,
  queueBytesMax: 1 << 20,
  timeoutMs: 1000,
  log: silent,
};
const DAY_MS = 86_400_000;
const unlimited = new AbortController().signal;

function messages(batch: Batch): string[] {
  return Array.from({ length: batch.length }, (_, index) => batch.envelope(index).data.message);
}

function collector(): Exporter & { readonly written: string[] } {
  const written: string[] = [];
  return { written, write: (batch) => void written.push(...messages(batch)) };
}

describe("a delivery", () => {
  it("writes batches in order, one at a time", async () => {
    let concurrent = 0;
    let concurrentMax = 0;
    const written: string[] = [];
    const { delivery, offer } = createLiveDelivery(
      {
        write: async (batch) => {
          concurrentMax = Math.max(concurrentMax, ++concurrent);
          await new Promise(setImmediate);
          written.push(...messages(batch));
          concurrent--;
        },
      },
      defaults,
    );
    for (const body of ["a", "b", "c"]) offer(batchOf([{ body }]));
    await delivery.drain(unlimited);
    expect(written).toEqual(["a", "b", "c"]);
    expect(concurrentMax).toBe(1);
    expect(delivery.queueBytes).toBe(0);
  });

  it("writes records offered just as it finds the queue empty", async () => {
    for (let steps = 0; steps < 8; steps++) {
      const exporter = collector();
      const { offer } = createLiveDelivery(
        {
          write: (batch) => {
            void exporter.write(batch, unlimited);
            if (exporter.written.length === 1) void offerAfter(steps);
          },
        },
        defaults,
      );
      const offerAfter = async (left: number): Promise<void> => {
        while (left-- > 0) await Promise.resolve();
        offer(batchOf([{ body: "b" }]));
      };
      offer(batchOf([{ body: "a" }]));
      await new Promise(setImmediate);
      expect(exporter.written, `behind ${steps} steps`).toEqual(["a", "b"]);
    }
  });

  it("delivers the configured type and levels, and counts the rest as filtered", async () => {
    const exporter = collector();
    const { delivery, offer } = createLiveDelivery(exporter, {
      ...defaults,
      type: "system_log",
      level: "WARNING",
    });
    offer(
      batchOf([
        { body: "info" },
        { body: "warning", severityText: "WARNING" },
        { body: "audit", severityText: "ERROR", scope: AUDIT },
        { body: "error", severityText: "ERROR" },
      ]),
    );
    await delivery.drain(unlimited);
    expect(exporter.written).toEqual(["warning", "error"]);
    expect(delivery.counters).toMatchObject({ received: 4, filtered: 2, sent: 2 });
  });

  it("retries a failed write until it succeeds, and logs that once", async () => {
    const lines: string[] = [];
    const log = {
      ...silent,
      warning: (line: string) => void lines.push(line),
      info: (line: string) => void lines.push(line),
    };
    let failures = 3;
    const exporter = collector();
    const { delivery, offer } = createLiveDelivery(
      {
        write: (batch, signal) => {
          if (failures-- > 0) throw new Error("no route");
          return exporter.write(batch, signal);
        },
      },
      { ...defaults, log },
    );
    offer(batchOf([{ body: "a" }]));
    expect(delivery.lastError).toBe(undefined);
    await vi.waitFor(() => expect(delivery.lastError).toBe("no route"));
    await delivery.drain(unlimited);
    expect(exporter.written).toEqual(["a"]);
    expect(delivery.lastError).toBe(undefined);
    expect(delivery.counters).toMatchObject({ received: 1, sent: 1, failed: 3 });
    expect(lines).toEqual([
      "A write failed and will be retried; 1 records are waiting: no route",
      "Writing works again.",
    ]);
  });

  it("retries when the destination asks for it, not before", async () => {
    const times: number[] = [];
    const { delivery, offer } = createLiveDelivery(
      {
        write: () => {
          times.push(Date.now());
          if (times.length === 1) throw new RetryLaterError("busy", 300);
        },
      },
      defaults,
    );
    offer(batchOf([{}]));
    await delivery.drain(unlimited);
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(299);
  });

  it("counts dropped records of a batch that was written", async () => {
    const { delivery, offer } = createLiveDelivery(
      { write: () => ({ dropped: { refused: 1, rejected: 2 } }) },
      defaults,
    );
    offer(batchOf([{}, {}, {}, {}]));
    await delivery.drain(unlimited);
    expect(delivery.counters).toMatchObject({ received: 4, sent: 1 });
    expect([...delivery.counters.dropped]).toEqual([
      ["refused", 1],
      ["rejected", 2],
    ]);
  });

  it("reports the age of queued records while writes fail", async () => {
    let isAway = true;
    const { delivery, offer } = createLiveDelivery(
      {
        write: () => {
          if (isAway) throw new Error("away");
        },
      },
      defaults,
    );
    offer(batchOf([{}], { appendedAtMs: Date.now() - 60_000 }));
    await vi.waitFor(() => expect(delivery.lastError).toBe("away"));
    expect(delivery.lagMs).toBeGreaterThanOrEqual(60_000);
    isAway = false;
    await delivery.drain(unlimited);
    await vi.waitFor(() => expect(delivery.lagMs).toBe(0));
  });

  it("drops and counts a permanently rejected batch", async () => {
    const exporter = collector();
    const { delivery, offer } = createLiveDelivery(
      {
        write: (batch, signal) => {
          if (messages(batch)[0] === "bad") throw new PermanentError("malformed");
          return exporter.write(batch, signal);
        },
      },
      defaults,
    );
    offer(batchOf([{ body: "bad" }, { body: "bad too" }]));
    offer(batchOf([{ body: "good" }]));
    await delivery.drain(unlimited);
    expect(exporter.written).toEqual(["good"]);
    expect(delivery.counters).toMatchObject({ received: 3, sent: 1, failed: 2 });
    expect([...delivery.counters.dropped]).toEqual([["refused", 2]]);
  });

  it("writes queued records as one batch, up to the limit of one write", async () => {
    const sizes: number[] = [];
    const gate = Promise.withResolvers<void>();
    const written: string[] = [];
    const { delivery, offer } = createLiveDelivery(
      {
        write: async (batch) => {
          sizes.push(batch.length);
          written.push(...messages(batch));
          await gate.promise;
        },
      },
      { ...defaults, queueBytesMax: 64 << 20 },
    );
    const long = "x".repeat(1 << 20);
    for (const body of ["0", "1", "2", "3", long, long]) offer(batchOf([{ body }, {}]));
    gate.resolve();
    await delivery.drain(unlimited);
    expect(sizes).toEqual([2, 10]);
    expect(written.filter((message) => message.length === 1)).toEqual(["0", "1", "2", "3"]);
    expect(delivery.counters).toMatchObject({ received: 12, sent: 12 });
  });

  it("retries the same batch after a failure even if more records have arrived", async () => {
    const seen: string[][] = [];
    const { delivery, offer } = createLiveDelivery(
      {
        write: (batch) => {
          seen.push(messages(batch));
          if (seen.length > 2) return;
          offer(batchOf([{ body: `came with ${seen.length}` }]));
          throw new Error("no");
        },
      },
      defaults,
    );
    offer(batchOf([{ body: "first" }]));
    await delivery.drain(unlimited);
    await delivery.drain(unlimited);
    expect(seen).toEqual([["first"], ["first"], ["first"], ["came with 1", "came with 2"]]);
  });

  it("drops only the rejected batch of several written together", async () => {
    const exporter = collector();
    const gate = Promise.withResolvers<void>();
    const { delivery, offer } = createLiveDelivery(
      {
        write: async (batch, signal) => {
          await gate.promise;
          if (messages(batch).includes("bad")) throw new PermanentError("malformed");
          await exporter.write(batch, signal);
        },
      },
      defaults,
    );
    for (const body of ["0", "1", "bad", "2", "3"]) offer(batchOf([{ body }]));
    gate.resolve();
    await delivery.drain(unlimited);
    expect(exporter.written).toEqual(["0", "1", "2", "3"]);
    expect([...delivery.counters.dropped]).toEqual([["refused", 1]]);
    expect(delivery.counters).toMatchObject({ received: 5, sent: 4 });
  });

  it("aborts a write at the timeout, waits for it to settle, and accepts a late success", async () => {
    const exporter = collector();
    let late: (() => void) | undefined;
    const { delivery, offer } = createLiveDelivery(
      {
        write: async (batch, signal) => {
          if (exporter.written.length === 0) {
            const { promise, resolve } = Promise.withResolvers<void>();
            signal.addEventListener("abort", () => (late = resolve));
            await promise;
          }
          await exporter.write(batch, signal);
        },
      },
      { ...defaults, timeoutMs: 10 },
    );
    offer(batchOf([{ body: "slow" }]));
    offer(batchOf([{ body: "next" }]));
    await vi.waitFor(() => expect(late).toBeDefined());
    expect(delivery.lastError).toMatch(/did not complete within 10 ms/);
    expect(exporter.written).toEqual([]);
    late!();
    await delivery.drain(unlimited);
    expect(exporter.written).toEqual(["slow", "next"]);
    expect(delivery.counters).toMatchObject({ sent: 2, failed: 0 });
  });

  it("tries once more on close, and counts the remaining records", async () => {
    let calls = 0;
    let closed = false;
    const { delivery, offer } = createLiveDelivery(
      {
        write: () => {
          calls++;
          throw new Error("gone");
        },
        close: () => {
          closed = true;
        },
      },
      defaults,
    );
    offer(batchOf([{ body: "a" }, { body: "b" }]));
    await vi.waitFor(() => expect(calls).toBeGreaterThan(0));
    const before = calls;
    await delivery.close(AbortSignal.timeout(1000));
    expect(calls).toBeLessThanOrEqual(before + 1);
    expect(closed).toBe(true);
    expect([...delivery.counters.dropped]).toEqual([["stopped", 2]]);
    offer(batchOf([{ body: "late" }]));
    expect(delivery.counters.dropped.get("stopped")).toBe(3);
  });

  it("ends close with the signal if a write never settles", async () => {
    const late = Promise.withResolvers<void>();
    const { delivery, offer } = createLiveDelivery({ write: () => late.promise }, defaults);
    offer(batchOf([{}]));
    await delivery.close(AbortSignal.timeout(20));
    expect(delivery.counters.dropped.get("stopped")).toBe(1);
    late.resolve();
    await new Promise(setImmediate);
    expect(delivery.counters).toMatchObject({ received: 1, sent: 0 });
  });

  it("writes nothing after close, even if the journal has more records", async () => {
    const late = Promise.withResolvers<void>();
    const journal = new MemoryJournal();
    const written: string[] = [];
    const delivery = createJournalDelivery(
      {
        write: (batch) => {
          written.push(...messages(batch));
          return late.promise;
        },
      },
      { ...defaults, journal, consumer: "late" },
    );
    for (const body of ["a", "b"]) {
      await journal.append(batchOf([{ body }]) as RecordBatch);
      delivery.wake();
      await vi.waitFor(() => expect(written).toEqual(["a"]));
    }
    await delivery.close(AbortSignal.timeout(20));
    late.resolve();
    await new Promise(setImmediate);
    expect(written).toEqual(["a"]);
    expect(journal.cursor("late")).toBe(0);
    expect(delivery.counters).toMatchObject({ received: 2, sent: 0 });
    expect(delivery.counters.dropped.get("stopped")).toBe(2);
  });
});

describe("a delivery from a journal", () => {
  it("counts each record that retention deleted once, although both types report it", async () => {
    await using directory = await JournalDirectory.create();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3 * DAY_MS });
    let journal = await directory.open();
    try {
      for (const body of ["a", "audit b", "c", "audit d"]) await journal.append(recordsOf(body));
    } finally {
      vi.useRealTimers();
    }
    await directory.close(journal);
    const ms = DAY_MS;
    journal = await directory.open({ system_log: { ms, bytes: 1 << 20 }, audit_log: { ms } });
    await journal.append(recordsOf(`x ${denseText(200_000)}`, "audit x"));
    await vi.waitFor(async () => expect((await journal.read({ from: 1 })).gaps).toHaveLength(2));
    await directory.close(journal);
    journal = await directory.open();
    const exporter = { ...collector(), resumeAfter: 0 };
    const delivery = createJournalDelivery(exporter, { ...defaults, journal, consumer: "behind" });
    delivery.wake();
    await delivery.drain(unlimited);
    expect(exporter.written).toEqual([expect.stringMatching(/^x/), "audit x"]);
    expect(delivery.counters).toMatchObject({ received: 6, filtered: 0, sent: 2 });
    expect(delivery.counters.dropped).toEqual(new Map([["retention", 4]]));
  });
});

describe("a filter", () => {
  const AUDIT_ONLY = parseFilter({ q: "type:audit stop" });
  const filter = parseFilter({ q: "wanted" });

  it("counts what it filters, from the journal and live, and the cursor passes those records", async () => {
    const journal = new MemoryJournal();
    const exporters = [collector(), collector()] as const;
    const following = createJournalDelivery(exporters[0], {
      ...{ ...defaults, filter: AUDIT_ONLY, journal, consumer: "filtered" },
    });
    const live = createLiveDelivery(exporters[1], { ...defaults, filter: AUDIT_ONLY });
    for (const given of [
      [{ body: "stop" }, { body: "stop", scope: AUDIT }, { body: "start", scope: AUDIT }],
      [{ body: "go on" }],
    ]) {
      const batch = batchOf(given) as RecordBatch;
      await journal.append(batch);
      following.wake();
      live.offer(batch);
    }
    for (const delivery of [following, live.delivery]) {
      await delivery.drain(unlimited);
      expect(delivery.counters).toMatchObject({ received: 4, filtered: 3, sent: 1 });
    }
    expect(exporters.map(({ written }) => written)).toEqual([["stop"], ["stop"]]);
    expect(journal.cursor("filtered")).toBe(4);
    await following.close(unlimited);
  });

  it("takes a few milliseconds of each turn, however many records there are, and keeps their order", async () => {
    const journal = new MemoryJournal();
    const exporters = [collector(), collector()] as const;
    const following = createJournalDelivery(exporters[0], {
      ...{ ...defaults, filter, journal, consumer: "filtered" },
    });
    const how = { ...defaults, queueBytesMax: 64 << 20, filter };
    const live = createLiveDelivery(exporters[1], how);
    const text = "x".repeat(20_000);
    for (let number = 0; number < 8; number++) {
      const bodies = Array.from({ length: 100 }, (_, index) => ({
        body: index === 50 ? `wanted ${number}` : text,
      }));
      const batch = batchOf(bodies) as RecordBatch;
      await journal.append(batch);
      live.offer(batch);
    }
    following.wake();
    // Nothing was written before the turn ended: there is far more to match than a turn allows.
    expect(following.counters.filtered).toBeLessThan(792);
    expect(live.delivery.counters.filtered).toBeLessThan(792);
    for (const delivery of [following, live.delivery]) {
      await delivery.drain(unlimited);
      expect(delivery.counters).toMatchObject({ filtered: 792, sent: 8 });
      expect(delivery.queueRecords).toBe(0);
    }
    const wanted = Array.from({ length: 8 }, (_, number) => `wanted ${number}`);
    expect(exporters.map(({ written }) => written)).toEqual([wanted, wanted]);
  });

  it("is matched to the end when the process exits", async () => {
    const journal = new MemoryJournal();
    const records = Array.from({ length: 120 }, (_, index) => ({
      body: index % 40 === 0 ? `wanted ${index}` : "x".repeat(20_000),
    }));
    const batch = batchOf(records) as RecordBatch;
    await journal.append(batch);
    const written: string[][] = [];
    const lasting = (): Exporter => {
      const own: string[] = [];
      written.push(own);
      return { write: () => {}, writeSync: (rest) => void own.push(...messages(rest)) };
    };
    const live = createLiveDelivery(lasting(), {
      ...{ ...defaults, queueBytesMax: 64 << 20, filter },
    });
    const from = { ...lasting(), resumeAfter: 0 };
    const following = createJournalDelivery(from, {
      ...{ ...defaults, filter, journal, consumer: "filtered" },
    });
    live.offer(batch);
    live.delivery.drainSync(10_000);
    following.drainSync(10_000);
    const wanted = ["wanted 0", "wanted 40", "wanted 80"];
    expect(written).toEqual([wanted, wanted]);
    for (const { counters } of [live.delivery, following]) {
      expect(counters).toMatchObject({ filtered: 117, sent: 3 });
    }
  });

  it("lets system logs wait that it has not matched yet, up to the queue's capacity", async () => {
    const exporter = collector();
    const live = createLiveDelivery(exporter, { ...defaults, queueBytesMax: 100_000, filter });
    const bodies = Array.from({ length: 100 }, () => ({ body: `wanted ${"x".repeat(20_000)}` }));
    for (let number = 0; number < 4; number++) live.offer(batchOf(bodies));
    expect(live.delivery.queueBytes).toBeLessThan(3 * 2_100_000);
    await live.delivery.drain(unlimited);
    const { filtered, sent, droppedSum } = live.delivery.counters;
    expect(filtered + sent + droppedSum).toBe(400);
    expect([...live.delivery.counters.dropped.keys()]).toEqual(["queue_full"]);
  });
});

describe("its queue", () => {
  const levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
  const record = fc.record({
    severityText: fc.constantFrom(...levels),
    isAudit: fc.boolean(),
    body: fc.string({ maxLength: 40 }),
  });

  it("drops the least severe system logs first, and audit events only for audit events", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(record, { minLength: 1, maxLength: 5 }), { minLength: 2, maxLength: 12 }),
        fc.integer({ min: 0, max: 4000 }),
        (batches, bytesMax) => {
          const queue = new DeliveryQueue(bytesMax);
          const dropped = { system_log: 0, audit_log: 0 };
          for (const given of batches) {
            queue.push(batchOf(given.map(toRecord)));
            const now = queue.dropOverflow();
            dropped.system_log += now.system_log;
            dropped.audit_log += now.audit_log;
          }
          const left = drained(queue);
          const total = batches.flat();
          expect(left.length + dropped.system_log + dropped.audit_log).toBe(total.length);
          expect(queue.bytes).toBe(0);
          expect(queue.records).toBe(0);
        },
      ),
    );
  });

  it("retains severe records while there are less severe ones to drop", () => {
    const queue = new DeliveryQueue(1500);
    queue.push(batchOf([{ body: "head" }]));
    for (let round = 0; round < 4; round++) {
      queue.push(
        batchOf(levels.map((severityText) => ({ severityText, body: `${severityText} ${round}` }))),
      );
      queue.dropOverflow();
    }
    const [head, ...left] = drained(queue);
    expect(head).toBe("head");
    expect(left.length).toBeGreaterThan(0);
    expect(left.every((message) => /ERROR|CRITICAL/.test(message))).toBe(true);
  });

  it("drops at most an eighth of the share, oldest first within a level", () => {
    const queue = new DeliveryQueue(2000);
    for (let index = 0; index < 20; index++) {
      queue.push(batchOf([{ body: `record ${index}` }]));
      queue.dropOverflow();
    }
    expect(queue.bytes).toBeGreaterThan(1500);
    const left = drained(queue);
    expect(left[0]).toBe("record 0");
    expect(left.slice(1)).toEqual(
      Array.from(
        { length: left.length - 1 },
        (_, index) => `record ${20 - left.length + 1 + index}`,
      ),
    );
  });

  it("retains audit events when system logs overflow", () => {
    const queue = new DeliveryQueue(2000);
    queue.push(batchOf([{ body: "head" }]));
    queue.push(batchOf([{ body: "event", scope: AUDIT }]));
    for (let round = 0; round < 20; round++) {
      queue.push(batchOf([{ body: `critical ${round}`, severityText: "CRITICAL" }]));
      expect(queue.dropOverflow().audit_log).toBe(0);
    }
    expect(drained(queue)).toContain("event");
  });

  function toRecord({
    severityText,
    isAudit,
    body,
  }: {
    severityText: string;
    isAudit: boolean;
    body: string;
  }) {
    const given: Partial<LogRecord> = { severityText: isAudit ? "INFO" : severityText, body };
    return isAudit ? { ...given, scope: AUDIT } : given;
  }

  function drained(queue: DeliveryQueue): string[] {
    const left: string[] = [];
    for (let head = queue.head(0); head; head = queue.head(0)) {
      left.push(...messages(head));
      queue.shift();
    }
    return left;
  }
});

describe("joined batches", () => {
  it("equal the batches that they were joined from", () => {
    const part = fc.array(fc.record({ body: fc.string(), isAudit: fc.boolean() }), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), fc.nat(), (given, seed) => {
        let firstSequence = 1;
        const parts = given.map((records) => {
          const batch = batchOf(
            records.map(({ body, isAudit }) => (isAudit ? { body, scope: AUDIT } : { body })),
            { firstSequence },
          );
          firstSequence += records.length;
          return batch;
        });
        const joined = new CompositeBatch(parts);
        const all = shownOf(joined);
        expect(all).toEqual(parts.flatMap(shownOf));
        expect(Buffer.from(joined.frames())).toEqual(
          Buffer.concat(parts.map((one) => one.frames())),
        );
        const start = seed % joined.length;
        expect(shownOf(joined.from(start))).toEqual(all.slice(start));
        const isKept = (index: number): boolean => ((seed >> (index % 16)) & 1) === 1;
        const kept = joined.select(isKept);
        expect(shownOf(kept)).toEqual(all.filter((_, index) => isKept(index)));
        // Also in any order.
        expect(joined.sequence(joined.length - 1)).toBe(joined.length);
        expect(joined.sequence(0)).toBe(1);
      }),
    );
  });

  function shownOf(batch: Batch): unknown[] {
    return Array.from({ length: batch.length }, (_, index) => [
      batch.sequence(index),
      batch.type(index),
      batch.level(index),
      batch.logger(index),
      batch.size(index),
      Buffer.from(batch.bytes(index)).toString(),
      Buffer.from(batch.data(index)).toString(),
      batch.envelope(index),
      batch.record(index),
    ]);
  }
});
