import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { freePort } from "../peer-program.ts";
import { Program } from "../program.ts";
import { HttpClient } from "./gateway-queries.ts";

const INSERT_PATH =
  "/insert/jsonline?_msg_field=message&_time_field=timestamp&_stream_fields=type,logger,service";

const LINE_FEED = 10;

/** It writes to disk what is in memory every 5 seconds. */
const PERSIST_MS = 7_000;

/** VictoriaLogs as one process with its data in its own directory, filled with envelopes. */
export class VictoriaLogs implements AsyncDisposable {
  readonly program: Program;
  readonly #directory: string;
  readonly #client: HttpClient;

  private constructor(program: Program, directory: string, client: HttpClient) {
    this.program = program;
    this.#directory = directory;
    this.#client = client;
  }

  static async start(command: string): Promise<VictoriaLogs> {
    const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
    const port = await freePort();
    const args = [
      `-httpListenAddr=127.0.0.1:${port}`,
      `-storageDataPath=${directory}`,
      "-retentionPeriod=9y",
    ];
    const program = await Program.start({ command, args, ready: /started server at/ });
    return new VictoriaLogs(program, directory, new HttpClient(port));
  }

  /** Adds envelopes as /api/logs has them: `{"sequence":1,"type":"system_log","data":{...}}`, the members of `data` as fields. */
  async add(lines: Buffer): Promise<void> {
    const body = Buffer.allocUnsafe(lines.length);
    let used = 0;
    for (let start = 0; start < lines.length;) {
      const end = lines.indexOf(LINE_FEED, start);
      const data = lines.indexOf('"data":{', start);
      used += lines.copy(body, used, start, data);
      used += lines.copy(body, used, data + '"data":{'.length, end - 1);
      body[used++] = LINE_FEED;
      start = end + 1;
    }
    const headers = { "content-type": "application/stream+json" };
    await this.#client.ask(INSERT_PATH, { method: "POST", headers, body: body.subarray(0, used) });
  }

  /** Returns the number of lines that a LogsQL query answers. */
  async query(query: string, from: string, to: string): Promise<number> {
    const body = Buffer.from(new URLSearchParams({ query, start: from, end: to }).toString());
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const answer = await this.#client.ask("/select/logsql/query", {
      method: "POST",
      headers,
      body,
    });
    return answer.body.toString("latin1").split("\n").length - 1;
  }

  /** What it stores, in bytes. */
  async storedBytes(): Promise<number> {
    await wait(PERSIST_MS);
    const entries = await readdir(this.#directory, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    const sizes = files.map(
      async ({ parentPath, name }) => (await stat(join(parentPath, name))).size,
    );
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    await this.program[Symbol.asyncDispose]();
    await rm(this.#directory, { recursive: true });
  }
}
