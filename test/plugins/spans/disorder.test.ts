import fc from "fast-check";
import { batchOf, testHost, type TestHost } from "tailgate/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import spans from "../../../plugins/spans.ts";
import type { Exporter, LogRecord } from "tailgate/plugin";
import { auditEvent } from "./events.ts";
import { TracePeer } from "./trace-peer.ts";
import type { ArrivedSpan } from "./trace-schema.ts";

const NEVER = new AbortController().signal;

const RUNS = Number(process.env["DISORDER_RUNS"] ?? 50);

/** At most three instances are open, so that some are evicted. */
const OPEN_MAX = 3;

let peer: TracePeer;
beforeAll(async () => {
  peer = await TracePeer.open();
});
afterAll(() => peer[Symbol.asyncDispose]());

interface Told {
  readonly type: string;
  readonly id: string;
  readonly atMs: number;
  readonly messageId: string | null;
  readonly to: string;
  readonly traceId: string;
}

const id = fc.constantFrom("a", "b", "c", "d", "e");

const told: fc.Arbitrary<Told> = fc.record({
  type: fc.constantFrom(
    ...["instance_spawn", "instance_terminate", "message_sent", "message_received"],
    ...["message_exchange", "state_change", "error", "instance", "message"],
  ),
  id,
  // Few distinct times, so that many are equal.
  atMs: fc.integer({ min: 0, max: 40 }),
  messageId: fc.constantFrom(null, "m1", "m2", "m3"),
  to: id,
  traceId: fc.constantFrom("", "1".repeat(32), "2".repeat(32)),
});

/**
 * Each record has its own number under the name of its type, so that it can be found in any span.
 */
function recordOf({ type, id: instance, atMs, messageId, to, traceId }: Told, n: number) {
  const parties = { to, from: to, parent: to };
  const details = { [`n_${type}`]: n, message_id: messageId, ...parties, duration_ms: atMs };
  const context = traceId === "" ? {} : { traceId, spanId: "3".repeat(16) };
  return auditEvent(atMs, type, instance, details, context);
}

/** Opens an exporter with the saved state; it can end as in a crash. */
async function opened(host: TestHost): Promise<Exporter> {
  const options = { endpoint: peer.url, max_open_instances: OPEN_MAX };
  return spans.open(spans.options.parse(options), host);
}

/** Writes batches, with crashes after some of them, closes, and returns the exported spans. */
async function arrivedOf(batches: readonly Batch[], host: TestHost): Promise<ArrivedSpan[]> {
  peer.spans.length = 0;
  const written: { first: number; records: Partial<LogRecord>[] }[] = [];
  let exporter = await opened(host);
  let n = 0;
  for (const { events, end } of batches) {
    written.push({ first: n + 1, records: events.map((event) => recordOf(event, ++n)) });
    await write(exporter, written.at(-1)!);
    if (end === "none") continue;
    if (end === "stop") await exporter.close?.(NEVER);
    exporter = await opened(host);
    // Delivery repeats everything after the saved cursor.
    for (const batch of written) {
      if (batch.first + batch.records.length > (exporter.resumeAfter ?? 0))
        await write(exporter, batch);
    }
  }
  await exporter.close?.(NEVER);
  return [...peer.spans];
}

async function write(
  exporter: Exporter,
  { first, records }: { first: number; records: Partial<LogRecord>[] },
): Promise<void> {
  await exporter.write(batchOf(records, { firstSequence: first }), NEVER);
}

interface Batch {
  readonly events: readonly Told[];
  /** What follows it. */
  readonly end: string;
}

const batch: fc.Arbitrary<Batch> = fc.record({
  events: fc.array(told, { minLength: 1, maxLength: 12 }),
  end: fc.constantFrom("none", "none", "crash", "stop"),
});

const isInstance = ({ parentSpanId }: ArrivedSpan): boolean => parentSpanId === "";

/** Spans sent again after a crash are the same ones. */
function distinct(all: readonly ArrivedSpan[]): ArrivedSpan[] {
  const byId = new Map<string, ArrivedSpan>();
  for (const span of all) {
    const before = byId.get(span.spanId);
    // A span closed by a shutdown ends at the time of the shutdown.
    if (before !== undefined && span.attributes["tailgate.end"] !== "stopped") {
      expect(span).toEqual(before);
    }
    byId.set(span.spanId, span);
  }
  return [...byId.values()];
}

function check(all: readonly ArrivedSpan[]): void {
  const instances = new Map(all.filter(isInstance).map((span) => [span.spanId, span]));
  for (const span of all) {
    expect(span.endNanos).toBeGreaterThanOrEqual(span.startNanos);
    if (isInstance(span)) continue;
    expect(instances.get(span.parentSpanId)?.traceId).toBe(span.traceId);
  }
  // Each trace is of one instance, and has one span of it for each period between two shutdowns.
  for (const span of instances.values()) {
    const others = [...instances.values()].filter(({ traceId }) => traceId === span.traceId);
    const ids = new Set(others.map(({ attributes }) => attributes["instance_id"]));
    expect(ids.size).toBe(1);
    const starts = others.map(({ attributes }) => attributes["tailgate.start"]);
    expect(starts.filter((start) => start !== "resumed")).toHaveLength(1);
  }
}

/** The numbers of all records found in some span. */
function numbersIn(all: readonly ArrivedSpan[]): Set<unknown> {
  const numbers = new Set<unknown>();
  for (const { attributes, events } of all) {
    for (const holder of [attributes, ...events.map((event) => event.attributes)]) {
      for (const [name, value] of Object.entries(holder)) {
        if (name.startsWith("n_")) numbers.add(value);
      }
    }
  }
  return numbers;
}

test("any records in any order, with crashes and shutdowns, give well-formed spans with nothing missing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 5 }), async (batches) => {
      const host = await testHost("spans");
      try {
        const all = distinct(await arrivedOf(batches, host));
        check(all);
        const events = batches.flatMap((one) => one.events);
        const found = numbersIn(all);
        for (const [index, { type }] of events.entries()) {
          // A duplicate spawn, or another one of the same instance, is in the first one's span.
          if (type !== "instance_spawn") expect(found).toContain(index + 1);
        }
      } finally {
        await host.close();
      }
    }),
    { numRuns: RUNS },
  );
});
