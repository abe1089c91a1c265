/** Runs the examples of docs/guarantees.md, and holds its tables to what the gateway exposes. */

import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { KEYED_EVENTS_MAX } from "../../src/journal/journal.ts";
import { MAIN, Program } from "../harness/program.ts";
import { freePort } from "../peers/peer.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/guarantees.md");

const CONFIG =
  "receivers: { otlp: { port: 0, grpc_port: null } }\nexporters: { websocket: {}, audit-file: {} }\n";

test("an acknowledged event survives `kill -9`, once", async () => {
  const [port, otlpPort] = [await freePort(), await freePort()];
  await using workspace = await Workspace.create({ "tailgate.yaml": CONFIG });
  const script = page
    .example("guarantees-kill")
    .replaceAll(
      "node_modules/.bin/tailgate run",
      `'${process.execPath}' '${MAIN}' run --port ${port} --otlp-port ${otlpPort}`,
    )
    .replaceAll(":8001/", `:${port}/`)
    .replaceAll(":4318/", `:${otlpPort}/`);
  const shown = await Program.run("bash", ["-c", script], { cwd: workspace.directory });
  const [answer, ...stored] = shown.split("\n");
  expect(answer).toBe("{} 200");
  const { records } = JSON.parse(stored.join("\n")) as { records: object[] };
  expect(records).toMatchObject([
    {
      sequence: 1,
      type: "audit_log",
      data: { action: "instance_spawn", metadata: { "log.record.uid": "abc-123/spawn" } },
    },
  ]);
});

test("an audit event with a key is stored once, a system log each time", async () => {
  expect(page.text).toContain(`newest ${KEYED_EVENTS_MAX.toLocaleString("en")} keys`);
  await using gateway = await GatewayProcess.start(CONFIG);
  const otlpUrl = await gateway.endpoint("OTLP/HTTP");
  for (const name of ["orchestrator.audit", "orchestrator.server"]) {
    for (const time of ["1760347644339163000", "1760347645339163000"]) {
      await post(otlpUrl, name, time);
    }
  }
  const response = await fetch(`${gateway.url}/api/logs`);
  const { records } = (await response.json()) as { records: { type: string }[] };
  const types = records.map(({ type }) => type).toSorted();
  expect(types).toEqual(["audit_log", "system_log", "system_log"]);
});

async function post(otlpUrl: string, name: string, timeUnixNano: string): Promise<void> {
  const attributes = [{ key: "log.record.uid", value: { stringValue: "k1" } }];
  const logRecords = [{ timeUnixNano, body: { stringValue: "m" }, attributes }];
  const response = await fetch(`${otlpUrl}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ scope: { name }, logRecords }] }] }),
  });
  expect(response.status).toBe(200);
}

describe("the page names", () => {
  test("every reason of a gap", async () => {
    const protocol = await readFile(repositoryPath("src/wire/protocol.ts"), "utf8");
    const [, reasons = ""] = /readonly reason: ("retention"[^;]*);/.exec(protocol)!;
    const named = tableAfter(page, "3. Gaps are explicit").map(([reason]) => reason);
    expect(named).toEqual(reasons.split(" | ").map((reason) => `\`${reason.slice(1, -1)}\``));
  });

  test("metrics and reasons that exist", async () => {
    await using gateway = await GatewayProcess.start(CONFIG);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    const named = Array.from(page.text.matchAll(/`(tailgate_\w+)/g), ([, name]) => name!);
    expect(named.filter((name) => !metrics.includes(`\n# TYPE ${name} `))).toEqual([]);
    const [, systemLogs] = tableAfter(page, "4. Audit events are never dropped silently")
      .map((row) => row.join())
      .filter((row) => row.includes("ounted as"));
    const reasons = Array.from(`${systemLogs}`.matchAll(/`(journal_\w+)`/g), ([, one]) => one!);
    expect(reasons).toHaveLength(3);
    expect(
      [...reasons, "intake_full"].filter((one) => !metrics.includes(`reason="${one}"`)),
    ).toEqual([]);
  });

  test("the scale of the tests", async () => {
    const manifest = await readFile(repositoryPath("package.json"), "utf8");
    const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> };
    expect(scripts["test:crash"]).toContain("CRASH_MOMENTS=200");
    expect(scripts["test:resume"]).toContain("RESUME_CUTS=1000");
    expect(scripts["test:reload"]).toContain("RELOADS=200");
    const rows = tableAfter(page, "How they are tested");
    expect(rows.map(([command]) => command)).toEqual([
      "`npm run test:crash`",
      "`npm run test:resume`",
      "`npm run test:reload`",
      "`npm run fuzz`",
      "`npm run soak -- --minutes 20`",
    ]);
  });
});
