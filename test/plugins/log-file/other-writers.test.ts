/** Other processes that have a log file open. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { batchOf, testHost, type TestHost } from "tailgate/testing";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import auditFile from "../../../plugins/audit-file.ts";
import file from "../../../plugins/file.ts";
import type { Exporter, ExporterDefinition, LogRecord } from "tailgate/plugin";
import { AUDIT, nameOf, NEVER } from "../../harness/log-exporters.ts";

const CASES: readonly [ExporterDefinition, string, Partial<LogRecord>][] = [
  [file, "orchestrator.log", {}],
  [auditFile, `audit/${nameOf(Date.now())}`, { scope: AUDIT }],
];

async function newHost(id: string): Promise<TestHost> {
  const host = await testHost(id);
  onTestFinished(() => host.close());
  return host;
}

async function opened(definition: ExporterDefinition, host: TestHost): Promise<Exporter> {
  const exporter = await definition.open(definition.options.parse({}), host);
  onTestFinished(() => exporter.close?.(NEVER));
  return exporter;
}

/** Opens the file, reports that, and waits until it is ended. */
async function holder(mode: "append" | "read", path: string): Promise<ChildProcess> {
  const open = mode === "append" ? '3>>"$0"' : '3<"$0"';
  const script = `exec ${open}; echo here >&2; [ ${mode} = read ] || echo from elsewhere >&3; echo ready; exec sleep 60`;
  const child = spawn("sh", ["-c", script, path], { stdio: ["ignore", "pipe", "ignore"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

describe.runIf(process.platform === "linux").each(CASES)(
  "the exporter $name",
  (definition, name, record) => {
    test("warns at startup about processes that write the file, not about readers", async () => {
      const host = await newHost(definition.name);
      const path = join(host.logDir, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, "");
      await holder("read", path);
      const writer = await holder("append", path);
      const exporter = await opened(definition, host);
      await exporter.write(batchOf([record]), NEVER);
      const warning = `WARNING - Process ${writer.pid} (sleep 60) also has ${path} open for writing.`;
      await vi.waitFor(
        () => expect(host.lines).toEqual([expect.stringContaining(warning)]),
        10_000,
      );
    });

    test("warns about one that starts writing later", async () => {
      const host = await newHost(definition.name);
      const path = join(host.logDir, name);
      const exporter = await opened(definition, host);
      await exporter.write(batchOf([record]), NEVER);
      const writer = await holder("append", path);
      await exporter.write(batchOf([record], { firstSequence: 2 }), NEVER);
      const warning = `Process ${writer.pid} `;
      await vi.waitFor(
        () => expect(host.lines).toEqual([expect.stringContaining(warning)]),
        10_000,
      );
    });
  },
);
