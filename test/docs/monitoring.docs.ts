/** Runs what docs/operations/metrics.md and monitoring.md show. */

import { expect, test } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program } from "../harness/program.ts";
import { Document } from "./document.ts";

const metrics = await Document.read("docs/operations/metrics.md");

test("the command for all metrics of records works", async () => {
  await using gateway = await GatewayProcess.start();
  const command = metrics.example("scrape-metrics").replace("http://127.0.0.1:8001", gateway.url);
  const shown = await Program.run("bash", ["-c", command], { cwd: "/" });
  expect(shown).toContain('tailgate_records_accepted_total{component="intake",kind="intake"} 0\n');
});
