/**
 * Measures what docs/operations/retention-and-sizing.md states: the disk space of a record by the size of requests and by
 * content, the memory of clients, and CPU time. `npm run sizing`, on a built checkout, takes about a minute.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as wait } from "node:timers/promises";
import WebSocket from "ws";

const MAIN = new URL("../../dist/cli/main.js", import.meta.url).pathname;

type Content = (index: number) => Readonly<Record<string, string>>;

/** A record of about 250 bytes as JSON: like the one before, or with three random identifiers. */
const CONTENTS: Readonly<Record<string, Content>> = {
  "much alike": (index) => ({
    instance_id: `inst-${index % 50}`,
    task_id: `task-${index % 1000}`,
    queue: "default",
  }),
  "three random IDs": () => ({
    instance_id: randomUUID(),
    task_id: randomUUID(),
    request_id: randomUUID(),
  }),
};

const REQUEST_RECORDS = [1, 32, 512];

class Gateway implements AsyncDisposable {
  readonly url: string;
  readonly logDir: string;
  readonly #process: ChildProcess;

  private constructor(url: string, logDir: string, running: ChildProcess) {
    this.url = url;
    this.logDir = logDir;
    this.#process = running;
  }

  static async start(): Promise<Gateway> {
    const directory = await mkdtemp(join(tmpdir(), "tailgate-sizing-"));
    const logDir = join(directory, "logs");
    const args = ["--max-semi-space-size=4", MAIN, "--port", "0", "--otlp-port", "0"];
    const running = spawn(process.execPath, [...args, "--log-dir", logDir], {
      cwd: directory,
      env: { ...process.env, XDG_CONFIG_HOME: directory, MAX_WS_CONNECTIONS: "1000" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    for await (const line of createInterface(running.stderr)) {
      const url = /listening on (\S+) \(dashboard/.exec(line)?.[1];
      if (url === undefined) continue;
      running.stderr.resume();
      return new Gateway(url, logDir, running);
    }
    throw new Error("The gateway did not start.");
  }

  async send(records: number, content: Content, first = 0, logger = "app.worker"): Promise<void> {
    const logRecords = Array.from({ length: records }, (_, index) => ({
      timeUnixNano: `${BigInt(Date.now()) * 1_000_000n}`,
      severityNumber: 9,
      body: { stringValue: `Task ${first + index} of the queue was finished by its worker` },
      attributes: Object.entries(content(first + index)).map(([key, stringValue]) => ({
        key,
        value: { stringValue },
      })),
    }));
    const body = { resourceLogs: [{ scopeLogs: [{ scope: { name: logger }, logRecords }] }] };
    const response = await fetch(`${this.url}/v1/logs`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await response.text());
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)![1]);
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(join(this.logDir, ".."), { recursive: true });
  }
}

/** Prints the bytes of a record that retention counts, of the whole database, and in `orchestrator.log`. */
async function measureDisk(logger: string): Promise<void> {
  for (const records of REQUEST_RECORDS) {
    for (const [name, content] of Object.entries(CONTENTS)) {
      await using gateway = await Gateway.start();
      const requests = Math.ceil(records === 1 ? 3_000 : 30_000 / records);
      for (let request = 0; request < requests; request++) {
        await gateway.send(records, content, request * records, logger);
      }
      await gateway.stop();
      const count = requests * records;
      const database = join(gateway.logDir, "journal.db");
      using db = new DatabaseSync(database, { readOnly: true });
      const table = logger === "app.worker" ? "system_log" : "audit_log";
      const stored = db.prepare(`SELECT sum(length(bytes)) AS bytes FROM ${table}`).get()!["bytes"];
      const { size } = await stat(database);
      const file = await stat(join(gateway.logDir, "orchestrator.log"));
      const per = (bytes: number): string => String(Math.round(bytes / count));
      const shown = [logger, records, name, per(Number(stored)), per(size), per(file.size)];
      console.log(shown.join("\t"));
    }
  }
}

async function openClients(gateway: Gateway, count: number): Promise<WebSocket[]> {
  const clients = Array.from(
    { length: count },
    () => new WebSocket(`${gateway.url.replace("http", "ws")}/ws/logs`),
  );
  await Promise.all(clients.map((client) => once(client, "open")));
  for (const client of clients) client.on("message", () => {});
  return clients;
}

/** Prints resident memory: at the start, while 1 000 records a second arrive, and with clients. */
async function measureMemoryAndCpu(): Promise<void> {
  await using gateway = await Gateway.start();
  await wait(1_000);
  const report = async (text: string): Promise<void> => {
    const bytes = await gateway.metric("process_resident_memory_bytes");
    console.log(`${text}\t${Math.round(bytes / 1e6)} MB`);
  };
  await report("at the start");
  for (const count of [0, 10, 100, 500]) {
    const clients = await openClients(gateway, count);
    const before = await gateway.metric("process_cpu_seconds_total");
    const startedAt = performance.now();
    for (let tick = 0; tick < 80; tick++) {
      await gateway.send(100, CONTENTS["much alike"]!, tick * 100);
      await wait(Math.max(0, startedAt + 100 * (tick + 1) - performance.now()));
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = ((await gateway.metric("process_cpu_seconds_total")) - before) / seconds;
    await report(`1 000 records/s, ${count} clients\t${Math.round(cpu * 100)} % of a core`);
    for (const client of clients) client.terminate();
  }
}

console.log("logger\trecords/request\tcontent\tcounted\tjournal.db\torchestrator.log");
await measureDisk("app.worker");
await measureDisk("orchestrator.audit");
await measureMemoryAndCpu();
