import {
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startCli, type Program } from "./program.ts";
import { Workspace } from "./workspace.ts";
import { postMessages } from "./otlp.ts";

const LISTENING = /^tailgate: listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/m;

const CLOCK = fileURLToPath(new URL("shifted-clock.ts", import.meta.url));

const DAY_MS = 86_400_000;

/** A gateway that is killed and restarted on one log directory. */
export class RestartedGateway implements AsyncDisposable {
  readonly #workspace: Workspace;
  #program: Program | undefined;
  url = "";

  private constructor(workspace: Workspace) {
    this.#workspace = workspace;
  }

  /** It rotates often, and has more backups than there will be, so that no line goes. */
  static async create({ retentionDays = 36_500 } = {}): Promise<RestartedGateway> {
    const config = `port: 0, log_dir: logs, receivers: { otlp: { port: 0 } }, exporters: {
      file: { max_bytes: 5000, backups: 1000 }, audit-file: { retention_days: ${retentionDays} } }`;
    const workspace = await Workspace.create({
      "tailgate.yaml": `{ ${config} }`,
      "memory.yaml": `{ ${config}, journal: { engine: memory } }`,
      shift: "0",
    });
    return new RestartedGateway(workspace);
  }

  /** `engine`: where the journal is stored. */
  async start(engine: "sqlite" | "memory" = "sqlite"): Promise<void> {
    const args = engine === "memory" ? ["--config", "memory.yaml"] : [];
    const env = { NODE_OPTIONS: `--import=${CLOCK}`, SHIFT_FILE: this.#workspace.path("shift") };
    this.#program = startCli(args, { cwd: this.#workspace.directory, env });
    this.url = (await this.#program.untilStderr(LISTENING))[1]!;
  }

  get stderr(): string {
    return this.#program!.stderr;
  }

  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  /** Kills it at a random time before then. */
  async killWithin(timeMs: number): Promise<void> {
    await wait(Math.random() * timeMs);
    await this.kill();
  }

  /** Stops it gracefully. */
  async end(): Promise<void> {
    const end = await this.#program!.end();
    if (end !== 0) throw new Error(`The gateway ended with ${end}:\n${this.stderr}`);
  }

  /** Sets its clock to noon of that day. */
  setDay(day: number): void {
    const shiftMs = day * DAY_MS + DAY_MS / 2 - Date.now();
    // Replaced atomically: a gateway that reads an empty file would see the clock jump to the real
    // time and back.
    const next = this.#workspace.path("next-shift");
    writeFileSync(next, String(shiftMs));
    renameSync(next, this.#workspace.path("shift"));
  }

  /** The audit files were changed on that day, at noon. */
  touchAudit(day: number): void {
    const seconds = (day * DAY_MS + DAY_MS / 2) / 1000;
    for (const name of readdirSync(this.path("audit"))) {
      utimesSync(this.path(`audit/${name}`), seconds, seconds);
    }
  }

  path(name: string): string {
    return this.#workspace.path(`logs/${name}`);
  }

  deleteJournal(): void {
    for (const name of readdirSync(this.path(""))) {
      if (name.startsWith("journal.")) rmSync(this.path(name));
    }
  }

  async send(messages: readonly string[], logger = "orchestrator.server"): Promise<void> {
    const status = await postMessages(this.url, messages, { logger });
    if (status !== 200) throw new Error(`The gateway answered ${status}`);
  }

  /** The messages of all lines of the rotation, the oldest first. */
  system(): string[] {
    const names = readdirSync(this.path("")).filter((name) => name.startsWith("orchestrator.log"));
    const place = (name: string): number => Number(name.slice("orchestrator.log.".length));
    const inOrder = names.sort((one, other) => place(other) - place(one));
    return inOrder.flatMap((name) => linesOf(this.path(name))).map(({ message }) => message!);
  }

  /** The events of all lines, the oldest first. */
  audit(): string[] {
    return this.auditFiles().flatMap(([, events]) => events);
  }

  /** Resolves when stderr contains the pattern. */
  untilStderr(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.#program!.untilStderr(pattern);
  }

  /** Returns the JSON response to a GET. */
  async getJson<Answer>(path: string): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`);
    return (await response.json()) as Answer;
  }

  /** The events of each file that has some, the oldest first; without the gateway's own, which are checkpoints. */
  auditFiles(): [string, string[]][] {
    const names = readdirSync(this.path("audit")).filter((name) => /^audit_\d+\.jsonl$/.test(name));
    return names
      .sort()
      .map((name): [string, string[]] => {
        const lines = linesOf(this.path(`audit/${name}`));
        const events = lines.map(({ event }) => event!);
        return [name, events.filter((event) => event !== "audit_checkpoint")];
      })
      .filter(([, events]) => events.length > 0);
  }

  /**
   * Makes audit events of that day accepted but not writable; returns a function that undoes it.
   */
  blockAudit(day: number): () => void {
    const path = this.path(`audit/${nameOf(day)}`);
    renameSync(path, `${path}.away`);
    symlinkSync("/dev/null", path);
    return () => renameSync(`${path}.away`, path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#workspace[Symbol.asyncDispose]();
  }
}

interface Line {
  readonly message?: string;
  readonly event?: string;
}

/** Each line has to be whole. */
function linesOf(path: string): Line[] {
  const text = readFileSync(path, "utf8");
  if (text !== "" && !text.endsWith("\n")) throw new Error(`${path} ends with a torn line`);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

/** The audit file of that day, in days since 1970. */
export function nameOf(day: number): string {
  const digits = new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll("-", "");
  return `audit_${digits}.jsonl`;
}
