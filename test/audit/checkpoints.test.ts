/** When checkpoints are written, and that an untouched trail verifies whatever its gateway went through. */

import { mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test, vi } from "vitest";
import {
  checkpointLine,
  findCheckpoints,
  parseCheckpointLine,
} from "../../src/audit/checkpoint.ts";
import { dayEnds, EMPTY_CHAIN } from "../../src/audit/day-ends.ts";
import { decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { AUDIT_LOGGER } from "tailgate";
import type { Batch, JournalPage } from "tailgate/plugin";
import { whenAborted } from "../../src/runtime/timers.ts";
import { batchOf } from "tailgate/testing";
import { AuditHarness, logEvents, MORNING_MS, freezeClock } from "../harness/audit-trail.ts";

const MINUTE_MS = 60_000;

const PAGE_BYTES = 4096;

/** Mocks the clock and the checkpoint timer; returns a function that advances both. */
function fakeMinutes(): (minutes: number) => void {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"], now: MORNING_MS });
  onTestFinished(() => void vi.useRealTimers());
  return (minutes) => vi.advanceTimersByTime(minutes * MINUTE_MS);
}

function fieldsOf(line: string) {
  const { day, lines, count, seq } = parseCheckpointLine(line)!;
  return { day, lines, count, seq };
}

/** Overwrites the first page of a table; the others stay readable. */
function damagePageOf(file: string, table: string): void {
  const db = new DatabaseSync(file);
  const { rootpage } = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = ?").get(table)!;
  db.close();
  const bytes = readFileSync(file);
  bytes.fill(0xff, (Number(rootpage) - 1) * PAGE_BYTES, Number(rootpage) * PAGE_BYTES);
  writeFileSync(file, bytes);
}

test("one is written per minute with events, to the file and as an event, and none because of itself", async () => {
  const pass = fakeMinutes();
  const harness = await AuditHarness.create();
  const running = await harness.start();
  pass(1);
  await logEvents(running, ["a", "b"]);
  pass(1);
  await vi.waitFor(() => expect(running.gateway.journal.chain!.count).toBe(3));
  expect(harness.checkpoints().map(fieldsOf)).toEqual([
    { day: "20261124", lines: 2, count: 2, seq: 3 },
  ]);
  pass(5);
  await running.gateway.flush(AbortSignal.timeout(5_000));
  expect(harness.checkpoints()).toHaveLength(1);
  const event = JSON.parse(harness.files().get("audit_20261124.jsonl")![2]!);
  expect(event).toMatchObject({
    logger: "orchestrator.audit.checkpoint",
    event_type: "audit_checkpoint",
  });
  expect(findCheckpoints(JSON.stringify(event)).map(checkpointLine)).toEqual(harness.checkpoints());
  await logEvents(running, ["c"]);
  pass(1);
  await vi.waitFor(() => expect(running.gateway.journal.chain!.count).toBe(5));
  expect(harness.checkpoints().map(fieldsOf)[1]).toMatchObject({ lines: 4, count: 4 });
  expect(running.gateway.audit!.checkpoint).toMatchObject({ count: 4 });
  expect((await harness.verify()).findings).toEqual([]);
  expect((statSync(join(harness.logDir, "audit/checkpoints.jsonl")).mode & 0o777).toString(8)).toBe(
    "600",
  );
});

test("the last event of a day is signed even if events of the next day arrived first", async () => {
  const pass = fakeMinutes();
  const harness = await AuditHarness.create();
  const running = await harness.start();
  pass(16 * 60 - 0.5);
  await logEvents(running, ["a", "b"]);
  vi.setSystemTime(MORNING_MS + 16.001 * 3_600_000);
  await logEvents(running, ["c"]);
  pass(1);
  await vi.waitFor(() => expect(running.gateway.journal.chain!.count).toBe(5));
  expect(harness.checkpoints().map(fieldsOf)).toEqual([
    { day: "20261124", lines: 2, count: 2, seq: 3 },
    { day: "20261125", lines: 1, count: 3, seq: 4 },
  ]);
  await running.stop();
  rmSync(join(harness.logDir, "audit/audit_20261124.jsonl"));
  expect(await harness.verify()).toMatchObject({ findings: [], chain: { start: "checkpoint" } });
});

test("stop does not wait for an exporter that hangs while a checkpoint is due", async () => {
  const pass = fakeMinutes();
  const harness = await AuditHarness.create();
  const running = await harness.start();
  const { gateway } = running;
  await logEvents(running, ["a"]);
  const hanging = Promise.withResolvers<AbortSignal>();
  vi.spyOn(gateway, "flush").mockImplementationOnce((signal) => {
    hanging.resolve(signal);
    return whenAborted(signal);
  });
  pass(1);
  const signal = await hanging.promise;
  await running.stop();
  expect(signal.reason).toMatchObject({ name: "AbortError" });
  expect(fieldsOf(harness.checkpoints().at(-1)!).seq).toBe(gateway.journal.newest);
  expect((await harness.verify()).findings).toEqual([]);
});

test("no count is stated for a day that ends before events lost to damage", async () => {
  const dayMs = 86_400_000;
  const events = (firstSequence: number, appendedAtMs: number): Batch => {
    const scope = { name: AUDIT_LOGGER, version: "", attributes: new Map() };
    return batchOf([{ scope }, { scope }], { firstSequence, appendedAtMs });
  };
  const damaged = { from: 3, to: 4, type: "audit_log", reason: "damaged" } as const;
  const pages: JournalPage[] = [
    { from: 1, to: 4, records: events(1, MORNING_MS), gaps: [damaged] },
    { from: 5, to: 6, records: events(5, MORNING_MS + dayMs), gaps: [] },
    { from: 7, to: 8, records: events(7, MORNING_MS + 2 * dayMs), gaps: [] },
  ];
  const query = dayEnds(EMPTY_CHAIN, { count: 8, seq: 8, head: "of 8" });
  let step = query.next();
  while (step.done !== true) {
    const { from } = step.value;
    step = query.next(pages.find((page) => page.from === from)!);
  }
  expect(step.value.map(({ day, lines, count, seq }) => ({ day, lines, count, seq }))).toEqual([
    { day: "20261125", lines: 0, count: 6, seq: 6 },
    { day: "20261126", lines: 2, count: 8, seq: 8 },
  ]);
});

test("after stop, the last event is signed, and nothing at all if there was no event", async () => {
  const harness = await AuditHarness.create();
  await harness.run([]);
  expect(harness.files().values().toArray().flat()).toEqual([]);
  await harness.run(["a"]);
  await harness.run([]);
  expect(harness.checkpoints().map((line) => fieldsOf(line).count)).toEqual([1, 2]);
  const { chain } = await harness.verify();
  expect(chain.proven!.lines).toBe(chain.lines);
});

test("a failure ends with the next checkpoint that is written, not with a time without one", async () => {
  const harness = await AuditHarness.create();
  await harness.run([]);
  mkdirSync(join(harness.logDir, "audit/checkpoints.jsonl"));
  await harness.run([]);
  expect(harness.lines).toEqual([
    expect.stringMatching(/checkpoint of the audit trail could not be written/),
  ]);
  const running = await harness.start();
  await vi.waitFor(() => expect(harness.lines).toHaveLength(2));
  rmdirSync(join(harness.logDir, "audit/checkpoints.jsonl"));
  await logEvents(running, ["a"]);
  await running.stop();
  expect(harness.lines[2]).toMatch(/Checkpoints are written again/);
});

test("a trail verifies over restarts and days, and after retention has deleted some of them", async () => {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  for (let day = 0; day < 6; day++) {
    setDay(day);
    const running = await harness.start({ retentionDays: 2 });
    await logEvents(running, ["a", "b", "c"].slice(0, 1 + (day % 3)));
    // Some days end while the gateway runs, others while it is stopped.
    if (day === 2) setDay(day + 0.9);
    await running.stop();
    expect((await harness.verify(harness.checkpoints())).findings).toEqual([]);
  }
  expect([...harness.files().keys()]).toEqual([
    "audit_20261127.jsonl",
    "audit_20261128.jsonl",
    "audit_20261129.jsonl",
  ]);
  const days = harness.checkpoints().map((line) => fieldsOf(line).day);
  // The 27th has the announcement of a checkpoint signed by a gateway that ran past midnight. Of each day that was over
  // at the last start one announcement remains; of the newest two, all.
  expect(days).toEqual([
    "20261124",
    "20261125",
    "20261126",
    "20261127",
    "20261127",
    "20261127",
    "20261128",
    "20261128",
    "20261129",
    "20261129",
  ]);
});

test("lines of a gateway with an in-memory journal are named, and the others verify", async () => {
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  const memory = await harness.start({ journal: { engine: "memory" } });
  await logEvents(memory, ["b", "c"]);
  await memory.stop();
  await harness.run(["d"]);
  const { findings, chain } = await harness.verify();
  expect(findings).toHaveLength(1);
  expect(findings[0]!.position).toMatch(/:3$/);
  expect(findings[0]!.text).toMatch(
    /^2 lines from here on have no seq and no hash: written by a gateway whose journal is in memory/,
  );
  expect(chain.lines).toBe(4);
});

test("the chain continues after a damaged journal is moved aside", async () => {
  const harness = await AuditHarness.create();
  await harness.run(["a", "b"]);
  damagePageOf(join(harness.logDir, "journal.db"), "meta");
  await harness.run(["c"]);
  expect(harness.lines.join("\n")).toMatch(/put aside/);
  const { findings, chain } = await harness.verify();
  expect([findings, chain.lines]).toEqual([[], 5]);
});

test("an incomplete last line is reported as such, not as tampering", async () => {
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  const [file] = harness.files().keys();
  const text = harness.read(file!);
  harness.write(file!, `${text}{"timestamp":"2026`);
  const { findings, incomplete } = await harness.verify();
  expect(findings).toEqual([]);
  expect(incomplete).toEqual({ file, line: 3, bytes: 18 });
});

test("a partial checkpoint left by a crash is dropped at the next start", async () => {
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  const complete = harness.read("checkpoints.jsonl");
  harness.write("checkpoints.jsonl", `${complete}${complete.slice(0, 100)}`);
  expect((await harness.verify()).findings).toEqual([]);
  await harness.run(["b"]);
  expect(harness.read("checkpoints.jsonl").startsWith(complete)).toBe(true);
  expect((await harness.verify()).findings).toEqual([]);
});

test("finds a checkpoint in an envelope, an audit line, and an OTLP export", async () => {
  const harness = await AuditHarness.create();
  const running = await harness.start();
  await logEvents(running, ["a"]);
  await running.stop();
  const [line] = harness.checkpoints();
  const batch = running.gateway.journal.readFrom(2)!;
  const envelope = Buffer.from(batch.bytes(0)).toString();
  const [record] = decodeOtlpProtobuf(batch.otlp());
  const details = record!.attributes.get("details") as Map<string, unknown>;
  const values = Array.from(details, ([key, value]) => ({
    key,
    value: typeof value === "string" ? { stringValue: value } : { intValue: String(value) },
  }));
  const attributes = [{ key: "details", value: { kvlistValue: { values } } }];
  const otlp = { resourceLogs: [{ scopeLogs: [{ logRecords: [{ attributes }] }] }] };
  for (const kept of [
    line!,
    envelope,
    Buffer.from(batch.auditLine(0)).toString(),
    JSON.stringify(otlp),
  ]) {
    const { external: found, findings } = await harness.verify([kept, '{"other":"signature"}']);
    expect([found.map(({ checkpoint }) => checkpointLine(checkpoint)), findings]).toEqual([
      [line],
      [],
    ]);
  }
});
