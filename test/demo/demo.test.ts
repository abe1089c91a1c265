import { readFile, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { LEVELS } from "../../src/wire/envelope.ts";
import { Dashboard } from "../harness/dashboard.ts";
import { View } from "../dashboard/browser.ts";
import { TracePeer } from "../plugins/spans/trace-peer.ts";
import { Program } from "../harness/program.ts";
import type { DemoEvent } from "./demo-event.ts";
import { orchestrator } from "./orchestrator.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const EVENT_TYPES = [
  ...["instance_spawn", "instance_terminate", "instance_suspended", "instance_resumed"],
  ...["instance_reconnected", "instance_recovered", "manager_daemon_failure", "state_change"],
  ...["message_exchange", "message_sent", "message_received", "error", "timeout"],
];

function beginning(seed: number, minutes: number): DemoEvent[] {
  const all: DemoEvent[] = [];
  for (const event of orchestrator(seed)) {
    if (event.atMs > minutes * 60_000) return all;
    all.push(event);
  }
  return all;
}

test.for([1, 2, 3])(
  "the orchestrator shows every feature within three minutes, seed %i",
  (seed) => {
    const all = beginning(seed, 3);
    const types = new Set(all.map(({ fields }) => fields["event_type"]));
    expect([...types]).toEqual(expect.arrayContaining(EVENT_TYPES));
    const systemLogs = all.filter(({ fields }) => fields["event_type"] === undefined);
    expect(new Set(systemLogs.map(({ level }) => level))).toEqual(new Set(LEVELS));
    expect(all.some(({ error }) => error)).toBe(true);
    expect(all.map(({ atMs }) => atMs)).toEqual(
      all.map(({ atMs }) => atMs).toSorted((one, other) => one - other),
    );
    expect(beginning(seed, 1)).toEqual(all.filter(({ atMs }) => atMs <= 60_000));
  },
);

test("npm run demo shows it live, and exits cleanly at Ctrl-C without leftovers", async () => {
  const before = await demoDirectories();
  const { scripts } = JSON.parse(await readFile(`${ROOT}/package.json`, "utf8"));
  await using traces = await TracePeer.open();
  const args = ["-c", `${scripts.demo} --port=0 --traces-to=${traces.url}`];
  await using program = new Program("/bin/sh", args, { cwd: ROOT });
  const [, url] = await program.untilStderr(/Watch it at (http:\S+)/);
  {
    await using dashboard = new Dashboard(await View.open(url!));
    const { page } = dashboard;
    await page.waitForSelector("[data-type=audit_log] .row ::-p-text(instance_spawn)");
    await page.waitForSelector("[data-type=system_log] .row ::-p-text(Orchestrator started)");
  }
  program.process.kill("SIGINT");
  expect(await program.ended).toBe(0);
  // Active instances are then closed.
  const lives = traces.spans.filter(({ parentSpanId }) => parentSpanId === "");
  expect(lives.length).toBeGreaterThan(0);
  expect((await demoDirectories()).filter((name) => !before.includes(name))).toEqual([]);
});

async function demoDirectories(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith("tailgate-demo-"));
}
