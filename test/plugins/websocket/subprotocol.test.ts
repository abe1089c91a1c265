import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { parseFilter, type FilterQuery, type LogRecord } from "../../../src/plugin.ts";
import { batchOf } from "../../../src/testing/batch.ts";
import { JournalStage } from "./journal-stage.ts";
import { Ledger } from "./ledger.ts";
import { RawPeer, Rig, Viewer, type RigOptions } from "./rig.ts";
import { SubprotocolViewer } from "./subprotocol-viewer.ts";

async function startRig(options?: RigOptions): Promise<Rig> {
  const rig = await Rig.start(options);
  onTestFinished(() => rig.close());
  return rig;
}

/** A rig whose memory holds so many records; older ones are read from the disk. */
async function startStage(
  memoryRecords: number,
  options: RigOptions = {},
): Promise<{ rig: Rig; journal: JournalStage }> {
  let journal: JournalStage | undefined;
  const rig = await startRig({
    ...options,
    journal: (inner) => (journal = new JournalStage(inner, memoryRecords)),
  });
  return { rig, journal: journal! };
}

function numbered(
  from: number,
  count: number,
  given: Partial<LogRecord> = {},
): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({ body: `${from + offset}`, ...given }));
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
}

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

/** Records whose body is their sequence: every tenth an audit event, every seventh an ERROR. */
function mixed(from: number, count: number, padding = ""): Partial<LogRecord>[] {
  return numbers(from, from + count - 1).map((sequence) => ({
    body: `${sequence}${padding}`,
    severityText: sequence % 7 === 0 ? "ERROR" : "INFO",
    ...(sequence % 10 === 0 && { scope: AUDIT }),
  }));
}

function emitMixed(rig: Rig, count: number, batchRecords = 10, padding = ""): void {
  for (let done = 0; done < count; done += batchRecords) {
    const records = Math.min(batchRecords, count - done);
    rig.emit(mixed(rig.journal.newest + 1, records, padding));
  }
}

describe("the handshake", () => {
  test.each(["tailgate.v1", "chat, tailgate.v1"])(
    "%s is answered with tailgate.v1",
    async (offer) => {
      const rig = await startRig();
      const peer = await RawPeer.open(rig.port, "", `Sec-WebSocket-Protocol: ${offer}\r\n`);
      expect(peer.head).toMatch(/^Sec-WebSocket-Protocol: tailgate\.v1$/m);
      peer.socket.destroy();
    },
  );

  test("hello comes first, with the numbering and the limits", async () => {
    const rig = await startRig({ options: { replay_max: 5 } });
    rig.emit(numbered(1, 3));
    const viewer = await SubprotocolViewer.open(rig.url());
    expect(await viewer.until("hello")).toEqual({
      type: "hello",
      epoch: rig.journal.epoch,
      sequence: 3,
      durable: 3,
      version: 1,
      limits: { message_bytes: 65_536, filter_characters: 4_096, replay: 5, errors: 100 },
    });
  });

  test("nothing else comes before a subscription, and it counts as a viewer", async () => {
    const rig = await startRig({ options: { max_connections: 1 } });
    const viewer = await SubprotocolViewer.open(rig.url());
    await viewer.until("hello");
    expect([rig.metric("clients"), rig.metric("clients_subscribed")]).toEqual([1, 0]);
    rig.emit(numbered(1, 3));
    expect((await RawPeer.open(rig.port)).head).toMatch(/^HTTP\/1\.1 503 /);
    viewer.say({ type: "subscribe", replay: 2 });
    await viewer.at(3);
    expect(rig.metric("clients_subscribed")).toBe(1);
    expect(viewer.messages.map(({ type }) => type)).toEqual(["hello", "batch", "caught_up"]);
    expect(viewer.ledger.sequences).toEqual([2, 3]);
  });

  test("an address that asks for something subscribes by itself", async () => {
    const rig = await startRig();
    emitMixed(rig, 40);
    const viewer = await SubprotocolViewer.open(rig.url("?type=audit_log&replay=2"));
    await viewer.until("caught_up");
    expect(viewer.ledger.sequences).toEqual([30, 40]);
    viewer.say({ type: "subscribe" });
    expect(await viewer.until("error")).toMatchObject({ code: "ALREADY_SUBSCRIBED" });
    const refused = await RawPeer.open(
      rig.port,
      "?since=1",
      "Sec-WebSocket-Protocol: tailgate.v1\r\n",
    );
    expect(refused.head).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe("batches", () => {
  test("the envelopes are the bytes of the journal, and sequences are there where they are needed", async () => {
    const rig = await startRig();
    const everything = await SubprotocolViewer.subscribe(rig.url());
    const errors = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "ERROR" } });
    const bodies = ["1", 'grüße 🌍 \u2028 }] \\"', "lone \ud800", "\u0000\u001b[31m"];
    const records = bodies.map((body, index) => ({
      body,
      severityText: index % 2 === 0 ? "ERROR" : "INFO",
      attributes: new Map<string, number>([["ratio", 1.5e300]]),
    }));
    rig.emit(records);
    await everything.at(4);
    await errors.at(4);
    const plain = batchOf(records);
    const bytes = numbers(0, 3).map((index) => Buffer.from(plain.bytes(index)).toString());
    expect(everything.texts.at(-1)).toBe(
      `{"type":"batch","from":1,"to":4,"durable":4,"envelopes":[${bytes.join(",")}]}`,
    );
    expect(errors.texts.at(-1)).toBe(
      `{"type":"batch","from":1,"to":4,"durable":4,"sequences":[1,3],"envelopes":[${bytes[0]},${bytes[2]}]}`,
    );
  });

  test("who gets nothing for a while learns how far it is", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "CRITICAL" } });
    emitMixed(rig, 30);
    emitMixed(rig, 30);
    await viewer.at(60);
    expect(viewer.all("batch")).toMatchObject([{ from: 1, to: 60, envelopes: [] }]);
    rig.emit([{ body: "fatal", severityText: "FATAL" }]);
    await viewer.at(61);
    expect(viewer.all("batch")[1]).toMatchObject({ from: 61, to: 61 });
  });

  test("viewers with one filter and different places share what matches, not where it begins", async () => {
    const rig = await startRig();
    const filter = { level: "CRITICAL" };
    const early = await SubprotocolViewer.subscribe(rig.url(), { filter });
    emitMixed(rig, 20);
    const late = await SubprotocolViewer.subscribe(rig.url(), { filter });
    rig.emit([{ body: "fatal", severityText: "FATAL" }]);
    await early.at(21);
    await late.at(21);
    expect(late.all("batch")).toMatchObject([{ from: 21, to: 21 }]);
    expect(early.all("batch").at(-1)!.to).toBe(21);
    expect([early.ledger.sequences, late.ledger.sequences]).toEqual([[21], [21]]);
  });

  test("large batches come in parts, and a record of a megabyte alone", async () => {
    const rig = await startRig({ options: { client_buffer_bytes: 128 << 10 } });
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    const sizes = [...Array<number>(2000).fill(100), 1 << 20, ...Array<number>(5).fill(40_000)];
    rig.emit(sizes.map((size, index) => ({ body: `${index + 1} ${"x".repeat(size)}` })));
    await viewer.at(sizes.length);
    expect(viewer.ledger.sequences).toEqual(numbers(1, sizes.length));
    const lengths = viewer.texts.map((text) => text.length);
    expect(lengths.filter((length) => length > 70_000)).toHaveLength(1);
  });

  test("the exporter's own level holds, and what delivery leaves out comes from the journal", async () => {
    const rig = await startRig({ level: "WARNING" });
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    rig.append([{ body: "late", severityText: "ERROR" }, { body: "no" }]);
    rig.emit([{ body: "now", severityText: "WARNING" }]);
    await viewer.at(3);
    expect(viewer.ledger.messages).toEqual(["late", "now"]);
  });

  test("viewers of both kinds stand side by side", async () => {
    const rig = await startRig();
    const plain = await Viewer.open(rig.url());
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    emitMixed(rig, 500);
    await viewer.at(500);
    await vi.waitFor(() => expect(plain.texts).toHaveLength(500));
    expect(viewer.ledger.envelopes.get(77)).toEqual(plain.envelopes[76]);
    expect([...viewer.ledger.envelopes.values()]).toEqual(plain.envelopes);
  });
});

describe("starts", () => {
  test.each([Infinity, 50])(
    "with memory for %s records: the newest N that match",
    async (memory) => {
      const { rig } = await startStage(memory);
      emitMixed(rig, 1000);
      const all = await SubprotocolViewer.subscribe(rig.url(), { replay: 120 });
      expect(all.ledger.sequences).toEqual(numbers(881, 1000));
      const filter = { q: "type:audit -500" };
      const audit = await SubprotocolViewer.subscribe(rig.url(), { filter, replay: 60 });
      const wanted = numbers(39, 100).map((tens) => 10 * tens);
      expect(audit.ledger.sequences).toEqual(
        wanted.filter((sequence) => sequence !== 500).slice(-60),
      );
      const lane = { type: "audit" };
      const more = await SubprotocolViewer.subscribe(rig.url(), { filter: lane, replay: 5000 });
      expect(more.ledger.sequences).toEqual(numbers(1, 100).map((tens) => 10 * tens));
      const none = await SubprotocolViewer.subscribe(rig.url(), {
        filter: { q: "nothing" },
        replay: 3,
      });
      expect(none.all("batch")).toEqual([]);
      emitMixed(rig, 10);
      for (const viewer of [all, audit, more]) await viewer.at(1010);
      expect([all.ledger.sequences.at(-10), audit.ledger.sequences.at(-1)]).toEqual([1001, 1010]);
    },
  );

  test("since a moment: what has that time or a later one, until the present; then everything", async () => {
    const { rig } = await startStage(20);
    const second = 1_000_000_000n;
    const start = 1_760_000_000n * second;
    for (let index = 0; index < 100; index++) {
      rig.emit([{ body: `${index}`, timestamp: start + BigInt(index) * second }]);
    }
    rig.emit([{ body: "late", timestamp: start }]);
    const ms = 1_760_000_040_000;
    for (const since of [ms, new Date(ms).toISOString(), "2025-10-09T10:54:00+02:00"]) {
      const viewer = await SubprotocolViewer.subscribe(rig.url(), { since });
      expect(viewer.ledger.sequences).toEqual(numbers(41, 100));
      expect(viewer.ledger.resume!.sequence).toBe(rig.journal.newest);
    }
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { since: ms });
    rig.emit([{ body: "late and live", timestamp: start }]);
    await viewer.at(rig.journal.newest);
    expect(viewer.ledger.messages.at(-1)).toBe("late and live");
    expect(viewer.ledger.gaps).toEqual([]);
  });

  test("since a moment that the journal no longer has: the gap says so, and only then", async () => {
    const rig = await startRig({ journalBytesMax: 20_000 });
    const second = 1_000_000_000n;
    const start = 1_760_000_000n * second;
    for (let index = 0; index < 100; index++) {
      rig.emit([{ body: `${index}`, timestamp: start + BigInt(index) * second }]);
    }
    const { oldest } = rig.journal;
    expect(oldest).toBeGreaterThan(20);
    const gone = await SubprotocolViewer.subscribe(rig.url(), { since: 1_760_000_000_000 });
    expect(gone.ledger.gaps).toEqual([
      { type: "gap", from: 1, to: oldest - 1, reason: "retention" },
    ]);
    expect(gone.ledger.sequences).toEqual(numbers(oldest, 100));
    const there = await SubprotocolViewer.subscribe(rig.url(), { since: 1_760_000_098_000 });
    expect([there.ledger.gaps, there.ledger.sequences]).toEqual([[], [99, 100]]);
  });

  test.each([Infinity, 50])(
    "with memory for %s records: goes on behind what it has",
    async (memory) => {
      const { rig } = await startStage(memory);
      emitMixed(rig, 300);
      const { epoch } = rig.journal;
      const viewer = await SubprotocolViewer.subscribe(rig.url(), {
        resume: { epoch, sequence: 123 },
      });
      expect(viewer.ledger.sequences).toEqual(numbers(124, 300));
      expect(viewer.all("batch")[0]!.from).toBe(124);
      const current = await SubprotocolViewer.subscribe(rig.url(), {
        resume: { epoch, sequence: 300 },
      });
      emitMixed(rig, 10);
      await current.at(310);
      expect(current.ledger.sequences).toEqual(numbers(301, 310));
    },
  );

  test("what is gone of it is a gap of exactly that", async () => {
    const rig = await startRig({ journalBytesMax: 40_000 });
    emitMixed(rig, 500);
    const { epoch, oldest } = rig.journal;
    expect(oldest).toBeGreaterThan(100);
    const viewer = await SubprotocolViewer.subscribe(rig.url(), {
      resume: { epoch, sequence: 50 },
    });
    expect(viewer.ledger.gaps).toEqual([
      { type: "gap", from: 51, to: oldest - 1, reason: "retention" },
    ]);
    expect(viewer.ledger.sequences).toEqual(numbers(oldest, 500));
  });

  test("after an unclean end: what it has beyond the numbering that is shared is told as a gap", async () => {
    const { rig, journal } = await startStage(50);
    journal.sharedByEpoch.set("before", 80);
    emitMixed(rig, 200);
    const lost = await SubprotocolViewer.subscribe(rig.url(), {
      resume: { epoch: "before", sequence: 95 },
    });
    expect(lost.ledger.gaps).toEqual([{ type: "gap", from: 81, to: 95, reason: "epoch" }]);
    expect(lost.ledger.sequences).toEqual(numbers(81, 200));
    const same = await SubprotocolViewer.subscribe(rig.url(), {
      resume: { epoch: "before", sequence: 80 },
    });
    expect([same.ledger.gaps, same.ledger.sequences]).toEqual([[], numbers(81, 200)]);
  });

  test("of an epoch that nobody knows everything is told anew", async () => {
    const { rig } = await startStage(50);
    emitMixed(rig, 100);
    const viewer = await SubprotocolViewer.subscribe(rig.url(), {
      resume: { epoch: "another gateway's", sequence: 7_000 },
    });
    expect(viewer.ledger.gaps).toEqual([{ type: "gap", from: 1, to: 7_000, reason: "epoch" }]);
    expect(viewer.ledger.sequences).toEqual(numbers(1, 100));
  });

  test("history and live records come without a hole or a repeat, however they interleave", async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("emit"), count: fc.integer({ min: 1, max: 300 }) }),
      fc.record({ do: fc.constant("append"), count: fc.integer({ min: 1, max: 300 }) }),
      fc.record({ do: fc.constant("turn") }),
      fc.record({ do: fc.constant("cut") }),
      fc.record({ do: fc.constant("connect"), filter: fc.constantFrom({}, { level: "ERROR" }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.constantFrom(30, 5000), interleaved),
      { numRuns: 40 },
    );
  });
});

type Step = { readonly do: string; readonly count?: number; readonly filter?: FilterQuery };

/** Viewers come, are cut and come again at any point; at the end each has what matches, from its first moment on. */
async function interleaved(steps: readonly Step[], memoryRecords: number): Promise<void> {
  let journal: JournalStage | undefined;
  await using rig = await Rig.start({
    journal: (inner) => (journal = new JournalStage(inner, memoryRecords)),
  });
  const viewers: { filter: FilterQuery; ledger: Ledger; viewer: SubprotocolViewer }[] = [];
  const connect = async (filter: FilterQuery, ledger: Ledger): Promise<SubprotocolViewer> => {
    const viewer = await SubprotocolViewer.open(rig.url(), ledger);
    const { resume } = ledger;
    viewer.say({ type: "subscribe", filter, ...(resume ? { resume } : { since: 0 }) });
    return viewer;
  };
  for (const { do: verb, count = 0, filter } of steps) {
    if (verb === "emit") emitMixed(rig, count, 40);
    if (verb === "append") rig.append(mixed(rig.journal.newest + 1, count));
    if (verb === "turn") await nextTurn();
    if (verb === "connect") {
      const ledger = new Ledger();
      viewers.push({ filter: filter!, ledger, viewer: await connect(filter!, ledger) });
    }
    const last = viewers.at(-1);
    if (verb === "cut" && last) {
      last.viewer.socket.terminate();
      last.viewer = await connect(last.filter, last.ledger);
    }
  }
  emitMixed(rig, 7);
  const { newest } = rig.journal;
  expect(journal!.newest).toBe(newest);
  for (const { filter, ledger, viewer } of viewers) {
    await viewer.at(newest);
    // What delivery brought late may have left memory by then.
    const skipped = ledger.gaps.map(({ from, to, reason }) => {
      expect([reason, memoryRecords]).toEqual(["slow", 30]);
      return [from, to] as const;
    });
    const wanted = numbers(1, newest)
      .filter((number) => !filter.level || number % 7 === 0)
      .filter((n) => n % 10 === 0 || !skipped.some(([from, to]) => from <= n && n <= to));
    expect([ledger.sequences, ledger.repeats]).toEqual([wanted, 0]);
  }
}

describe("filters in place", () => {
  test("a change holds from its echo on", async () => {
    const rig = await startRig();
    const subscription = { filter: { level: "ERROR" }, version: 1 };
    const viewer = await SubprotocolViewer.subscribe(rig.url(), subscription);
    emitMixed(rig, 20);
    await viewer.at(20);
    viewer.say({ type: "filter", filter: { type: "audit_log" }, version: 2 });
    await viewer.until("filter", 2);
    emitMixed(rig, 20);
    await viewer.at(40);
    expect(viewer.ledger.sequences).toEqual([7, 14, 30, 40]);
    expect(viewer.all("filter")).toEqual([
      { type: "filter", version: 1 },
      { type: "filter", version: 2 },
    ]);
  });

  test("a filter that is not understood leaves the one before", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "ERROR" } });
    viewer.say({ type: "filter", filter: { level: "LOUD" }, version: 2 });
    expect(await viewer.until("error")).toMatchObject({
      code: "FILTER_INVALID",
      message: expect.stringContaining('"level:LOUD"') as string,
    });
    emitMixed(rig, 20);
    await viewer.at(20);
    expect(viewer.ledger.sequences).toEqual([7, 14]);
  });

  test("a change during the search for the newest records searches anew", async () => {
    const { rig } = await startStage(30);
    emitMixed(rig, 1000);
    const viewer = await SubprotocolViewer.open(rig.url());
    viewer.say({ type: "subscribe", filter: { level: "ERROR" }, replay: 50 });
    viewer.say({ type: "filter", filter: { type: "audit" }, version: 2 });
    await viewer.until("caught_up");
    expect(viewer.ledger.sequences).toEqual(numbers(51, 100).map((tens) => 10 * tens));
  });

  test("changes at any point, in history and live: the stream is the whole one, filtered and split at the echoes", async () => {
    const filter = fc.constantFrom<FilterQuery>(
      {},
      { level: "ERROR" },
      { type: "audit" },
      { type: "system" },
      { q: "-7 level:ERROR" },
      { q: "nothing" },
    );
    const step = fc.oneof(
      fc.record({ do: fc.constant("emit"), count: fc.integer({ min: 1, max: 200 }) }),
      fc.record({ do: fc.constant("filter"), filter }),
      fc.record({ do: fc.constant("turn") }),
    );
    await fc.assert(
      fc.asyncProperty(
        filter,
        fc.array(step, { maxLength: 30 }),
        fc.constantFrom(30, 5000),
        changed,
      ),
      { numRuns: 60 },
    );
  });
});

async function changed(
  first: FilterQuery,
  steps: readonly Step[],
  memoryRecords: number,
): Promise<void> {
  await using rig = await Rig.start({
    journal: (inner) => new JournalStage(inner, memoryRecords),
  });
  emitMixed(rig, 300);
  const viewer = await SubprotocolViewer.open(rig.url());
  const filters = [first];
  viewer.say({ type: "subscribe", filter: first, since: 0 });
  for (const { do: verb, count = 0, filter } of steps) {
    if (verb === "emit") emitMixed(rig, count, 30);
    if (verb === "turn") await nextTurn();
    if (verb === "filter") {
      viewer.say({ type: "filter", filter, version: filters.length });
      filters.push(filter!);
    }
  }
  await viewer.until("filter", filters.length - 1).catch((error: unknown) => {
    if (filters.length > 1) throw error;
  });
  emitMixed(rig, 7);
  const { newest } = rig.journal;
  await viewer.at(newest);
  const expected: number[] = [];
  let position = 0;
  let version = 0;
  const whole = rig.whole();
  for (const message of viewer.messages) {
    if (message.type === "filter") version = message.version;
    if (message.type !== "batch") continue;
    const oracle = parseFilter(filters[version]!);
    for (; position < message.to; position++) {
      if (oracle.matches(whole, position)) expected.push(position + 1);
    }
  }
  expect(viewer.ledger.sequences).toEqual(expected);
  expect([position, version, viewer.ledger.repeats]).toEqual([newest, filters.length - 1, 0]);
}

describe("slow viewers", () => {
  const PADDING = ` ${"x".repeat(20_000)}`;
  /** What the two sockets and the system between them may hold. */
  const RECORDS = 1500;

  test.each([
    ["both lanes", {}],
    ["system logs alone", { type: "system" }],
  ])(
    "%s: a gap with exact bounds, and every audit event, beside a healthy viewer",
    async (_name, filter) => {
      const { rig } = await startStage(200);
      const healthy = await SubprotocolViewer.subscribe(rig.url());
      const slow = await SubprotocolViewer.subscribe(rig.url(), { filter });
      slow.socket.pause();
      for (let done = 0; done < RECORDS; done += 50) {
        emitMixed(rig, 50, 10, PADDING);
        await healthy.at(rig.journal.newest);
        expect(rig.metric("clients_unsent_bytes")).toBeLessThanOrEqual(2 * (256 << 10));
      }
      slow.socket.resume();
      await slow.at(RECORDS);
      emitMixed(rig, 20);
      await slow.at(RECORDS + 20);
      const { gaps, envelopes, repeats } = slow.ledger;
      expect(gaps.length).toBeGreaterThan(0);
      expect(gaps.every(({ reason, lane }) => reason === "slow" && lane === "system_log")).toBe(
        true,
      );
      const isInGap = (sequence: number): boolean =>
        gaps.some(({ from, to }) => from <= sequence && sequence <= to);
      const isWanted = (sequence: number): boolean => sequence % 10 !== 0 || !("type" in filter);
      const expected = numbers(1, RECORDS + 20).filter(
        (sequence) => isWanted(sequence) && (sequence % 10 === 0 || !isInGap(sequence)),
      );
      expect([...envelopes.keys()]).toEqual(expected);
      expect(repeats).toBe(0);
      const missing = numbers(1, RECORDS).filter((n) => n % 10 !== 0 && isInGap(n)).length;
      const audit =
        "type" in filter ? numbers(1, RECORDS).filter((n) => n % 10 === 0 && isInGap(n)) : [];
      expect(rig.metric("records_skipped")).toBe(missing + audit.length);
      expect(healthy.ledger.sequences).toEqual(numbers(1, RECORDS + 20));
      expect(healthy.ledger.gaps).toEqual([]);
    },
  );

  test("audit alone comes whole, without a gap", async () => {
    const { rig } = await startStage(200);
    const slow = await SubprotocolViewer.subscribe(rig.url(), { filter: { type: "audit_log" } });
    slow.socket.pause();
    for (let done = 0; done < 600; done += 10) {
      rig.emit(numbered(done + 1, 10, { body: PADDING, scope: AUDIT }));
      await nextTurn();
    }
    slow.socket.resume();
    await slow.at(600);
    expect([slow.ledger.sequences, slow.ledger.gaps]).toEqual([numbers(1, 600), []]);
  });

  test("who reads the past slowly gets all of it, however much comes meanwhile", async () => {
    const { rig } = await startStage(100);
    emitMixed(rig, 600, 10, PADDING);
    const viewer = await SubprotocolViewer.open(rig.url());
    viewer.say({ type: "subscribe", since: 0 });
    await viewer.at(50);
    viewer.socket.pause();
    emitMixed(rig, 400, 10, PADDING);
    viewer.socket.resume();
    await viewer.at(1000);
    expect([viewer.ledger.sequences, viewer.ledger.gaps]).toEqual([numbers(1, 1000), []]);
  });

  test("only one that reads nothing at all is closed, with a goodbye", async () => {
    const { rig } = await startStage(200, { options: { stall_timeout_seconds: 0.4 } });
    const header = "Sec-WebSocket-Protocol: tailgate.v1\r\n";
    const stalled = await RawPeer.open(rig.port, "?level=INFO", header);
    for (let done = 0; done < RECORDS; done += 50) emitMixed(rig, 50, 10, PADDING);
    await vi.waitFor(
      () => expect(rig.metric("records_missed", "stalled")).toBeGreaterThan(0),
      5000,
    );
    stalled.read();
    await vi.waitFor(() => expect(stalled.closeFrame).toBeDefined(), 5000);
    expect(stalled.closeFrame!.code).toBe(1008);
    expect(stalled.closeFrame!.reason).toMatch(
      /^too slow: nothing was read for 0\.4 s, \d+ records/,
    );
    const texts = stalled.frames.filter(({ opcode }) => opcode === 1);
    expect(texts.at(-1)!.payload.toString()).toBe('{"type":"goodbye","reason":"stalled"}');
    stalled.socket.destroy();
  });
});

describe("what the disk refuses", () => {
  test("after it was sent: a gap for what was sent of it, when it is known", async () => {
    const { rig, journal } = await startStage(Infinity);
    journal.durableTo = 0;
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    const errors = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "ERROR" } });
    emitMixed(rig, 40);
    await viewer.at(40);
    expect(viewer.ledger.resume!.durable).toBe(0);
    journal.refuse(11, 30);
    journal.durableTo = 40;
    const gap = { type: "gap", from: 11, to: 30, reason: "not_stored" };
    expect(await viewer.until("gap")).toEqual(gap);
    expect(await errors.until("gap")).toEqual(gap);
    emitMixed(rig, 10);
    await viewer.at(50);
    expect(viewer.all("gap")).toHaveLength(1);
  });

  test("before it was sent: a gap in its place", async () => {
    const { rig, journal } = await startStage(Infinity);
    emitMixed(rig, 40);
    journal.refuse(11, 30);
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { since: 0 });
    expect(viewer.ledger.gaps).toEqual([{ type: "gap", from: 11, to: 30, reason: "not_stored" }]);
    expect(viewer.ledger.sequences).toEqual([...numbers(1, 10), ...numbers(31, 40)]);
  });

  test("while the viewer is slow: a gap for each part, sent or not", async () => {
    const { rig, journal } = await startStage(Infinity, {
      options: { stall_timeout_seconds: 1000 },
    });
    journal.durableTo = 0;
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    viewer.socket.pause();
    while (rig.metric("clients_unsent_bytes") === 0) {
      emitMixed(rig, 10, 10, "x".repeat(50_000));
      await nextTurn();
    }
    const full = rig.journal.newest;
    emitMixed(rig, 100);
    journal.refuse(1, 20);
    journal.refuse(full + 11, full + 30);
    journal.durableTo = rig.journal.newest;
    // Once it is known; and not more than that.
    const sent = rig.metric("frames_sent");
    await vi.waitFor(() => expect(rig.metric("frames_sent")).toBe(sent + 1));
    viewer.socket.resume();
    await viewer.at(rig.journal.newest);
    expect(viewer.ledger.gaps.map(({ from, to }) => [from, to])).toEqual([
      [1, 20],
      [full + 11, full + 30],
    ]);
  });

  test("while it was away: a gap for what it had and was not durable", async () => {
    const { rig, journal } = await startStage(Infinity);
    journal.durableTo = 10;
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { since: 0 });
    emitMixed(rig, 40);
    await viewer.at(40);
    viewer.socket.terminate();
    await vi.waitFor(() => expect(rig.metric("clients")).toBe(0));
    journal.refuse(11, 30);
    journal.durableTo = 40;
    const { resume } = viewer.ledger;
    expect(resume).toMatchObject({ sequence: 40, durable: 10 });
    const again = await SubprotocolViewer.subscribe(rig.url(), { resume }, viewer.ledger);
    expect(await again.until("gap")).toEqual({
      type: "gap",
      from: 11,
      to: 30,
      reason: "not_stored",
    });
  });
});

describe("messages", () => {
  test.each([
    ["no JSON", "MESSAGE_INVALID", /^It is no JSON: /],
    ["[]", "MESSAGE_INVALID", /^Expected an object whose type is/],
    [
      '{"type":"hello"}',
      "MESSAGE_INVALID",
      /^type: Expected an object whose type is "subscribe" or "filter"\.$/,
    ],
    ['{"type":"subscribe","replay":-1}', "MESSAGE_INVALID", /^replay: /],
    [
      '{"type":"subscribe","replay":1,"since":2}',
      "MESSAGE_INVALID",
      /^It can start in one way, not with replay and since\.$/,
    ],
    [
      '{"type":"subscribe","since":"yesterday"}',
      "MESSAGE_INVALID",
      /^since: Expected ISO 8601 with a zone/,
    ],
    ['{"type":"subscribe","level":"ERROR"}', "MESSAGE_INVALID", /Unrecognized key: "level"/],
    ['{"type":"subscribe","resume":{"epoch":"x"}}', "MESSAGE_INVALID", /^resume\.sequence: /],
    ['{"type":"filter","filter":{}}', "MESSAGE_INVALID", /^version: /],
    ['{"type":"filter","version":1}', "NOT_SUBSCRIBED", /^There is no subscription yet\.$/],
    [
      '{"type":"subscribe","filter":{"type":"log"}}',
      "FILTER_INVALID",
      /^The filter term "type:log"/,
    ],
  ])("%s is answered with an error, and the connection stays", async (text, code, message) => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.open(rig.url());
    viewer.say(text);
    expect(await viewer.until("error")).toEqual({
      type: "error",
      code,
      message: expect.stringMatching(message) as string,
    });
    viewer.say({ type: "subscribe" });
    await viewer.until("caught_up");
  });

  test("binary messages are refused, and after a hundred errors there is a goodbye", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.open(rig.url());
    for (let count = 0; count < 100; count++) viewer.socket.send(Buffer.from([count]));
    expect(await viewer.closed).toEqual({ code: 1008, reason: "100 messages were not understood" });
    expect(viewer.all("error")).toHaveLength(100);
    expect(viewer.messages.at(-1)).toEqual({ type: "goodbye", reason: "misuse" });
    await vi.waitFor(() => expect(rig.metric("clients_closed", "misuse")).toBe(1));
  });

  test("who does not read the answers is not read either", async () => {
    const rig = await startRig({ options: { stall_timeout_seconds: 1000 } });
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    viewer.socket.pause();
    while (rig.metric("clients_unsent_bytes") === 0) {
      emitMixed(rig, 10, 10, "x".repeat(50_000));
      await nextTurn();
    }
    const versions = 30_000;
    for (let version = 0; version < versions; version++) viewer.say({ type: "filter", version });
    let unsent = -1;
    while (unsent !== viewer.socket.bufferedAmount) {
      unsent = viewer.socket.bufferedAmount;
      for (let turn = 0; turn < 50; turn++) await nextTurn();
    }
    expect(rig.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    viewer.socket.resume();
    expect(await viewer.until("filter", versions)).toMatchObject({ version: versions - 1 });
  });

  test("nothing that a viewer sends disturbs the gateway", async () => {
    const rig = await startRig({ options: { max_connections: 10_000 } });
    const healthy = await SubprotocolViewer.subscribe(rig.url());
    emitMixed(rig, 100);
    const anything = fc.jsonValue({ maxDepth: 4 });
    const record = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> =>
      fc.record(fields, { requiredKeys: [] });
    const odd = (...good: unknown[]): fc.Arbitrary<unknown> =>
      fc.oneof(fc.constantFrom(...good), anything);
    const filter = record({
      type: odd("audit"),
      level: odd("INFO"),
      logger: odd("x"),
      q: odd('-"a" b:c', '"'),
    });
    const message = record({
      type: odd("subscribe", "filter"),
      filter: fc.oneof(filter, anything),
      version: odd(1, 2 ** 53, -1),
      replay: odd(0, 5, 1e300),
      since: odd("2025-01-01T00:00:00Z", 0, "x"),
      resume: fc.oneof(
        record({
          epoch: odd(rig.journal.epoch, ""),
          sequence: odd(0, 50, 2 ** 53 - 1),
          durable: odd(0, 7),
        }),
        anything,
      ),
    });
    const text = fc.oneof(
      { weight: 5, arbitrary: message.map((value) => JSON.stringify(value)) },
      { weight: 1, arbitrary: fc.string() },
      { weight: 1, arbitrary: fc.nat(30_000).map((depth) => "[".repeat(depth)) },
      { weight: 1, arbitrary: fc.uint8Array() },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 12 }), async (texts) => {
        const viewer = await SubprotocolViewer.open(rig.url());
        for (const one of texts) viewer.socket.send(one as string | Uint8Array);
        viewer.socket.ping();
        await once(viewer.socket, "pong");
        expect(viewer.socket.readyState).toBe(WebSocket.OPEN);
        viewer.socket.terminate();
      }),
      { numRuns: 300 },
    );
    emitMixed(rig, 10);
    await healthy.at(110);
    expect(healthy.ledger.sequences).toEqual(numbers(1, 110));
    expect(rig.lines).toEqual([]);
  });
});

describe("goodbyes", () => {
  test("when the gateway stops", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    emitMixed(rig, 100);
    await rig.exporter.close!(AbortSignal.timeout(5000));
    expect(await viewer.closed).toEqual({ code: 1001, reason: "gateway is stopping" });
    expect(viewer.ledger.sequences).toEqual(numbers(1, 100));
    expect(viewer.messages.at(-1)).toEqual({ type: "goodbye", reason: "stopping" });
  });

  test("when the journal cannot be read", async () => {
    const rig = await startRig({
      journal: (inner) => {
        const stage = new JournalStage(inner);
        stage.read = () => Promise.reject(new Error("the disk is damaged"));
        return stage;
      },
    });
    emitMixed(rig, 10);
    const viewer = await SubprotocolViewer.open(rig.url("?replay=5"));
    expect(await viewer.closed).toEqual({ code: 1011, reason: "internal error" });
    expect(viewer.messages.at(-1)).toEqual({ type: "goodbye", reason: "failed" });
    expect(rig.lines.filter((line) => line.includes("the disk is damaged"))).toHaveLength(1);
  });
});
