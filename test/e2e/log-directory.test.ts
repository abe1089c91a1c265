/** What the gateway reports about its log directory, and what it does when the directory is removed or moved. */

import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { restoreLogDir, volatileNotice } from "../../src/runtime/log-dir.ts";
import { startCli } from "../harness/program.ts";
import { RestartedGateway } from "../harness/restarted-gateway.ts";

async function metricsOf({ url }: RestartedGateway): Promise<(name: string) => number | undefined> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const values = new Map(text.split("\n").map((line) => line.split(" ") as [string, string]));
  return (name) => (values.has(name) ? Number(values.get(name)) : undefined);
}

test.each(["sqlite", "memory"] as const)(
  "/metrics shows the journal and its disk with the engine %s",
  async (engine) => {
    await using gateway = await RestartedGateway.create();
    await gateway.start(engine);
    expect((await metricsOf(gateway))("tailgate_journal_oldest_sequence")).toBe(1);
    await gateway.send(["one", "two", "three"]);
    const first = await metricsOf(gateway);
    expect(first("tailgate_journal_oldest_sequence")).toBe(1);
    expect(first("tailgate_journal_bytes")).toBeGreaterThan(0);
    expect(first("tailgate_disk_free_bytes")).toBeGreaterThan(1e6);
    expect(first("process_open_fds")).toBeGreaterThan(10);
    expect(
      first('tailgate_records_dropped_total{component="intake",kind="intake",reason="overloaded"}'),
    ).toBe(0);
    await gateway.end();
    if (engine === "memory") return;
    await gateway.start(engine);
    await gateway.send(["four"]);
    const second = await metricsOf(gateway);
    expect(second("tailgate_journal_oldest_sequence")).toBe(1);
    expect(second("tailgate_journal_newest_sequence")).toBe(4);
    await gateway.kill();
  },
);

test("a log directory in a directory that nothing can be created in is an error", () => {
  // As in the volume of a container that was removed: the parent exists, and creating in it fails with ENOENT.
  expect(() => restoreLogDir("/proc/self/tailgate/logs")).toThrow(/cannot be created \(ENOENT/);
});

const AUDIT = "orchestrator.audit";

/** Returns the messages except the gateway's own events. */
async function messagesOf(gateway: RestartedGateway): Promise<string[]> {
  const { records } = await gateway.getJson<{ records: { data: { message: string } }[] }>(
    "/api/logs?order=asc&limit=1000",
  );
  const messages = records.map(({ data }) => data.message);
  const own = /^(audit_checkpoint|journal_damaged|1 system log was lost before this line\.)$/;
  return messages.filter((message) => !own.test(message));
}

async function readiness({ url }: RestartedGateway): Promise<[number, string | null]> {
  const response = await fetch(`${url}/readyz`);
  return [response.status, ((await response.json()) as { reason: string | null }).reason];
}

/** Sends one request per message and expects status 200. */
async function sendEach(gateway: RestartedGateway, messages: readonly string[]): Promise<void> {
  for (const message of messages)
    await gateway.send([message], message.startsWith("audit") ? AUDIT : undefined);
}

function expectInFiles(gateway: RestartedGateway, messages: readonly string[]): void {
  const isAudit = (message: string): boolean => message.startsWith("audit");
  const system = readFileSync(gateway.path("orchestrator.log"), "utf8");
  for (const message of messages) {
    if (isAudit(message)) expect(gateway.audit()).toContain(message);
    else expect(system).toContain(`"message":"${message}"`);
  }
}

/** Synchronously, because the gateway recreates it at once. */
function remove(path: string): void {
  renameSync(path, `${path}-removed`);
  rmSync(`${path}-removed`, { recursive: true });
}

/** Synchronously, before the gateway can recreate it. */
function replaceByFile(path: string): void {
  renameSync(path, `${path}-away`);
  writeFileSync(path, "in the way");
}

describe("a log directory that disappears at run time", () => {
  const before = ["one", "audit two", "three"];
  const after = ["four", "audit five", "six", "audit seven"];

  test.each([
    ["removed", remove],
    ["moved away", (path: string) => renameSync(path, `${path}-away`)],
    ["left without journal.db", (path: string) => rmSync(`${path}/journal.db`)],
  ])("%s: records acknowledged afterwards are stored, even after kill -9", async (_, takeAway) => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    await sendEach(gateway, before);
    takeAway(gateway.path("").slice(0, -1));
    await sendEach(gateway, after);
    await gateway.untilStderr(
      /The journal's files were deleted or moved away while the gateway ran\./,
    );
    expect(await readiness(gateway)).toEqual([200, null]);
    // The previous ones are in memory.
    expect(await messagesOf(gateway)).toEqual([...before, ...after]);
    await vi.waitFor(() => expectInFiles(gateway, after), 10_000);
    const { journal } = await gateway.getJson<{ journal: { damage: object[] } }>("/api/stats");
    expect(journal.damage).toMatchObject([{ lost: { from: 1, to: 3 } }]);
    await gateway.kill();
    await gateway.start();
    expect(await messagesOf(gateway)).toEqual(after);
    const { gaps } = await gateway.getJson<{ gaps: object[] }>("/api/logs?order=asc");
    expect(gaps).toMatchObject([{ from: 1, to: 3, reason: "damaged" }]);
    await gateway.kill();
  });

  test("before its first audit event: the audit file is created for it", async () => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    remove(gateway.path("").slice(0, -1));
    await sendEach(gateway, ["audit one"]);
    await vi.waitFor(() => expect(gateway.audit()).toContain("audit one"), 10_000);
    await gateway.kill();
  });

  test("loses nothing if single files disappear that the gateway can recreate", async () => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    const sent = [...before];
    await sendEach(gateway, before);
    for (const name of ["db-wal", "lock", "mark", "reserve", "lock", "db-wal"]) {
      rmSync(gateway.path(`journal.${name}`));
      const message = `audit without journal.${name}`;
      await sendEach(gateway, [message]);
      sent.push(message);
    }
    await gateway.kill();
    await gateway.start();
    expect(await messagesOf(gateway)).toEqual(sent);
    expect(gateway.stderr).not.toMatch(/damaged|gone|incomplete/);
    await gateway.end();
  });

  test("cannot be recreated: not ready, rejects records, and recovers without a restart", async () => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    await sendEach(gateway, before);
    // Otherwise an exporter may have failed meanwhile and be in backoff.
    await vi.waitFor(() => expectInFiles(gateway, before), 10_000);
    const path = gateway.path("").slice(0, -1);
    replaceByFile(path);
    rmSync(`${path}-away`, { recursive: true });
    await vi.waitFor(async () => {
      const [status, reason] = await readiness(gateway);
      expect([status, reason]).toEqual([
        503,
        expect.stringContaining("JOURNAL_REFUSED: The log directory"),
      ]);
    }, 10_000);
    await expect(gateway.send(["refused"])).rejects.toThrow("503");
    await expect(gateway.send(["audit refused"], AUDIT)).rejects.toThrow("503");
    rmSync(path);
    await vi.waitFor(async () => expect(await readiness(gateway)).toEqual([200, null]), 10_000);
    await sendEach(gateway, after);
    await vi.waitFor(() => expectInFiles(gateway, after), 10_000);
    await gateway.end();
    await gateway.start();
    expect(await messagesOf(gateway)).toEqual(after);
    await gateway.end();
  });

  test("comes back: the gateway continues with it and has lost nothing", async () => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    await sendEach(gateway, before);
    // Otherwise an exporter may have failed meanwhile and be in backoff.
    await vi.waitFor(() => expectInFiles(gateway, before), 10_000);
    const path = gateway.path("").slice(0, -1);
    replaceByFile(path);
    await expect(gateway.send(["refused"])).rejects.toThrow("503");
    rmSync(path);
    renameSync(`${path}-away`, path);
    await vi.waitFor(async () => expect(await readiness(gateway)).toEqual([200, null]), 10_000);
    await sendEach(gateway, after);
    await gateway.kill();
    await gateway.start();
    expect(await messagesOf(gateway)).toEqual([...before, ...after]);
    expect(gateway.stderr).not.toMatch(/damaged|gone/);
    await gateway.end();
  });
});

describe("reports a log directory that does not survive a reboot at startup", () => {
  async function noticesOf(logDir: string): Promise<string[]> {
    const args = ["--port", "0", "--otlp-port", "0", "--log-dir", logDir];
    await using gateway = startCli(args);
    await gateway.untilStderr(/Pages of http/);
    await gateway.end();
    return gateway.stderr.split("\n").filter((line) => line.includes("survive a reboot"));
  }

  test("on tmpfs", async () => {
    const logDir = await mkdtemp("/dev/shm/tailgate-test-");
    onTestFinished(() => rm(logDir, { recursive: true }));
    expect(await noticesOf(logDir)).toEqual([
      `tailgate: The log directory ${logDir} is in memory (tmpfs) and does not survive a reboot. To keep the logs, set log_dir to a directory on a disk.`,
    ]);
  });

  test.each([
    ["/tmp/madrox_logs", 0xef53, "The log directory /tmp/madrox_logs is under /tmp and does not"],
    ["/tmp/madrox_logs", 0x01021994, "The log directory /tmp/madrox_logs is in memory (tmpfs) and"],
    ["/run/logs", 0x858458f6, "The log directory /run/logs is in memory (ramfs) and does not"],
    ["/var/log/tailgate", 0xef53, undefined],
    ["/tmp/mine", 0xef53, undefined],
  ])("%s on a file system of type %i", (logDir, type, text) => {
    expect(volatileNotice(logDir, type)?.slice(0, text?.length)).toBe(text);
  });
});
