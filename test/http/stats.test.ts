import { createRequire } from "node:module";
import { expect, test, vi } from "vitest";
import { WriteLock } from "../../src/journal/side-files.ts";
import type { LogRecord } from "tailgate/plugin";
import { JournalDirectory } from "../journal/journal-directory.ts";
import { ask, HttpHarness } from "../harness/http-server.ts";

async function statsOf(harness: HttpHarness) {
  const { status, body } = await ask(`${harness.url}/api/stats`);
  expect(status).toBe(200);
  return JSON.parse(body);
}

function scope(name: string): LogRecord["scope"] {
  return { name, version: "", attributes: new Map() };
}

test("stats report the version, the journal, the components and the memory", async () => {
  const harness = new HttpHarness();
  Object.assign(harness.component({ id: "intake", kind: "intake" }), { received: 4, sent: 4 });
  const file = harness.component({
    queueBytes: 10,
    queueRecords: 1,
    lagMs: 1500,
    retries: 3,
    lastError: "disk full",
  });
  Object.assign(file, { received: 4, sent: 2, failed: 1 });
  file.drop("queue_full", 1);
  await harness.open();
  const spawn = new Map([["event_type", "instance_spawn"]]);
  await harness.log(
    { severityText: "ERROR" },
    { scope: scope("orchestrator.tmux") },
    {},
    { scope: scope("orchestrator.audit"), attributes: spawn },
    { scope: scope("orchestrator.audit"), attributes: spawn },
    { scope: scope("orchestrator.audit") },
  );
  const require = createRequire(import.meta.url);
  expect(await statsOf(harness)).toEqual({
    version: require("../../package.json").version,
    started_at: new Date(harness.view.startedAtMs).toISOString(),
    uptime_seconds: expect.any(Number),
    journal: { epoch: harness.journal.epoch, oldest: 1, newest: 6 },
    trace_url: null,
    audit: null,
    components: [
      {
        id: "intake",
        kind: "intake",
        trouble: null,
        received: 4,
        filtered: 0,
        accepted: 4,
        failed: 0,
        dropped: {},
        queue_bytes: 0,
        queue_records: 0,
        lag_seconds: 0,
      },
      {
        id: "file",
        kind: "exporter",
        trouble: "disk full",
        received: 4,
        filtered: 0,
        sent: 2,
        failed: 1,
        dropped: { queue_full: 1 },
        queue_bytes: 10,
        queue_records: 1,
        lag_seconds: 1.5,
        durable: true,
        retries: 3,
      },
    ],
    tail: {
      from: 1,
      to: 6,
      types: { system_log: 3, audit_log: 3 },
      levels: { DEBUG: 0, INFO: 5, WARNING: 0, ERROR: 1, CRITICAL: 0 },
      loggers: [
        { name: "orchestrator.audit", count: 3 },
        { name: "orchestrator.server", count: 2 },
        { name: "orchestrator.tmux", count: 1 },
      ],
      actions: [{ name: "instance_spawn", count: 2 }],
    },
  });
});

test("stats of an empty gateway are zeros, and at most 20 loggers are listed", async () => {
  const harness = await new HttpHarness().open();
  const { tail } = await statsOf(harness);
  expect(tail).toMatchObject({
    from: null,
    to: null,
    types: { system_log: 0, audit_log: 0 },
    loggers: [],
  });
  await harness.log(
    ...Array.from({ length: 30 }, (_, index) => ({ scope: scope(`logger${index}`) })),
  );
  await vi.waitFor(async () => expect((await statsOf(harness)).tail.to).toBe(30), {
    timeout: 5000,
  });
  expect((await statsOf(harness)).tail.loggers).toHaveLength(20);
});

test("stats count records that arrived after ones the disk rejected", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open();
  const harness = await new HttpHarness({ journal }).open();
  await harness.log({}, {});
  await directory.worker.terminate();
  const lock = new WriteLock(directory.path);
  await expect(harness.log({}, {})).rejects.toMatchObject({ code: "JOURNAL_REFUSED" });
  lock.release();
  await harness.log({}, {}, {});
  expect((await statsOf(harness)).tail).toMatchObject({ from: 1, to: 7, types: { system_log: 5 } });
});

test("stats tell how far records were moved to the history", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open();
  const harness = await new HttpHarness({ journal }).open();
  await harness.log({}, {}, {});
  await journal.merge();
  expect((await statsOf(harness)).journal.merge).toEqual({
    merged: 3,
    waiting: 0,
    running: false,
    unindexed: 0,
    error: null,
  });
});

test("stats are computed at most once a second, however many requests arrive", async () => {
  const harness = await new HttpHarness().open();
  const startedAtMs = performance.now();
  const answers = new Set<string>();
  for (let request = 0; request < 20; request++) {
    await harness.log({});
    answers.add(JSON.stringify(await statsOf(harness)));
  }
  const seconds = (performance.now() - startedAtMs) / 1000;
  expect(answers.size).toBeLessThanOrEqual(1 + seconds);
});
