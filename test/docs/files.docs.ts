/** Compares the page about files with the files of real gateways. */

import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile, rename, stat } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text as readText } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { postMessages } from "../harness/otlp.ts";
import { Program, runCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";
import { tableAfter } from "./table.ts";
import { startGateway, userDirectory } from "./user-directory.ts";

const page = await Document.read("docs/reference/files.md");

/** A collector that answers with this status, and what it was sent. */
async function openCollector(status: number): Promise<{ url: string; bodies: string[] }> {
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    bodies.push(await readText(request));
    response.writeHead(status, { "Content-Type": "application/json" }).end("{}");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

/** The files and folders below a directory, with their modes. */
async function modesIn(directory: string): Promise<Map<string, number>> {
  const names = await readdir(directory, { recursive: true });
  const entries = await Promise.all(
    names.map(async (name) => {
      const { mode } = await stat(`${directory}/${name}`);
      return [name, mode & 0o7777] as const;
    }),
  );
  return new Map(entries);
}

/** Returns the pattern of a name on the page. */
function patternOf(name: string): RegExp {
  const pattern = name
    .replaceAll(".", "\\.")
    .replace("YYYYMMDD", "\\d{8}")
    .replace(/\.N$/, ".\\d+")
    .replace("ID", "[\\w-]+")
    .replace("TIME", "\\w+");
  return new RegExp(`^${pattern}$`);
}

async function send(url: string, scopeLogs: object): Promise<void> {
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  expect(await response.json()).toEqual({});
}

/** These are there only after what this test does not do: damage, and the engine `memory`. */
const RARE = new Set(["journal.clock", "journal.db.damaged-TIME", "history.db.damaged-TIME"]);

test("the gateway writes the files of the page and no others, with the stated modes", async () => {
  const collector = await openCollector(400);
  const workspace = await userDirectory({
    "tailgate.yaml": `exporters:
  file: { max_bytes: 1000 }
  audit-file: {}
  otlp: { endpoint: "${collector.url}", quarantine_max_bytes: 2000 }
`,
  });
  const { program, url } = await startGateway(workspace);
  await postMessages(url, ["spawned"], { logger: "orchestrator.audit" });
  await postMessages(
    url,
    Array.from({ length: 20 }, (_, index) => `message ${index} ${"x".repeat(100)}`),
  );
  const logs = workspace.path("logs");
  await expect
    .poll(() => existsSync(`${logs}/quarantine/otlp.jsonl.1`), { timeout: 20_000 })
    .toBe(true);
  // So many commits are moved into blocks.
  for (let commit = 0; commit < 260; commit++) await postMessages(url, [`commit ${commit}`]);
  await expect.poll(() => existsSync(`${logs}/history.db-wal`), { timeout: 20_000 }).toBe(true);
  const running = await modesIn(logs);
  expect(await program.end()).toBe(0);
  const modes = new Map([...running, ...(await modesIn(logs))]);
  const stated = filesOfPage();
  for (const [name, mode] of modes) {
    const isFolder = name === "audit" || name === "quarantine";
    expect([name, mode]).toEqual([name, isFolder ? 0o700 : 0o600]);
    if (!isFolder) expect(stated.filter((one) => patternOf(one).test(name))).not.toEqual([]);
  }
  expect((await stat(logs)).mode & 0o7777).toBe(0o700);
  const unseen = stated.filter(
    (one) => ![...modes.keys()].some((name) => patternOf(one).test(name)),
  );
  expect(unseen.filter((name) => !RARE.has(name))).toEqual([]);
});

function filesOfPage(): string[] {
  return tableAfter(page, "Files").map(([cell]) => /`([^`]+)`/.exec(cell!)![1]!);
}

test("a dead-letter file can be sent again", async () => {
  const rejecting = await openCollector(400);
  const accepting = await openCollector(200);
  const workspace = await userDirectory({
    "tailgate.yaml": `exporters:\n  otlp: { endpoint: "${rejecting.url}" }\n`,
  });
  const { url } = await startGateway(workspace);
  await postMessages(url, ["first", 'second with "quotes"']);
  const file = workspace.path("logs/quarantine/otlp.jsonl");
  const lines = (): Promise<string[]> =>
    readFile(file, "utf8").then(
      (content) => content.trimEnd().split("\n"),
      () => [],
    );
  await expect.poll(lines, { timeout: 20_000 }).toHaveLength(2);
  const script = page.example("files-resend").replace("http://127.0.0.1:14318", accepting.url);
  await Program.run("bash", ["-c", script], { cwd: workspace.directory });
  const sent = accepting.bodies.map((body) => JSON.stringify(JSON.parse(body)));
  expect(sent).toEqual([
    expect.stringContaining('"first"'),
    expect.stringContaining('second with \\"quotes\\"'),
  ]);
});

test("lines are those that the page shows", async () => {
  const workspace = await userDirectory();
  const { program, url } = await startGateway(workspace);
  await send(url, [
    {
      scope: { name: "orchestrator.instance_manager" },
      logRecords: [
        {
          timeUnixNano: "1760347644339163000",
          severityNumber: 13,
          body: { stringValue: "High memory usage detected" },
          attributes: [{ key: "memory_mb", value: { intValue: 512 } }],
        },
      ],
    },
    {
      scope: { name: "orchestrator.audit" },
      logRecords: [
        {
          timeUnixNano: "1760347644350163000",
          body: { stringValue: "Instance abc-123 spawned" },
          attributes: [
            { key: "event_type", value: { stringValue: "instance_spawn" } },
            { key: "instance_id", value: { stringValue: "abc-123" } },
          ],
        },
      ],
    },
  ]);
  expect(await program.end()).toBe(0);
  const system = await readFile(workspace.path("logs/orchestrator.log"), "utf8");
  expect(system).toBe(page.example("files-system-log"));
  const names = await readdir(workspace.path("logs/audit"));
  const name = names.find((one) => one.startsWith("audit_"))!;
  const audit = await readFile(workspace.path(`logs/audit/${name}`), "utf8");
  const withoutHash = (line: string): string => line.replace(/"hash":"[0-9a-f]{64}"/, "");
  expect(withoutHash(audit.slice(0, audit.indexOf("\n") + 1))).toBe(
    withoutHash(page.example("files-audit-event")),
  );
});

test("the file is complete after kill -9, and created again after it was moved away", async () => {
  const workspace = await userDirectory();
  const first = await startGateway(workspace);
  const messages = Array.from({ length: 500 }, (_, index) => `message ${index}`);
  expect(await postMessages(first.url, messages)).toBe(200);
  await first.program[Symbol.asyncDispose]();
  const second = await startGateway(workspace);
  const path = workspace.path("logs/orchestrator.log");
  const found = async (): Promise<string[]> => {
    const lines = (await readFile(path, "utf8").catch(() => "")).split("\n").slice(0, -1);
    return lines.map((line) => (JSON.parse(line) as { message: string }).message);
  };
  await expect.poll(found, { timeout: 20_000 }).toEqual(messages);
  await rename(path, workspace.path("logs/moved.log"));
  await postMessages(second.url, ["after"]);
  await expect.poll(found, { timeout: 20_000 }).toEqual(["after"]);
});

test("names that belong to others are refused", async () => {
  const refused = [
    "audit",
    "quarantine",
    "journal.db",
    "orchestrator.log.1",
    "a/b",
    "x".repeat(65),
  ];
  for (const path of refused) {
    await using workspace = await Workspace.create({
      "tailgate.yaml": `exporters: { file: {}, file/other: { path: "${path}" } }\n`,
    });
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect([path, await cli.ended]).toEqual([path, 78]);
  }
});

test("the defaults are the stated ones", async () => {
  const { text } = await Document.read("docs/configuration.md");
  const defaults = {
    max_bytes: "10485760",
    backups: "5",
    retention_days: "30",
    quarantine_max_bytes: "67108864",
  };
  for (const [key, value] of Object.entries(defaults)) {
    expect(text).toMatch(new RegExp(`^\\| \`${key}\` \\| [^|]* \\| \`${value}\` \\|`, "m"));
  }
});
