/** Holds docs/privacy.md to a real gateway: what it connects to, where records are, how they are deleted. */

import { randomBytes } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { parse } from "yaml";
import { MAIN, Program, requireProgram, runCli, skipTest } from "../harness/program.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/privacy.md");

async function userDirectory(files: Readonly<Record<string, string>> = {}): Promise<Workspace> {
  const workspace = await Workspace.create(files);
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace;
}

test("the gateway connects to nothing by itself", async () => {
  await requireProgram("strace", "strace");
  const { directory: cwd } = await userDirectory({
    "tailgate.yaml": "receivers: { otlp: { port: 0, grpc_port: 0 } }\n",
  });
  const trace = ["-D", "-f", "-qq", "-e", "trace=execve,connect,sendto", "-o", "trace.txt"];
  const command = [process.execPath, MAIN, "run", "--port", "0", "--log-dir", "logs"];
  await using gateway = new Program("strace", [...trace, ...command], { cwd });
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  await postMessages(url!, ["a"]);
  await postMessages(url!, ["b"], { logger: "orchestrator.audit" });
  for (const path of ["/", "/api/logs", "/api/stats", "/metrics"]) await fetch(`${url}${path}`);
  expect(await gateway.end()).toBe(0);
  const calls = (await readFile(join(cwd, "trace.txt"), "utf8")).split("\n");
  expect(calls[0]).toContain("execve(");
  expect(calls.filter((call) => call.includes("AF_INET"))).toEqual([]);
});

/** Names of XML namespaces, and addresses in error messages of React and of the client. */
const KNOWN_ADDRESSES = /^https?:\/\/(?:www\.w3\.org\/|react\.dev\/errors\/|127\.0\.0\.1$)/;

test("the dashboard's files contain no address that is loaded", async () => {
  const folder = repositoryPath("dist/dashboard");
  const names = (await readdir(folder, { recursive: true })).filter((name) =>
    /\.(?:html|js|css|svg)$/.test(name),
  );
  expect(names.length).toBeGreaterThan(2);
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  const addresses = texts.flatMap((text) => text.match(/https?:\/\/[\w.-]+\.[\w./-]*/g) ?? []);
  expect(addresses.filter((address) => !KNOWN_ADDRESSES.test(address))).toEqual([]);
  for (const policy of ["default-src 'none'", "connect-src 'self'"]) {
    expect(page.inlineCode).toContain(policy);
  }
});

test("the retention is that of the default configuration", async () => {
  const { directory: cwd } = await userDirectory({ "tailgate.yaml": "{}\n" });
  const { stdout } = await runCli(["validate"], { cwd });
  const { journal, exporters } = parse(stdout.slice(stdout.indexOf("\n"))) as {
    journal: Record<string, number>;
    exporters: Record<string, Record<string, number>>;
  };
  expect(journal).toMatchObject({
    system_days: 7,
    audit_days: 90,
    system_bytes: 2 ** 30,
    audit_bytes: 2 ** 30,
  });
  const { file, "audit-file": auditFile } = exporters;
  expect((file!["max_bytes"]! * (1 + file!["backups"]!)) / 2 ** 20).toBe(60);
  expect(auditFile!["retention_days"]).toBe(30);
  const retention = tableAfter(page, "Where data is, and for how long").map(([, , one]) => one);
  expect(retention.slice(0, 3)).toEqual([
    "system logs 7 days, audit events 90 days, each up to 1 GiB",
    "60 MiB; no limit by age",
    "30 days",
  ]);
});

/** System logs expire after a second, and retention is applied after a fraction of a megabyte. */
const EXPIRING = `
journal: { system_days: 0.00001, system_bytes: 1048576 }
receivers: { otlp: { port: null } }
`;

test("all system logs can be deleted without a trace, and the audit trail verifies", async () => {
  await using sqlite = new Program("bash", ["-c", "command -v sqlite3"], { cwd: "/" });
  if ((await sqlite.ended) !== 0) skipTest("sqlite3 is missing: npm run setup:docs");
  const workspace = await userDirectory();
  const key = `audit_key_file: ${workspace.path("keys/audit-key.pem")}\n`;
  const logs = ["--log-dir", workspace.path("logs")];
  {
    await using gateway = await GatewayProcess.start(key + EXPIRING, logs);
    await postMessages(gateway.url, ["deploy_done"], { logger: "orchestrator.audit" });
    await postMessages(gateway.url, ["from Jane Doe"]);
    expect(await filesWith(workspace, "Jane Doe")).not.toEqual([]);
    const found = await fetch(`${gateway.url}/api/logs?q=Jane`);
    expect(await found.text()).toContain("from Jane Doe");
    await vi.waitFor(
      async () => {
        // They also have to leave memory.
        for (let count = 0; count < 10; count++) {
          await postMessages(gateway.url, [randomBytes(1 << 17).toString("base64")]);
        }
        const left = await fetch(`${gateway.url}/api/logs?q=Jane`);
        expect(await left.text()).not.toContain("from Jane Doe");
      },
      { timeout: 90_000, interval: 200 },
    );
    await gateway.stop();
  }
  await Program.run("bash", ["-c", page.example("privacy-remove")], { cwd: workspace.directory });
  expect(await filesWith(workspace, "Jane Doe")).toEqual([]);
  await workspace.write("tailgate.yaml", `${key}receivers: { otlp: { port: null } }\n`);
  await using gateway = await GatewayProcess.start(key + EXPIRING, logs);
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(metrics).toMatch(/^tailgate_journal_damage 0$/m);
  await gateway.stop();
  const config = ["--config", workspace.path("tailgate.yaml")];
  const verified = await runCli(["audit", "verify", ...config, ...logs]);
  expect([verified.process.exitCode, verified.stderr]).toEqual([0, ""]);
});

/** The names of the files in the log directory that contain the text. */
async function filesWith(workspace: Workspace, text: string): Promise<string[]> {
  const root = workspace.path("logs");
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  const contents = await Promise.all(names.map((name) => readFile(name)));
  return names.filter((_, index) => contents[index]!.includes(text));
}
