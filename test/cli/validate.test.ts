import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { Workspace } from "../config/workspace.ts";
import { runCli } from "./cli.ts";

describe("tailgate validate", () => {
  test("names the file and shows what is in effect, which is valid again", async () => {
    await using workspace = await Workspace.create({
      "etc/my.yaml":
        "port: ${env:PORT:-9000}\ntrust_default_origins: false\nreceivers: {}\nexporters: { console: { level: warn } }",
    });
    const env = { PORT: "9001", LOG_DIR: "/var/log/mine" };
    const cli = await runCli(["validate", "--config", "etc/my.yaml"], {
      cwd: workspace.directory,
      env,
    });
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
    const [first, ...rest] = cli.stdout.split("\n");
    expect(first).toBe(`valid: ${workspace.path("etc/my.yaml")}`);
    expect(parse(rest.join("\n"))).toEqual({
      host: "127.0.0.1",
      port: 9001,
      log_dir: "/var/log/mine",
      log_level: "INFO",
      allowed_hosts: [],
      trust_default_origins: false,
      receivers: {},
      processors: {},
      exporters: {
        console: {
          level: "WARNING",
          queue_bytes: 67_108_864,
          timeout_seconds: 30,
          stream: "stderr",
          color: "auto",
        },
      },
    });
    await workspace.write("tailgate.yaml", rest.join("\n"));
    const again = await runCli(["validate"], { cwd: workspace.directory, env });
    expect(again.stdout.split("\n").slice(1)).toEqual(rest);
  });

  test("checks the defaults where there is no file", async () => {
    await using workspace = await Workspace.create();
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect(await cli.ended).toBe(0);
    expect(cli.stdout).toMatch(/^valid: the defaults \(there is no tailgate\.yaml here\)\nhost: /);
  });

  test("masks secrets and the credentials of URLs", async () => {
    await using workspace = await Workspace.create({
      "tailgate.yaml": `exporters:
        hook:
          use: ./hook.mjs
          api_token: \${env:TOKEN}
          headers: { Authorization: Bearer x-y-z, Accept: text/plain }
          url: https://joe:hun@ter2@example.com/?key=hidden#here
          urls: [ "https://example.com/a?key=hidden", "no://query?" ]`,
      "hook.mjs": `import { defineExporter, z } from "tailgate/plugin";
        export default defineExporter({
          name: "hook",
          description: "For tests.",
          options: z.object({ api_token: z.string(), headers: z.record(z.string(), z.string()), url: z.url(), urls: z.array(z.string()) }),
          open: () => ({ write() {} }),
        });`,
    });
    await workspace.install("tailgate");
    const cli = await runCli(["validate"], { cwd: workspace.directory, env: { TOKEN: "123456" } });
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
    const { exporters } = parse(cli.stdout.slice(cli.stdout.indexOf("\n"))) as {
      exporters: object;
    };
    expect(exporters).toMatchObject({
      hook: {
        use: "./hook.mjs",
        api_token: "********",
        headers: { Authorization: "********", Accept: "********" },
        url: "https://********@example.com/?********#here",
        urls: ["https://example.com/a?********", "no://query?"],
      },
    });
  });

  test("ends with 78 and the problems on stderr", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": "port: 1\nport: 2" });
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect([await cli.ended, cli.stdout]).toEqual([78, ""]);
    expect(cli.stderr).toContain("/tailgate.yaml:2:1: Map keys must be unique\n");
  });

  test("says so where its output cannot be written", async () => {
    const { status, stderr } = spawnSync(
      "sh",
      ["-c", '"$0" dist/cli/main.js validate > /dev/full', process.execPath],
      { cwd: fileURLToPath(new URL("../..", import.meta.url)), encoding: "utf8" },
    );
    expect(stderr).toContain("ENOSPC");
    expect(status).toBe(1);
  });

  test("shows the control characters of a file's texts, and does not pass them on", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": "port: '\u009b31m\u202e'" });
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect(cli.stderr).toContain('port: expected integer from 0 to 65535; found "\\x9b31m\\u202e"');
  });
});
