/** Runs the procedures of docs/operations/backup-and-restore.md, under load. */

import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, readFile, rename, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { expect, onTestFinished, test, vi } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { MAIN, Program, requireProgram, runCli } from "../harness/program.ts";
import { Sender } from "../harness/sender.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/operations/backup-and-restore.md");
const readme = await Document.read("examples/backup/README.md");

const LOGGERS = ["orchestrator.one", "orchestrator.two", "orchestrator.audit"];

interface LoadedGateway extends AsyncDisposable {
  readonly gateway: GatewayProcess;
  readonly senders: readonly Sender[];
  /** What was acknowledged so far. */
  acknowledged(): string[];
}

/** Starts a gateway on free ports to which several senders send as fast as they can. */
async function gatewayUnderLoad(): Promise<LoadedGateway> {
  const gateway = await GatewayProcess.start("", ["--otlp-port", "0"]);
  // With the end of the first run the audit trail is signed.
  await postMessages(gateway.url, ["signed"], { logger: "orchestrator.audit" });
  await gateway.stop();
  await gateway.restart();
  const senders = LOGGERS.map((logger) => new Sender(gateway, logger));
  // A gateway that stops answers 503.
  const running = senders.map((sender) => sender.run().catch(() => {}));
  const acknowledged = (): string[] =>
    senders.flatMap(({ answered }, index) => answered.map((text) => `${LOGGERS[index]} ${text}`));
  await vi.waitFor(() => expect(acknowledged().length).toBeGreaterThan(3_000), 30_000);
  return {
    gateway,
    senders,
    acknowledged,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await Promise.all(running);
    },
  };
}

interface LogsPage {
  readonly records: readonly {
    readonly data: { readonly logger: string; readonly message: string };
  }[];
  readonly gaps: readonly { readonly from: number; readonly to: number; readonly reason: string }[];
  readonly next_cursor: string | null;
}

/** Reads all records of a gateway, as `LOGGER MESSAGE`, and the gaps. */
async function storedIn(url: string): Promise<{ records: string[]; gaps: LogsPage["gaps"] }> {
  const records: string[] = [];
  const gaps: LogsPage["gaps"][number][] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const response = await fetch(
      `${url}/api/logs?order=asc&limit=1000${cursor && `&cursor=${cursor}`}`,
    );
    const logs = (await response.json()) as LogsPage;
    records.push(...logs.records.map(({ data }) => `${data.logger} ${data.message}`));
    gaps.push(...logs.gaps);
    cursor = logs.next_cursor;
  }
  return { records, gaps };
}

/** Checks that the records contain all the others, each once. */
function expectAllOnce(records: readonly string[], expected: readonly string[]): void {
  const counts = new Map<string, number>();
  for (const record of records) counts.set(record, (counts.get(record) ?? 0) + 1);
  expect(expected.filter((record) => counts.get(record) !== 1)).toEqual([]);
}

async function workspace(): Promise<Workspace> {
  const created = await Workspace.create();
  onTestFinished(() => created[Symbol.asyncDispose]());
  return created;
}

function shell(command: string, cwd: string): Promise<string> {
  return Program.run("bash", ["-ec", command], { cwd });
}

/** Runs the check of the page on a backup, in a directory with `./backup`. Returns the records in it. */
async function checkedRecords(directory: Workspace): Promise<string[]> {
  const [copying, opening] = page.example("backup-open").trim().split("\n");
  await shell(copying!, directory.directory);
  const args = opening!
    .replace("npx tailgate ", "")
    .replace("examples/", repositoryPath("examples/"))
    .replace("8101", "0")
    .split(" ");
  await using gateway = new Program(process.execPath, [MAIN, ...args], {
    cwd: directory.directory,
  });
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  const command = page.example("backup-check").replaceAll("http://127.0.0.1:8101", url!);
  const [damage, newest] = (await shell(command, directory.directory)).split("\n");
  expect(damage).toBe(page.command("tailgate_journal_damage 0"));
  expect(newest).toContain('"records":[{"sequence":');
  const { records, gaps } = await storedIn(url!);
  expect(gaps).toEqual([]);
  expect(await gateway.end()).toBe(0);
  return records;
}

async function verify(directory: Workspace): Promise<void> {
  const args = page.example("backup-verify").trim().replace("npx tailgate ", "").split(" ");
  const verified = await runCli(args, { cwd: directory.directory });
  expect(verified.stderr).toBe("");
  expect(await verified.ended).toBe(0);
}

test("a copy of a stopped gateway has all acknowledged records, and can be restored", async () => {
  const directory = await workspace();
  await using loaded = await gatewayUnderLoad();
  const { gateway } = loaded;
  await gateway.stop();
  await rename(gateway.logDir, directory.path("logs"));
  const acknowledged = loaded.acknowledged();
  await shell(page.example("backup-stopped"), directory.directory);
  expectAllOnce(await checkedRecords(directory), acknowledged);
  await verify(directory);

  await shell(page.example("backup-restore"), directory.directory);
  const flags = ["--otlp-port", "0", "--log-dir", directory.path("logs")];
  await using restored = await GatewayProcess.start("", flags);
  const { records, gaps } = await storedIn(restored.url);
  expectAllOnce(records, acknowledged);
  expect(gaps).toEqual([]);
  expect(restored.stderr).not.toMatch(/damaged|incomplete/);
});

test("a copy of a running gateway has what was acknowledged before, and nothing is lost by it", async () => {
  const directory = await workspace();
  await using loaded = await gatewayUnderLoad();
  const script = await readFile(repositoryPath("examples/backup/backup.sh"), "utf8");
  expect(script).toContain(page.example("backup-live"));
  expect(await readFile(repositoryPath("examples/backup/check.yaml"), "utf8")).toBe(
    page.example("config-check-backup"),
  );
  const { gateway } = loaded;
  const before = loaded.acknowledged();
  const command = readme
    .example("backup-run")
    .replace("examples/", repositoryPath("examples/"))
    .replace(":8001", `:${gateway.port}`)
    .replace("./logs", gateway.logDir);
  await shell(command, directory.directory);
  // The senders have waited, and go on.
  const count = loaded.acknowledged().length;
  await vi.waitFor(() => expect(loaded.acknowledged().length).toBeGreaterThan(count + 500), 30_000);
  expectAllOnce(await checkedRecords(directory), before);
  await verify(directory);
  await gateway.stop();
  await gateway.restart();
  expectAllOnce((await storedIn(gateway.url)).records, loaded.acknowledged());
});

test("journal.db alone lacks acknowledged records, and the gateway says so", async () => {
  const directory = await workspace();
  await using loaded = await gatewayUnderLoad();
  const { gateway } = loaded;
  const before = loaded.acknowledged();
  for (const [name, files] of [
    ["alone", ["journal.db"]],
    ["marked", ["journal.db", "journal.mark"]],
  ] as const) {
    await mkdir(directory.path(name), { mode: 0o700 });
    for (const file of files) {
      await copyFile(`${gateway.logDir}/${file}`, directory.path(`${name}/${file}`));
    }
  }
  await gateway.kill();
  await using alone = await GatewayProcess.start("", [
    "--otlp-port",
    "0",
    "--log-dir",
    directory.path("alone"),
  ]);
  const { records } = await storedIn(alone.url);
  const there = new Set(records);
  expect(before.filter((record) => !there.has(record)).length).toBeGreaterThan(0);
  expect(alone.stderr).toContain(
    "journal.db has neither journal.db-wal nor journal.mark beside it",
  );
  const stats = await (await fetch(`${alone.url}/api/stats`)).text();
  expect(stats).toContain('"damage":[{');
  const metrics = await (await fetch(`${alone.url}/metrics`)).text();
  expect(metrics).toMatch(/^tailgate_journal_damage [1-9]/m);
  await using marked = await GatewayProcess.start("", [
    "--otlp-port",
    "0",
    "--log-dir",
    directory.path("marked"),
  ]);
  expect(marked.stderr).toMatch(
    /The journal is incomplete: the records \d+ to \d+ were durable and are missing/,
  );
  expect((await storedIn(marked.url)).gaps).toMatchObject([{ reason: "damaged" }]);
});

test("the journal of a running gateway cannot be copied with sqlite3", async () => {
  await requireProgram("sqlite3", "sqlite3");
  await using gateway = await GatewayProcess.start("", ["--otlp-port", "0"]);
  const database = `${gateway.logDir}/journal.db`;
  const run = promisify(execFile);
  for (const command of [".backup copy.db", "VACUUM INTO 'copy.db'"]) {
    await expect(run("sqlite3", [database, command], { cwd: gateway.logDir })).rejects.toThrow(
      "database is locked",
    );
  }
});

test("the audit files without the journal are continued", async () => {
  const directory = await workspace();
  await using loaded = await gatewayUnderLoad();
  await loaded.gateway.stop();
  await mkdir(directory.path("logs"), { mode: 0o700 });
  await cp(`${loaded.gateway.logDir}/audit`, directory.path("logs/audit"), { recursive: true });
  await rm(loaded.gateway.logDir, { recursive: true });
  const flags = ["--otlp-port", "0", "--log-dir", directory.path("logs")];
  {
    await using continued = await GatewayProcess.start("", flags);
    expect(await postMessages(continued.url, ["next"], { logger: "orchestrator.audit" })).toBe(200);
    await continued.stop();
  }
  const verified = await runCli(["audit", "verify", "--log-dir", directory.path("logs")]);
  expect(await verified.ended).toBe(0);
});
