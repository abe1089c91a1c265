/** Lines that another program wrote before the chain began, and chained lines disguised as such. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AuditHarness, exitCodeOf, logEvents, freezeClock } from "../harness/audit-trail.ts";

/** Lines in the format of the Python system. */
function pythonLines(): string[] {
  return [
    '{"timestamp": "2025-10-13T09:27:24.350163", "level": "INFO", "event": "instance_spawn", "logger": "orchestrator.audit", "event_type": "instance_spawn", "instance_id": "abc-123", "details": {"role": "general"}}',
    '{"timestamp": "2025-10-13T09:27:25.350163", "level": "INFO", "event": "load", "logger": "orchestrator.audit", "value": NaN, "seq": 7, "hash": "none"}',
    "Traceback (most recent call last):",
    '{"timestamp": "2025-10-13T09:27:26.350163", "level": "INFO", "event": "half a li',
  ];
}

async function harnessWithLegacyLines(days: readonly string[]): Promise<AuditHarness> {
  const harness = await AuditHarness.create();
  mkdirSync(join(harness.logDir, "audit"), { recursive: true, mode: 0o700 });
  // The last line has no line feed because its program was killed.
  for (const day of days) harness.write(`audit_${day}.jsonl`, pythonLines().join("\n"));
  return harness;
}

test("are counted as legacy lines, and the following chain is verified on its own", async () => {
  freezeClock();
  const harness = await harnessWithLegacyLines(["20261122", "20261124"]);
  await harness.run(["a", "b"]);
  await harness.run(["c"]);
  const verification = await harness.verify();
  expect([verification.findings, exitCodeOf(verification)]).toEqual([[], 0]);
  expect(verification.chain.legacy).toMatchObject({
    first: { file: "audit_20261122.jsonl", line: 1 },
    last: { file: "audit_20261124.jsonl", line: 4 },
    lines: 8,
  });
  expect(verification.chain.lines).toBe(verification.chain.proven!.lines);
  const lines = harness.files().get("audit_20261124.jsonl")!;
  for (let at = 5; at <= lines.length; at++) {
    harness.writeFiles(
      new Map([["audit_20261124.jsonl", lines.toSpliced(at, 0, pythonLines()[0]!)]]),
    );
    expect((await harness.verify()).findings[0]!.position).toBe(`audit_20261124.jsonl:${at + 1}`);
  }
});

test("a file named by local date may contain events of the day before", async () => {
  const setDay = freezeClock();
  const harness = await harnessWithLegacyLines(["20261125"]);
  await harness.run(["a", "b"]);
  expect(
    [...harness.files().keys()].filter((name) => harness.files().get(name)!.length > 0),
  ).toEqual(["audit_20261125.jsonl"]);
  expect(exitCodeOf(await harness.verify())).toBe(0);
  for (const day of [1, 2]) {
    setDay(day);
    await harness.run(["c", "d"]);
    const { findings, unproven } = await harness.verify();
    expect([findings, unproven]).toEqual([[], undefined]);
  }
});

test("chained lines whose seals were removed do not count as legacy lines", async () => {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  for (let day = 0; day < 3; day++) {
    setDay(day);
    await harness.run(["a", "b"]);
  }
  const files = harness.files();
  const all = [...files].flatMap(([file, lines]) => lines.map((line) => ({ file, line })));
  for (let count = 1; count <= all.length; count++) {
    const stripped = new Map([...files.keys()].map((file) => [file, [] as string[]]));
    for (const [index, { file, line }] of all.entries()) {
      const bare = `${line.slice(0, line.lastIndexOf(',"seq":'))}}`;
      stripped.get(file)!.push(index < count ? bare.replace('"event":"', '"event":"not ') : line);
    }
    harness.writeFiles(stripped);
    expect([count, exitCodeOf(await harness.verify())]).toEqual([count, 1]);
  }
});

test("also in files whose predecessors were deleted by retention", async () => {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  for (const day of [0, 1, 2, 3]) {
    setDay(day);
    const running = await harness.start({ retentionDays: 1 });
    await logEvents(running, ["a", "b"]);
    await running.stop();
  }
  const files = harness.files();
  expect([...files.keys()]).toEqual(["audit_20261126.jsonl", "audit_20261127.jsonl"]);
  expect(exitCodeOf(await harness.verify())).toBe(0);
  const lines = files.get("audit_20261126.jsonl")!;
  for (let count = 1; count <= lines.length; count++) {
    const stripped = lines.map((line, index) =>
      index < count ? `${line.slice(0, line.lastIndexOf(',"seq":'))}}` : line,
    );
    harness.writeFiles(new Map([["audit_20261126.jsonl", stripped]]));
    expect([count, exitCodeOf(await harness.verify())]).toEqual([count, 1]);
  }
});
