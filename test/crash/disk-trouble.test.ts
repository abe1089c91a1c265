import { execFile } from "node:child_process";
import { mkdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { describe, expect, it, vi } from "vitest";
import { denseText } from "../harness/dense-text.ts";
import { collect } from "../harness/client.ts";
import { type Program, skipTest, requireProgram } from "../harness/program.ts";
import { flawsOf } from "./checker.ts";
import { CrashSite, urlOf, type GatewayOptions } from "../harness/crash-site.ts";
import { untilOneHangs } from "./hanging.ts";
import { Ledger } from "./ledger.ts";
import { Producer } from "./producer.ts";
import { storedIn } from "./stored.ts";
import { withFault } from "./strace.ts";

const run = promisify(execFile);

const MIB = 1 << 20;

/**
 * The memory of a gateway at full capacity: memory tail, writes waiting for the disk, and requests
 * in flight.
 */
const RESIDENT_BYTES_MAX = 512 * MIB;

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly text: string;
}

/** Sends one record of that size; about half of it is incompressible. */
async function post(url: string, bytes = 100, logger = "orchestrator.disk"): Promise<Answer> {
  const logRecords = [{ severityNumber: 9, body: { stringValue: denseText(bytes) } }];
  const scopeLogs = [{ scope: { name: logger }, logRecords }];
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  const retryAfter = response.headers.get("retry-after");
  return { status: response.status, retryAfter, text: await response.text() };
}

async function statusOf(url: string, path: string): Promise<[number, string]> {
  const response = await fetch(`${url}${path}`);
  return [response.status, await response.text()];
}

/** Waits until the gateway is ready, without sending it anything. */
async function readyAgain(url: string): Promise<void> {
  await vi.waitFor(async () => expect((await statusOf(url, "/readyz"))[0]).toBe(200), 20_000);
}

/** Posts until the gateway accepts a record and reports that it is ready. */
async function recovered(url: string): Promise<void> {
  await vi.waitFor(async () => expect((await post(url)).status).toBe(200), 20_000);
  expect(await statusOf(url, "/readyz")).toMatchObject([200, expect.any(String)]);
}

async function started(site: CrashSite, options: GatewayOptions): Promise<[Program, string]> {
  const gateway = await site.start(options);
  const url = await urlOf(gateway);
  if (url === undefined) throw new Error(`The gateway has ended:\n${gateway.stderr}`);
  return [gateway, url];
}

async function residentBytes({ process: { pid } }: Program): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
}

/** Runs `work` with the site's log directory on a file system of its own. */
async function onSmallDisk(
  mebibytes: number,
  work: (site: CrashSite) => Promise<void>,
): Promise<void> {
  await using site = await CrashSite.create();
  await mkdir(site.logDir, { mode: 0o700 });
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m,mode=700`, "tmpfs", site.logDir]);
  } catch (error) {
    skipTest("a tmpfs cannot be mounted, which takes root (CAP_SYS_ADMIN): run it as root", error);
  }
  try {
    await work(site);
  } finally {
    await run("umount", ["--lazy", site.logDir]);
  }
}

/** Uses up the remaining disk space. */
async function fill(site: CrashSite): Promise<string> {
  const ballast = `${site.logDir}/ballast`;
  const { bavail, bsize } = await statfs(site.logDir);
  await writeFile(ballast, new Uint8Array(bavail * bsize));
  return ballast;
}

describe("a disk of 8 MiB", () => {
  it("is enough for many times its size if retention keeps less", async () => {
    await onSmallDisk(8, async (site) => {
      const config = `
journal: { system_bytes: ${MIB}, audit_bytes: ${MIB} }
`;
      const [gateway, url] = await started(site, { config: `${config}exporters: {}\n` });
      await using _ = gateway;
      const statuses = new Set<number>();
      for (let sent = 0; sent < 40; sent++) statuses.add((await post(url, 700_000)).status);
      expect([...statuses]).toEqual([200]);
      expect(await gateway.end()).toBe(0);
    });
  });

  it("rejects records when others fill it, reports that, and accepts records again when there is space", async () => {
    await onSmallDisk(8, async (site) => {
      const ledger = new Ledger();
      const producer = new Producer("one", ledger);
      const [gateway, url] = await started(site, { config: "exporters: {}\n" });
      await using _ = gateway;
      for (let count = 0; count < 50; count++) expect(await producer.send(url)).toBe(200);
      // A load balancer sends nothing to a gateway that is not ready: it recovers without a record.
      const forEvents = await fill(site);
      await vi.waitFor(async () => {
        const { status } = await post(url, 100_000, "orchestrator.audit");
        expect(status).toBe(503);
      }, 20_000);
      expect((await statusOf(url, "/readyz"))[0]).toBe(503);
      await rm(forEvents);
      await readyAgain(url);
      const ballast = await fill(site);
      const refused = await vi.waitFor(async () => {
        const answer = await post(url, 100_000);
        expect(answer).toMatchObject({ status: 503, retryAfter: "1" });
        return answer;
      }, 20_000);
      expect(refused.text).toContain("The disk is full: the records were not stored.");
      expect(await statusOf(url, "/readyz")).toEqual([
        503,
        expect.stringMatching(/"reason":"JOURNAL_FULL: /),
      ]);
      expect((await statusOf(url, "/healthz"))[0]).toBe(200);
      await rm(ballast);
      await readyAgain(url);
      await vi.waitFor(async () => {
        const [, lost] = await statusOf(url, "/api/logs?logger=tailgate.intake");
        expect(lost).toMatch(/"lost_reasons":\{"journal_full":\d+\}/);
      }, 20_000);
      for (let count = 0; count < 50; count++) expect(await producer.send(url)).toBe(200);
      expect(await gateway.end()).toBe(0);
      const stored = await storedIn(site.logDir);
      expect(flawsOf(ledger, stored)).toEqual([]);
      expect(stored.chainBreaks).toEqual([]);
      expect(stored.gaps.length).toBeGreaterThan(0);
    });
  });

  it("recovers by trimming when it is completely full, with the help of the reserve", async () => {
    await onSmallDisk(8, async (site) => {
      // Every commit but the newest expires after a second.
      const config = `
journal: { system_days: 0.00001 }
exporters: {}
`;
      const [gateway, url] = await started(site, { config });
      await using _ = gateway;
      // The last of them is only in the write-ahead log: the tables have to grow for it.
      for (let count = 0; count < 3; count++) expect((await post(url, 50_000)).status).toBe(200);
      await fill(site);
      await vi.waitFor(async () => expect((await post(url, 1_000)).status).toBe(200), 20_000);
      for (let count = 0; count < 10; count++) expect((await post(url, 1_000)).status).toBe(200);
      expect(await gateway.end()).toBe(0);
    });
  });
});

describe("a file size limit", () => {
  it("rejects what would exceed it, keeps the host alive, and recovers when it is lifted", async () => {
    await requireProgram("prlimit", "util-linux");
    await using site = await CrashSite.create();
    const ledger = new Ledger();
    const producer = new Producer("one", ledger);
    const through = ["prlimit", `--fsize=${2 * MIB}:unlimited`];
    const [gateway, url] = await started(site, { through, config: "exporters: {}\n" });
    await using _ = gateway;
    const refused = await vi.waitFor(
      async () => {
        await producer.send(url);
        const answer = await post(url, 150_000);
        expect(answer).toMatchObject({ status: 503, retryAfter: "1" });
        expect((await post(url, 150_000)).status).toBe(503);
        return answer;
      },
      { timeout: 20_000, interval: 1 },
    );
    expect(refused.text).toMatch(/The disk has (refused|failed)/);
    expect((await statusOf(url, "/readyz"))[0]).toBe(503);
    expect((await statusOf(url, "/healthz"))[0]).toBe(200);
    await run("prlimit", ["--fsize=unlimited:unlimited", "--pid", String(gateway.process.pid)]);
    await recovered(url);
    expect(await producer.send(url)).toBe(200);
    expect(await gateway.end()).toBe(0);
    const stored = await storedIn(site.logDir);
    expect(flawsOf(ledger, stored)).toEqual([]);
    expect(stored.chainBreaks).toEqual([]);
  });
});

describe("a failing disk", () => {
  it.each([
    ["fsync", "error=EIO", "9..14"],
    ["pwrite64", "error=EIO", "110..160"],
    ["pwrite64", "error=ENOSPC", "110..160"],
  ] as const)("refuses records and recovers: %s %s", async (call, what, when) => {
    await using site = await CrashSite.create();
    const ledger = new Ledger();
    const producer = new Producer("one", ledger);
    const through = await withFault(site.logDir, call, what, when);
    const [gateway, url] = await started(site, { through, config: "exporters: {}\n" });
    await using _ = gateway;
    const refused = await vi.waitFor(
      async () => {
        await producer.send(url);
        const answer = await post(url);
        expect(answer).toMatchObject({ status: 503, retryAfter: "1" });
        return answer;
      },
      { timeout: 20_000, interval: 1 },
    );
    expect(refused.text).toMatch(/The disk (is full|has refused|has failed)/);
    expect((await statusOf(url, "/healthz"))[0]).toBe(200);
    await recovered(url);
    for (let count = 0; count < 10; count++) expect(await producer.send(url)).toBe(200);
    gateway.process.kill("SIGKILL");
    await gateway.ended;
    const stored = await storedIn(site.logDir);
    expect(flawsOf(ledger, stored)).toEqual([]);
    expect(stored.chainBreaks).toEqual([]);
  });

  it("that hangs for ten seconds blocks only those who await durability", async () => {
    await using site = await CrashSite.create();
    const through = await withFault(site.logDir, "fsync", "delay_enter=10000000", "9");
    const config = "exporters: { websocket: {} }\n";
    const [gateway, url] = await started(site, { through, config });
    await using _ = gateway;
    const client = await collect(`${url.replace("http", "ws")}/ws/logs`);
    // Live records reach clients, including the one whose sync hangs.
    const hanging = await untilOneHangs(url, async (index) => {
      const posting = post(url);
      await vi.waitFor(() => expect(client.received).toHaveLength(index + 1));
      return posting;
    });
    // Meanwhile, queued records are bounded.
    const flood = Array.from({ length: 100 }, () => post(url, MIB));
    const refused = await Promise.any(
      flood.map(async (posting) => {
        const answer = await posting;
        if (answer.status === 200) throw new Error("taken");
        return answer;
      }),
    );
    expect([429, 503]).toContain(refused.status);
    expect(refused.retryAfter).toBe("1");
    expect((await statusOf(url, "/healthz"))[0]).toBe(200);
    expect(await residentBytes(gateway)).toBeLessThan(RESIDENT_BYTES_MAX);
    expect(hanging.answered).toBeLessThan(hanging.requests.length);
    const all = await Promise.all([...hanging.requests, ...flood]);
    expect(all.filter(({ status }) => status === 200).length).toBeGreaterThan(10);
    client.close();
    expect(await gateway.end()).toBe(0);
  });
});
