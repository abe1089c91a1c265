/** A real Collector keeps the checkpoints of a gateway's audit trail, as docs/audit-trail.md shows. */

import { rm } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { readFile } from "node:fs/promises";
import { Document } from "../docs/document.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { runCli } from "../harness/program.ts";
import { postMessages } from "../harness/otlp.ts";
import { Workspace } from "../harness/workspace.ts";
import { TestCollector } from "./test-collector.ts";

const page = await Document.read("docs/audit-trail.md");

test("detects a trail that was rewritten with the gateway's own key", async () => {
  await using collector = await TestCollector.create((port) =>
    page.example("audit-collector").replace("14318", String(port)),
  );
  await collector.start();
  await using workspace = await Workspace.create();
  const config = (exporters: string): string => `
log_dir: ${workspace.path("logs")}
audit_key_file: ${workspace.path("keys/audit-key.pem")}
receivers: { otlp: { port: null } }
exporters: { audit-file: {}${exporters} }
`;
  const record = async (events: readonly string[], exporters = ""): Promise<void> => {
    await using gateway = await GatewayProcess.start(config(exporters), [
      "--log-dir",
      workspace.path("logs"),
    ]);
    await postMessages(gateway.url, events, { logger: "orchestrator.audit" });
    await gateway.stop();
  };
  await record(["deploy_requested", "deploy_rejected"], `, otlp: { endpoint: "${collector.url}" }`);
  const kept = collector.workspace.path("kept.jsonl");
  await vi.waitFor(async () => expect(await readFile(kept, "utf8")).toContain("signature"), 15_000);

  await workspace.write("tailgate.yaml", config(""));
  const verify = ["audit", "verify", "--config", workspace.path("tailgate.yaml")];
  expect((await runCli([...verify, "--checkpoint", kept])).process.exitCode).toBe(0);

  await rm(workspace.path("logs"), { recursive: true });
  await record(["deploy_requested"]);
  expect((await runCli(verify)).process.exitCode).toBe(0);
  const { process, stderr } = await runCli([...verify, "--checkpoint", kept]);
  expect([process.exitCode, stderr]).toEqual([1, expect.stringContaining("(kept.jsonl:")]);
});
