import { appendFileSync, copyFileSync, existsSync, renameSync, truncateSync } from "node:fs";
import { testHost, type TestHost } from "tailgate/testing";
import type { Receiver } from "tailgate/plugin";
import { onTestFinished } from "vitest";
import filelog from "../../../plugins/filelog.ts";
import { Workspace } from "../../harness/workspace.ts";

/** A receiver that follows real files, and can be restarted; the journal stays. */
export class TestFollower {
  readonly workspace: Workspace;
  readonly host: TestHost;
  readonly #options: Record<string, unknown>;
  #receiver: Receiver | undefined;

  private constructor(workspace: Workspace, host: TestHost, options: Record<string, unknown>) {
    this.workspace = workspace;
    this.host = host;
    this.#options = options;
  }

  /** `include` is relative to the workspace. */
  static async create(
    include: readonly string[],
    options: Record<string, unknown> = {},
  ): Promise<TestFollower> {
    const workspace = await Workspace.create();
    const host = await testHost("filelog");
    const follower = new TestFollower(workspace, host, {
      include: include.map((path) => workspace.path(path)),
      poll_interval_seconds: 0.05,
      ...options,
    });
    onTestFinished(async () => {
      await follower.stop();
      await host.close();
      await workspace[Symbol.asyncDispose]();
    });
    return follower;
  }

  async start(): Promise<void> {
    this.#receiver = await filelog.open(filelog.options.parse(this.#options), this.host);
  }

  async stop(): Promise<void> {
    await this.#receiver?.close?.(AbortSignal.timeout(3000));
    this.#receiver = undefined;
  }

  path(name: string): string {
    return this.workspace.path(name);
  }

  append(name: string, text: string): void {
    appendFileSync(this.path(name), text);
  }

  /** Renames `name` to `name.1`, as logrotate does, and older ones one further. */
  rename(name: string): void {
    this.#shift(name);
    if (existsSync(this.path(name))) renameSync(this.path(name), this.path(`${name}.1`));
  }

  /** Copies `name` to `name.1`, and truncates it. */
  copyAndTruncate(name: string): void {
    this.#shift(name);
    if (!existsSync(this.path(name))) return;
    copyFileSync(this.path(name), this.path(`${name}.1`));
    truncateSync(this.path(name), 0);
  }

  #shift(name: string): void {
    let last = 0;
    while (existsSync(this.path(`${name}.${last + 1}`))) last++;
    for (let index = last; index > 0; index--) {
      renameSync(this.path(`${name}.${index}`), this.path(`${name}.${index + 1}`));
    }
  }

  metric(name: string): number | undefined {
    const metric = this.host.pluginMetrics.find((candidate) => candidate.name === name);
    return [...metric!.read()][0]?.value;
  }

  get bodies(): string[] {
    return this.host.intake.accepted.map(({ body }) => body as string);
  }
}
