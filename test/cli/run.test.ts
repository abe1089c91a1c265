import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmod, readFile, stat } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { issueCertificate } from "../harness/certificates.ts";
import { runCli, startCli } from "../harness/program.ts";
import { TestTokens } from "../harness/tokens.ts";

const LISTENING = /^tailgate: listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/m;

/** A user's plugin: `members` are those of the exporter that it opens. */
async function workspaceWith(open: string): Promise<Workspace> {
  const workspace = await Workspace.create({
    "tailgate.yaml":
      "port: 0\nlog_dir: logs\nreceivers: {}\nexporters: { mine: { use: ./mine.mjs } }",
    "mine.mjs": `import { defineExporter, z } from "tailgate/plugin";
      const say = (text) => process.stderr.write(text + "\\n");
      export default defineExporter({
        name: "mine",
        description: "For tests.",
        options: z.object({}),
        async open(options, host) { ${open} },
      });`,
  });
  await workspace.install("tailgate");
  return workspace;
}

/** For `NODE_OPTIONS`: prints each loaded module to stderr, except Node's own internal loads. */
const TELL_MODULES = `--import=data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from "node:module";
  const load = (url, context, next) => (process.stderr.write("loads " + url + "\\n"), next(url, context));
  registerHooks({ load });`)}`;

/** Returns the packages other than Tailgate of which a module was loaded. */
function loadedPackages(stderr: string): Set<string> {
  const names = stderr.matchAll(/^loads .*\/node_modules\/((?:@[^/]+\/)?[^/]+)/gm);
  return new Set([...names].map(([, name]) => name!));
}

async function otlpLines(url: string, count: number): Promise<void> {
  const logRecords = Array.from({ length: count }, (_, index) => ({
    timeUnixNano: String(1_760_347_644_000_000_000n + BigInt(index)),
    severityNumber: 9,
    body: { stringValue: `message ${index}` },
  }));
  const scopeLogs = [{ scope: { name: "orchestrator.test" }, logRecords }];
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  expect(response.status).toBe(200);
}

describe("tailgate run", () => {
  test.each(["SIGTERM", "SIGINT"] as const)(
    "prints its address, serves there, and exits with 0 after %s",
    async (signal) => {
      await using workspace = await Workspace.create();
      const args = ["--port", "0", "--otlp-port", "0", "--log-dir", "logs"];
      await using cli = startCli(args, { cwd: workspace.directory });
      const url = (await cli.untilStderr(LISTENING))[1]!;
      expect(cli.stderr.replace(/\d.*, Node\.js \S+/, "VERSION").split("listening")[0]).toBe(
        [
          "tailgate: version         VERSION",
          "tailgate: configuration   none, the defaults",
          `tailgate: log directory   ${workspace.path("logs")}`,
          "tailgate: authentication  off",
          "tailgate: TLS             off",
          "tailgate: ",
        ].join("\n"),
      );
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
      expect(await (await fetch(url)).text()).toContain("<title>");
      await cli.untilStderr(
        /^tailgate: Pages of http:\/\/localhost:3000 and .* can read logs over the WebSocket\./m,
      );
      cli.process.kill(signal);
      expect(await cli.ended).toBe(0);
      await expect(fetch(`${url}/healthz`)).rejects.toThrow("fetch failed");
      expect(cli.stdout).toBe("");
    },
  );

  test("loads modules that only some requests need on the first of them", async () => {
    await using workspace = await Workspace.create();
    const args = ["--port", "0", "--otlp-port", "0", "--log-dir", "logs"];
    const env = { NODE_OPTIONS: TELL_MODULES };
    await using cli = startCli(args, { cwd: workspace.directory, env });
    const url = (await cli.untilStderr(LISTENING))[1]!;
    expect(loadedPackages(cli.stderr)).toEqual(new Set(["ws"]));
    expect(cli.stderr).not.toContain("loads node:http2");
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(loadedPackages(cli.stderr)).toContain("koa");
  });

  test("no record accepted before SIGTERM is missing from the file", async () => {
    await using workspace = await Workspace.create();
    const args = ["run", "--port=0", "--otlp-port=0", "--log-dir=logs"];
    await using cli = startCli(args, { cwd: workspace.directory });
    const url = (await cli.untilStderr(LISTENING))[1]!;
    await otlpLines(url, 5_000);
    cli.process.kill("SIGTERM");
    expect(await cli.ended).toBe(0);
    const lines = (await readFile(workspace.path("logs/orchestrator.log"), "utf8"))
      .trimEnd()
      .split("\n");
    const messages = lines.map((line) => (JSON.parse(line) as { message: string }).message);
    expect(messages).toEqual(Array.from({ length: 5_000 }, (_, index) => `message ${index}`));
  });

  test("reads its configuration from tailgate.yaml and the environment", async () => {
    const certificate = issueCertificate("logs.example.com");
    const expiry = new X509Certificate(certificate.cert).validToDate.toISOString().slice(0, 10);
    await using workspace = await Workspace.create({
      "tailgate.yaml":
        "port: ${env:MY_PORT}\nreceivers: {}\nexporters: {}\nauth: { tokens_file: tokens.json }\ntls: { certificate: tls.pem, key: tls.key }",
      "tls.pem": certificate.cert,
      "tls.key": certificate.key,
    });
    await chmod(workspace.path("tls.key"), 0o600);
    const tokens = await TestTokens.create(workspace, {
      ci: { scopes: ["ingest:system"] },
      old: { scopes: ["admin"], revoked_at: "2026-01-01T00:00:00Z" },
    });
    const env = { MY_PORT: "0", LOG_DIR: "from-env" };
    await using cli = startCli([], { cwd: workspace.directory, env });
    await cli.untilStderr(/listening on https:/);
    expect(cli.stderr).toContain(
      `TLS             certificate of logs.example.com, expires ${expiry}\n`,
    );
    expect(cli.stderr).toContain(`configuration   ${workspace.path("tailgate.yaml")}\n`);
    expect(cli.stderr).toContain(`authentication  on, 1 token in ${tokens.path}\n`);
    expect((await stat(workspace.path("from-env"))).isDirectory()).toBe(true);
  });

  test("after kill -9, gives a plugin the state that it stored, and no other plugin's", async () => {
    await using workspace = await workspaceWith(`
      const starts = Number(host.memory.recall() ?? 0) + 1;
      await host.memory.keep(String(starts));
      say(host.id + " starts " + starts);
      return { write() {} };`);
    const options = { cwd: workspace.directory };
    {
      await using first = startCli([], options);
      await first.untilStderr(/^mine starts 1$/m);
    }
    const yaml = "{ mine/other: { use: ./mine.mjs }, mine: { use: ./mine.mjs } }";
    await workspace.write(
      "tailgate.yaml",
      `port: 0\nlog_dir: logs\nreceivers: {}\nexporters: ${yaml}`,
    );
    await using second = startCli([], options);
    await second.untilStderr(/^mine starts 2$/m);
    expect(second.stderr).toContain("mine/other starts 1");
  });

  test("exits with 69 and names the port if it is in use", async () => {
    await using server = createServer();
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    await using workspace = await Workspace.create();
    const args = ["--port", String(port), "--otlp-port", "0", "--log-dir", "logs"];
    const cli = await runCli(args, { cwd: workspace.directory });
    expect(await cli.ended).toBe(69);
    expect(cli.stderr).toMatch(/^tailgate: PORT_IN_USE: /m);
    expect(cli.stderr).toContain(String(port));
  });

  test("exits with 69 if the log directory cannot be created", async () => {
    await using workspace = await Workspace.create({ file: "" });
    const cli = await runCli(["--port", "0", "--log-dir", "file/logs"], {
      cwd: workspace.directory,
    });
    expect(await cli.ended).toBe(69);
    expect(cli.stderr).toMatch(/^tailgate: LOG_DIR_UNUSABLE: .*file\/logs/m);
  });

  test("exits with 78 and all errors if the configuration is invalid", async () => {
    await using workspace = await Workspace.create({ "my.yaml": "prot: 1\nhost: 0.0.0.0" });
    const cli = await runCli(["--config", "my.yaml"], { cwd: workspace.directory });
    expect(await cli.ended).toBe(78);
    expect(cli.stderr).toBe(
      [
        `tailgate: CONFIG_INVALID: ${workspace.path("my.yaml")} has 2 problems:`,
        '  prot: unknown key; did you mean "port"?',
        '  host: "0.0.0.0" is not a loopback address. Without authentication and TLS, anyone who can reach the port can read and write logs, and logs cross the network in clear text. Configure `auth` and `tls`, or use host 127.0.0.1 with a reverse proxy or an SSH tunnel for remote access. `insecure: true` accepts the risk, for example in a container behind a proxy.',
        "Fix the keys listed above; `tailgate validate` checks a file without starting the gateway.",
        "",
      ].join("\n"),
    );
  });

  test("exits with 1 and names the plugin that throws at open", async () => {
    await using workspace = await workspaceWith('throw new Error("no broker \\x1b[31m")');
    const cli = await runCli([], { cwd: workspace.directory });
    expect(await cli.ended).toBe(1);
    expect(cli.stderr).toMatch(/^tailgate: PLUGIN_OPEN_FAILED: .*mine.*no broker \\x1b\[31m/m);
  });

  test("exits with 1 at once on a second signal", async () => {
    await using workspace = await workspaceWith(
      'return { write() {}, close() { say("closing"); return new Promise(() => {}); } };',
    );
    await using cli = startCli([], { cwd: workspace.directory });
    await cli.untilStderr(LISTENING);
    cli.process.kill("SIGTERM");
    await cli.untilStderr(/^closing$/m);
    cli.process.kill("SIGINT");
    expect(await cli.ended).toBe(1);
  });

  test("exits with 1 if startup hangs after the signal", async () => {
    await using workspace = await workspaceWith('say("opening"); await new Promise(() => {});');
    await using cli = startCli([], { cwd: workspace.directory });
    await cli.untilStderr(/^opening$/m);
    cli.process.kill("SIGTERM");
    expect(await cli.ended).toBe(1);
    expect(cli.stderr).toMatch(/^tailgate: (INTERNAL|PLUGIN_OPEN_FAILED): /m);
  });

  test("prints an uncaught exception, and exits with 1 after closing", async () => {
    await using workspace = await workspaceWith(
      `process.once("SIGUSR2", () => { throw new Error("boom"); });
       return { write() {}, close() { say("closed"); } };`,
    );
    await using cli = startCli([], { cwd: workspace.directory });
    await cli.untilStderr(LISTENING);
    cli.process.kill("SIGUSR2");
    expect(await cli.ended).toBe(1);
    expect(cli.stderr).toMatch(/^tailgate: INTERNAL: Error: boom\n +at .*mine\.mjs/m);
    expect(cli.stderr).toMatch(/^closed$/m);
  });

  test("exits despite a plugin with running timers", async () => {
    await using workspace = await workspaceWith(
      "setInterval(() => {}, 1000); return { write() {} };",
    );
    await using cli = startCli([], { cwd: workspace.directory });
    await cli.untilStderr(LISTENING);
    cli.process.kill("SIGTERM");
    expect(await cli.ended).toBe(0);
  });
});

describe("usage", () => {
  test.each([
    [
      ["--prot", "1"],
      "tailgate: USAGE: unknown option '--prot'\n(Did you mean --port?)\nRun `tailgate --help`.\n",
    ],
    [
      ["valdate"],
      'tailgate: USAGE: Unknown command "valdate". Did you mean "validate"? Run `tailgate --help`.\n',
    ],
    [["run", "it"], 'tailgate: USAGE: Unknown command "it". Run `tailgate --help`.\n'],
    [
      ["run", "--port", "65536"],
      "tailgate: USAGE: option '--port <port>' argument '65536' is invalid. Expected an integer from 0 to 65535.\nRun `tailgate --help`.\n",
    ],
    [
      ["validate", "x"],
      "tailgate: USAGE: too many arguments for 'validate'. Expected 0 arguments but got 1: x.\nRun `tailgate --help`.\n",
    ],
  ])("%j exits with 64", async (args, text) => {
    const cli = await runCli(args);
    expect([await cli.ended, cli.stderr, cli.stdout]).toEqual([64, text, ""]);
  });

  test.each([
    ["--help"],
    ["run", "--help"],
    ["validate", "--help"],
    ["plugins", "--help"],
    ["tail", "--help"],
    ["healthcheck", "--help"],
  ])("%s %s shows examples", async (...args) => {
    const cli = await runCli(args);
    expect(await cli.ended).toBe(0);
    expect(cli.stdout).toContain("Examples:\n  tailgate");
  });

  test("--version prints the package's version", async () => {
    const manifest = new URL("../../package.json", import.meta.url);
    const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
    const cli = await runCli(["--version"]);
    expect([await cli.ended, cli.stdout]).toEqual([0, `${version}\n`]);
  });
});
