/** Runs what docs/operations/retention-and-sizing.md shows, and checks its tables. */

import { stat } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { denseText } from "../harness/dense-text.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program } from "../harness/program.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/operations/retention-and-sizing.md");

const GIB = 2 ** 30;
const UNITS = { minutes: 60, hours: 3_600, days: 86_400 } as const;

test("the table of how long 1 GiB lasts is right", () => {
  const rows = Array.from(
    page.text.matchAll(
      /^\| (?<rate>[\d,]+) \| (?<single>[\d.]+ (?:minutes|hours|days)) \| (?<batched>[\d.]+ (?:minutes|hours|days)) \|$/gm,
    ),
    ({ groups }) => groups!,
  );
  expect(rows).toHaveLength(4);
  for (const { rate, single, batched } of rows) {
    const perSecond = Number(rate!.replace(",", ""));
    expectDuration(single!, GIB / (perSecond * 500));
    expectDuration(batched!, GIB / (perSecond * 100));
  }
});

/** Allows for rounding. */
function expectDuration(text: string, seconds: number): void {
  const [count, unit] = text.split(" ");
  const shown = Number(count) * UNITS[unit as keyof typeof UNITS];
  expect([text, Math.abs(shown / seconds - 1) < 0.05]).toEqual([text, true]);
}

test("the command that measures the journal works", async () => {
  await using gateway = await GatewayProcess.start("", ["--otlp-port", "0"]);
  await postMessages(gateway.url, ["one", "two"]);
  const command = page.example("measure-journal").replace("http://127.0.0.1:8001", gateway.url);
  const shown = await Program.run("bash", ["-c", command], { cwd: "/" });
  expect(shown).toMatch(/^tailgate_journal_newest_sequence 2\ntailgate_journal_bytes \d+\n$/);
});

test("the command that shows the oldest record works", async () => {
  await using gateway = await GatewayProcess.start("", ["--otlp-port", "0"]);
  await postMessages(gateway.url, ["one", "two"]);
  const command = page.example("retention-oldest").replace("http://127.0.0.1:8001", gateway.url);
  const shown = await Program.run("bash", ["-c", command], { cwd: "/" });
  expect(shown).toMatch(/"records":\[\{"sequence":1,.*"message":"one"/);
  expect(shown).not.toContain("two");
});

test("system logs expire by size, clients see a gap, and audit events stay", async () => {
  const config = "journal: { system_bytes: 1048576 }\n";
  await using gateway = await GatewayProcess.start(config, ["--otlp-port", "0"]);
  await postMessages(gateway.url, ["kept"], { logger: "orchestrator.audit" });
  await postMessages(gateway.url, ["first"]);
  // Retention is applied after an eighth of the limit.
  await vi.waitFor(async () => {
    await postMessages(gateway.url, [denseText(400_000)]);
    const response = await fetch(`${gateway.url}/api/logs?order=asc&type=system&limit=1`);
    const { gaps } = (await response.json()) as { gaps: unknown[] };
    expect(gaps).toMatchObject([{ from: 1, type: "system_log", reason: "retention" }]);
  }, 30_000);
  const audit = await (await fetch(`${gateway.url}/api/logs?type=audit&q=kept`)).text();
  expect(audit).toContain('"message":"kept"');
  const { size } = await stat(`${gateway.logDir}/journal.db`);
  expect(size).toBeLessThan(8 << 20);
});

test("the disk reserve has the stated size", async () => {
  await using gateway = await GatewayProcess.start("", ["--otlp-port", "0"]);
  expect((await stat(`${gateway.logDir}/journal.reserve`)).size).toBe(6 << 20);
});
