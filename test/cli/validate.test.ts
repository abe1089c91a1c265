import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { Workspace } from "../harness/workspace.ts";
import { runCli } from "../harness/program.ts";

describe("tailgate validate", () => {
  test("names the file and prints the effective configuration, which is itself valid", async () => {
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
    const shown = parse(rest.join("\n")) as { exporters: object };
    expect(shown.exporters).toEqual({
      console: {
        level: "WARNING",
        queue_bytes: 67_108_864,
        timeout_seconds: 30,
        stream: "stderr",
        color: "auto",
      },
    });
    expect(shown).toMatchObject({
      host: "127.0.0.1",
      port: 9001,
      base_path: "/",
      trusted_proxies: [],
      log_dir: "/var/log/mine",
      log_level: "INFO",
      envelope: { resource_attributes: [] },
      journal: {
        engine: "sqlite",
        system_days: 7,
        system_bytes: 1 << 30,
        audit_days: 90,
        audit_bytes: 1 << 30,
      },
      audit_key_file: join(process.env["XDG_CONFIG_HOME"]!, "tailgate/audit-key.pem"),
      allowed_hosts: [],
      trust_default_origins: false,
      http: {
        max_connections: 1000,
        max_connections_per_address: 1000,
        max_answer_bytes: 64 << 20,
        write_timeout_seconds: 10,
        max_searches: 4,
        max_queued_searches: 64,
      },
      receivers: {},
      processors: {},
    });
    await workspace.write("tailgate.yaml", rest.join("\n"));
    const again = await runCli(["validate"], { cwd: workspace.directory, env });
    expect(again.stdout.split("\n").slice(1)).toEqual(rest);
  });

  test("checks the defaults if there is no file", async () => {
    await using workspace = await Workspace.create();
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect(await cli.ended).toBe(0);
    expect(cli.stdout).toMatch(/^valid: the defaults \(there is no tailgate\.yaml here\)\nhost: /);
  });

  test("checks the tokens file, and says if there is none yet", async () => {
    await using workspace = await Workspace.create({
      "tailgate.yaml": "auth: { tokens_file: tokens.json }\n",
    });
    const validate = () => runCli(["validate"], { cwd: workspace.directory });
    const missing = await validate();
    expect([await missing.ended, missing.stderr]).toEqual([0, ""]);
    expect(missing.stdout).toContain(
      `  tokens_file: ${workspace.path("tokens.json")} # This file does not exist yet; \`tailgate token create\` and \`tailgate run\` create it.\n`,
    );
    await workspace.write("tokens.json", "{");
    const invalid = await validate();
    expect([await invalid.ended, invalid.stdout]).toEqual([78, ""]);
    expect(invalid.stderr).toContain(
      `tailgate: TOKENS_UNREADABLE: The tokens file ${workspace.path("tokens.json")} cannot be used: `,
    );
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

  test("shows the destination of an exporter and its source, without credentials", async () => {
    await using workspace = await Workspace.create({
      "tailgate.yaml":
        "log_dir: logs\naudit_key_file: key.pem\nreceivers: {}\nexporters: { otlp: , spans: { endpoint: http://a } }",
    });
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: " http://joe:hunter2@127.0.0.1:4318?key=hunter3 ",
      OTEL_EXPORTER_OTLP_HEADERS: "Authorization=Bearer%20hunter4",
      OTEL_EXPORTER_OTLP_TIMEOUT: "5000",
      HTTP_PROXY: "http://joe:hunter5@proxy:3128",
      NO_PROXY: "a",
    };
    const { stdout, stderr } = await runCli(["validate"], { cwd: workspace.directory, env });
    expect(stderr).toBe("");
    expect(stdout).toContain(`audit_key_file: ${workspace.path("key.pem")}\n`);
    for (const line of [
      "endpoint: http://********@127.0.0.1:4318/v1/logs?******** # OTEL_EXPORTER_OTLP_ENDPOINT",
      'Authorization: "********"',
      "protocol: http/protobuf # default",
      "# Request timeout 5000 ms: OTEL_EXPORTER_OTLP_TIMEOUT",
      "# Through the proxy http://proxy:3128/: HTTP_PROXY",
      "endpoint: http://a/v1/traces # option endpoint",
    ]) {
      expect(stdout).toContain(line);
    }
    expect(stdout).toMatch(/headers:\n +# OTEL_EXPORTER_OTLP_HEADERS\n +Authorization/);
    expect(stdout).not.toContain("hunter");
    expect(stdout.match(/Through the proxy/g)).toHaveLength(1);
    await workspace.write("tailgate.yaml", stdout.slice(stdout.indexOf("\n")));
    expect((await runCli(["validate"], { cwd: workspace.directory, env })).stderr).toBe("");
  });

  test("rejects what `tailgate run` rejects, in the same words", async () => {
    await using workspace = await Workspace.create({
      "tailgate.yaml": `port: 4000
log_dir: logs
audit_key_file: logs/key.pem
receivers: { otlp: { port: 4000 } }
exporters: { websocket: , websocket/two: , otlp: }`,
    });
    const options = { cwd: workspace.directory, env: { OTEL_EXPORTER_OTLP_TIMEOUT: "10s" } };
    const [validated, run] = await Promise.all([
      runCli(["validate"], options),
      runCli(["run"], options),
    ]);
    expect([await validated.ended, await run.ended]).toEqual([78, 78]);
    expect(validated.stdout).toBe("");
    expect(run.stderr).toBe(validated.stderr);
    expect(validated.stderr.split("\n").map((line) => line.trim().split(":")[0])).toEqual([
      "tailgate",
      "exporters.otlp",
      "receivers.otlp.port",
      "exporters.websocket/two",
      `The audit key ${workspace.path("logs/key.pem")} is inside the log directory ${workspace.path("logs")}`,
      "Fix the keys listed above; `tailgate validate` checks a file without starting the gateway.",
      "",
    ]);
  });

  test("exits with 78 and the errors on stderr", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": "port: 1\nport: 2" });
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect([await cli.ended, cli.stdout]).toEqual([78, ""]);
    expect(cli.stderr).toContain("/tailgate.yaml:2:1: Map keys must be unique\n");
  });

  test("reports that its output cannot be written", async () => {
    const { status, stderr } = spawnSync(
      "sh",
      ["-c", '"$0" dist/cli/main.js validate > /dev/full', process.execPath],
      { cwd: fileURLToPath(new URL("../..", import.meta.url)), encoding: "utf8" },
    );
    expect(stderr).toContain("ENOSPC");
    expect(status).toBe(1);
  });

  test("escapes control characters of the file's texts", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": "port: '\u009b31m\u202e'" });
    const cli = await runCli(["validate"], { cwd: workspace.directory });
    expect(cli.stderr).toContain(
      'port: expected integer from 0 to 65535 or null; found "\\x9b31m\\u202e"',
    );
  });
});
