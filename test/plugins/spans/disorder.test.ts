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

/** Three instances are open at most, so that some are evicted. */
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
  // Few moments, so that many are the same.
  atMs: fc.integer({ min: 0, max: 40 }),
  messageId: fc.constantFrom(null, "m1", "m2", "m3"),
  to: id,
  traceId: fc.constantFrom("", "1".repeat(32), "2".repeat(32)),
});

/** Each record has a number of its own, under its kind's name, so that it is found in whatever span it is. */
function recordOf({ type, id: instance, atMs, messageId, to, traceId }: Told, n: number) {
  const parties = { to, from: to, parent: to };
  const details = { [`n_${type}`]: n, message_id: messageId, ...parties, duration_ms: atMs };
  const context = traceId === "" ? {} : { traceId, spanId: "3".repeat(16) };
  return auditEvent(atMs, type, instance, details, context);
}

/** An exporter with what was kept for it, which can end as in a crash. */
async function opened(host: TestHost): Promise<Exporter> {
  const options = { endpoint: peer.url, max_open_instances: OPEN_MAX };
  return spans.open(spans.options.parse(options), host);
}

/** Writes batches, with crashes behind some of them, stops, and answers what has arrived. */
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
    // Delivery gives again what is behind the place that was kept.
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
  /** What comes behind it. */
  readonly end: string;
}

const batch: fc.Arbitrary<Batch> = fc.record({
  events: fc.array(told, { minLength: 1, maxLength: 12 }),
  end: fc.constantFrom("none", "none", "crash", "stop"),
});

const isInstance = ({ parentSpanId }: ArrivedSpan): boolean => parentSpanId === "";

/** Spans that are sent again after a crash are the same ones. */
function distinct(all: readonly ArrivedSpan[]): ArrivedSpan[] {
  const byId = new Map<string, ArrivedSpan>();
  for (const span of all) {
    const before = byId.get(span.spanId);
    // The end of one that a stop has closed is the moment of the stop.
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
  // Each trace is of one instance, and has one span of it for each time between two stops.
  for (const span of instances.values()) {
    const others = [...instances.values()].filter(({ traceId }) => traceId === span.traceId);
    const ids = new Set(others.map(({ attributes }) => attributes["instance_id"]));
    expect(ids.size).toBe(1);
    const starts = others.map(({ attributes }) => attributes["tailgate.start"]);
    expect(starts.filter((start) => start !== "resumed")).toHaveLength(1);
  }
}

/** The numbers of all records that can be found somewhere. */
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

test("whatever is told in whatever order, with crashes and stops: well-formed spans, and nothing is missing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 5 }), async (batches) => {
      const host = await testHost("spans");
      try {
        const all = distinct(await arrivedOf(batches, host));
        check(all);
        const events = batches.flatMap((one) => one.events);
        const found = numbersIn(all);
        for (const [index, { type }] of events.entries()) {
          // A spawning that comes twice, or tells of the same instance again, is in the first one's span.
          if (type !== "instance_spawn") expect(found).toContain(index + 1);
        }
      } finally {
        await host.close();
      }
    }),
    { numRuns: RUNS },
  );
});
