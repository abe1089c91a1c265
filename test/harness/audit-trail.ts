import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SeverityNumber } from "@opentelemetry/api";
import { onTestFinished, vi } from "vitest";
import { readKeyRing } from "../../src/audit/public-keys.ts";
import { verify, type Verification } from "../../src/audit/verification.ts";
import { resolveConfig } from "tailgate";
import { recordOf } from "tailgate/testing";
import { startTailgate, type RunningTailgate } from "tailgate";
import { Workspace } from "./workspace.ts";

const DAY_MS = 86_400_000;

/** A morning, so that a test may span some hours of the day. */
export const MORNING_MS = Date.UTC(2026, 10, 24, 8);

/** A log directory with a key outside of it, and consecutive gateways that use it. */
export class AuditHarness {
  readonly workspace: Workspace;
  readonly lines: string[] = [];
  #keptText: string | undefined;

  private constructor(workspace: Workspace) {
    this.workspace = workspace;
  }

  static async create(): Promise<AuditHarness> {
    const harness = new AuditHarness(await Workspace.create());
    onTestFinished(() => harness.workspace[Symbol.asyncDispose]());
    return harness;
  }

  get logDir(): string {
    return this.workspace.path("logs");
  }

  get keyFile(): string {
    return this.workspace.path("keys/audit-key.pem");
  }

  /** Starts a gateway with the built-in exporters of files; it is stopped at the end of the test. */
  async start(
    document: { journal?: Record<string, unknown>; retentionDays?: number } = {},
  ): Promise<RunningTailgate> {
    const { journal, retentionDays = 30 } = document;
    const config = await resolveConfig({
      env: {},
      flags: { port: 0, logDir: this.logDir },
      cwd: this.workspace.directory,
      base: "embedded",
      document: {
        exporters: { "audit-file": { retention_days: retentionDays } },
        ...(journal !== undefined && { journal }),
      },
    });
    const running = await startTailgate(
      { ...config, auditKeyFile: this.keyFile },
      { write: (line) => this.lines.push(line) },
    );
    onTestFinished(() => running.stop());
    return running;
  }

  /** Runs a gateway that logs the events, each in its own commit, with system logs between some. */
  async run(messages: readonly string[]): Promise<void> {
    const running = await this.start();
    await logEvents(running, messages);
    await running.stop();
  }

  /** The audit files with their lines, the oldest first. */
  files(): Map<string, string[]> {
    const directory = join(this.logDir, "audit");
    const names = readdirSync(directory).filter((name) => name.startsWith("audit_"));
    return new Map(
      names
        .sort()
        .map((name) => [
          name,
          readFileSync(join(directory, name), "utf8").split("\n").slice(0, -1),
        ]),
    );
  }

  checkpoints(): string[] {
    return this.read("checkpoints.jsonl").split("\n").slice(0, -1);
  }

  /** Removes everything in the log directory; the key stays. */
  clear(): void {
    rmSync(this.logDir, { recursive: true });
  }

  read(name: string): string {
    return readFileSync(join(this.logDir, "audit", name), "utf8");
  }

  write(name: string, contents: string | Uint8Array): void {
    writeFileSync(join(this.logDir, "audit", name), contents);
  }

  /** Writes audit files as {@link files} gives them. */
  writeFiles(files: ReadonlyMap<string, readonly string[]>): void {
    for (const [file, lines] of files) this.write(file, lines.map((line) => `${line}\n`).join(""));
  }

  /** `kept`: lines with checkpoints that were kept elsewhere. */
  async verify(kept: readonly string[] = []): Promise<Verification> {
    const path = this.workspace.path("kept.jsonl");
    const text = kept.map((line) => `${line}\n`).join("");
    if (text !== this.#keptText) writeFileSync(path, text);
    this.#keptText = text;
    return verify({
      logDir: this.logDir,
      keys: (await readKeyRing(this.keyFile)).keys,
      externalFiles: kept.length === 0 ? [] : [path],
      patienceMs: 0,
    });
  }
}

/** Recomputes all hashes, as an attacker could; `renumber` closes the gaps in the sequences. */
export function rechain(
  files: ReadonlyMap<string, readonly string[]>,
  { renumber = false } = {},
): Map<string, string[]> {
  let before = "0".repeat(64);
  let seq = 0;
  const made = new Map<string, string[]>();
  for (const [file, lines] of files) {
    made.set(
      file,
      lines.map((line) => {
        seq++;
        const end = line.lastIndexOf(',"hash":');
        // A line without a hash is not part of the chain.
        if (end < 0) return line;
        const body = line.slice(0, end);
        const hashed = renumber ? body.replace(/\d+$/, String(seq)) : body;
        before = createHash("sha256").update(before).update(hashed).digest("hex");
        return `${hashed},"hash":"${before}"}`;
      }),
    );
  }
  return made;
}

/** The exit code of `tailgate audit verify`. */
export function exitCodeOf({ findings, unrecordedKeys, unproven }: Verification): 0 | 1 | 69 {
  if (findings.length > 0 || unrecordedKeys.length > 0) return 1;
  return unproven === undefined ? 0 : 69;
}

export async function logEvents(
  { gateway }: RunningTailgate,
  messages: readonly string[],
): Promise<void> {
  for (const [index, message] of messages.entries()) {
    const scope = { name: "orchestrator.audit", version: "", attributes: new Map() };
    const attributes = new Map([["event_type", message]]);
    const event = recordOf({ body: message, scope, attributes });
    const system = recordOf({ body: "between", severityNumber: SeverityNumber.INFO });
    await gateway.intake.records(index % 2 === 0 ? [event] : [system, event]);
  }
  await gateway.flush(AbortSignal.timeout(10_000));
}

/** Freezes this process's clock at a morning; returns a function that moves it by days. */
export function freezeClock(): (days: number) => void {
  vi.useFakeTimers({ toFake: ["Date"], now: MORNING_MS });
  onTestFinished(() => void vi.useRealTimers());
  return (days) => vi.setSystemTime(MORNING_MS + days * DAY_MS);
}
