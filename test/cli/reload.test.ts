import { rename, stat } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { runCli as startAndEnd, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

const READY = /listening on (http:\/\/\S+) \(dashboard/;

async function runCli(args: readonly string[], cwd: string): Promise<unknown[]> {
  const cli = await startAndEnd(args, { cwd });
  return [await cli.ended, cli.stdout, cli.stderr];
}

const QUIET = "receivers: {}\nlog_dir: logs\nport: 0\n";

describe("tailgate reload", () => {
  test("applies a changed configuration to the running gateway, and says what became of it", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": QUIET });
    const cwd = workspace.directory;
    await using gateway = startCli(["run", "--log-level", "DEBUG"], { cwd });
    const [, url] = await gateway.untilStderr(READY);
    expect((await stat(workspace.path("logs/control.sock"))).mode & 0o777).toBe(0o600);

    await workspace.write("tailgate.yaml", `${QUIET}exporters: { file: { backups: 2 } }\n`);
    const changes = [
      "reloaded:",
      "  exporters.websocket: removed",
      "  exporters.file.backups: added 2",
      "  exporters.audit-file: removed",
      "  exporters.console: removed",
      "",
    ];
    expect(await runCli(["reload"], cwd)).toEqual([0, changes.join("\n"), ""]);
    expect((await fetch(`${url}/ws/logs`)).status).toBe(404);

    await workspace.write("tailgate.yaml", `${QUIET}exporters: { file: { backups: x } }\n`);
    expect(await runCli(["reload", "--log-dir", "logs"], cwd)).toEqual([
      78,
      "",
      expect.stringMatching(/not reloaded\n[^]*CONFIG_INVALID: [^]*exporters\.file\.backups: /),
    ]);
    gateway.process.kill("SIGHUP");
    await gateway.untilStderr(/not reloaded \(SIGHUP\), .*exporters\.file\.backups: expected/);

    await workspace.write("tailgate.yaml", `${QUIET}: {\nbase_path: /x\n`);
    expect(await runCli(["reload"], cwd)).toEqual([78, "", expect.stringContaining(":5:1: ")]);
    await workspace.write("tailgate.yaml", `${QUIET}base_path: /x\nexporters: {}\n`);
    expect(await runCli(["reload", "--config", "tailgate.yaml"], cwd)).toEqual([
      78,
      "",
      expect.stringContaining("RELOAD_REFUSED: base_path cannot change while"),
    ]);

    gateway.process.kill("SIGKILL");
    await gateway.ended;
    expect(await runCli(["reload"], cwd)).toEqual([
      69,
      "",
      expect.stringContaining(
        "GATEWAY_UNREACHABLE: No gateway can be reached in the log directory",
      ),
    ]);
    // The socket that it has left behind is replaced.
    await using next = startCli([], { cwd });
    await next.untilStderr(READY);
    expect(await runCli(["reload"], cwd)).toEqual([0, "nothing has changed\n", ""]);
  });

  test("works without a socket whose path would be too long, which the log says", async () => {
    const logDir = "x".repeat(90);
    await using workspace = await Workspace.create({ "tailgate.yaml": QUIET });
    await using gateway = startCli(["--log-dir", logDir], { cwd: workspace.directory });
    await gateway.untilStderr(/cannot reach this gateway: the path of a socket must not be longer/);
    await gateway.untilStderr(READY);
    gateway.process.kill("SIGHUP");
    await gateway.untilStderr(/The configuration has not changed \(SIGHUP\)/);
  });

  test("happens by itself with --watch when a file of the configuration is replaced", async () => {
    const plugin = (name: string) => `import { defineProcessor, z } from "tailgate/plugin";
      export default defineProcessor({
        name: "mine",
        description: "For tests.",
        options: z.object({}),
        open: (_, host) => (host.log.info("opened ${name}"), { process: (record) => record }),
      });`;
    await using workspace = await Workspace.create({
      "tailgate.yaml": QUIET,
      "plugins/mine.mjs": plugin("one"),
    });
    await workspace.install("tailgate");
    await using gateway = startCli(["run", "--watch"], { cwd: workspace.directory });
    await gateway.untilStderr(READY);
    await workspace.write("new.yaml", `${QUIET}processors: { mine: { use: ./plugins/mine.mjs } }`);
    await rename(workspace.path("new.yaml"), workspace.path("tailgate.yaml"));
    await gateway.untilStderr(/opened one[^]*was reloaded \(--watch\): processors\.mine: added/);
    await workspace.write("plugins/mine.mjs", plugin("two"));
    await gateway.untilStderr(
      /opened two[^]*reloaded \(--watch\): processors\.mine: "files" -> "changed files"/,
    );
  });
});
