import { equal } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished, vi } from "vitest";
import { resolveConfig, startTailgate, type RunningTailgate } from "tailgate";
import type { ReloadResult } from "../../src/gateway/reloader.ts";
import { postMessages } from "./otlp.ts";
import { Workspace } from "./workspace.ts";

/** A gateway whose configuration a test replaces. */
export class ReloadedGateway {
  readonly workspace: Workspace;
  readonly lines: string[] = [];
  running!: RunningTailgate;

  constructor(workspace: Workspace) {
    this.workspace = workspace;
  }

  /** Starts it until the test ends. */
  static async start(
    config: string,
    files: Readonly<Record<string, string>> = {},
  ): Promise<ReloadedGateway> {
    const workspace = await Workspace.create({ ...files, "tailgate.yaml": config });
    const gateway = new ReloadedGateway(workspace);
    const resolve = () =>
      resolveConfig({
        file: workspace.path("tailgate.yaml"),
        flags: { port: 0, logDir: "logs" },
        env: { SECRET: "s3cret" },
        cwd: workspace.directory,
      });
    gateway.running = await startTailgate(await resolve(), {
      resolve,
      write: (line) => gateway.lines.push(line),
      handlesSignals: false,
      keepsAlive: false,
    });
    onTestFinished(async () => {
      await gateway.running.stop();
      await workspace[Symbol.asyncDispose]();
    });
    return gateway;
  }

  async reload(config: string): Promise<ReloadResult> {
    await this.workspace.write("tailgate.yaml", config);
    return this.running.reloader!.reload({ by: "tailgate reload", uid: 7 });
  }

  get url(): string {
    return this.running.url;
  }

  /** Sends numbered messages to the main port. */
  async send(from: number, to: number): Promise<void> {
    const messages = Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
    equal(await postMessages(this.url, messages), 200);
  }

  /** Resolves with the messages in a file once it ends with that one. */
  messages(file: string, last: string): Promise<string[]> {
    return vi.waitFor(async () => {
      const text = await readFile(join(this.workspace.path("logs"), file), "utf8");
      const lines = text.trimEnd().split("\n").filter(Boolean);
      const found = lines.map((line) => (JSON.parse(line) as { message: string }).message);
      equal(found.at(-1), last);
      return found;
    });
  }

  async status(): Promise<{ status: string; config: { status: string; error: string | null } }> {
    const response = await fetch(`${this.url}/readyz`);
    equal(response.status, 200);
    return (await response.json()) as never;
  }

  async metrics(): Promise<string> {
    return (await fetch(`${this.url}/metrics`)).text();
  }

  /** Resolves with the audit events about reloads. */
  events(count: number): Promise<unknown[]> {
    return vi.waitFor(async () => {
      const response = await fetch(
        `${this.url}/api/logs?type=audit_log&q=logger:orchestrator.audit.config`,
      );
      const { records } = (await response.json()) as { records: { data: unknown }[] };
      equal(records.length, count);
      return records.map(({ data }) => data);
    });
  }
}
