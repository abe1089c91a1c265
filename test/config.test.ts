import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { resolveConfig, type Config } from "tailgate";
import { type ConfigFlags } from "../src/config/config.ts";
import { Workspace } from "./harness/workspace.ts";

interface Given {
  readonly text?: string;
  readonly env?: Record<string, string>;
  readonly flags?: ConfigFlags;
  readonly cwd?: string;
}

function resolved({ text = "", env = {}, flags = {}, cwd = "/srv/here" }: Given): Promise<Config> {
  return resolveConfig({ text, env, flags, cwd });
}

async function errorOf(given: Given): Promise<{ code: string; exitCode: number; lines: string[] }> {
  const error = await resolved(given).then(
    () => Promise.reject(new Error("the configuration was accepted")),
    (thrown: { code: string; exitCode: number; message: string }) => thrown,
  );
  const { code, exitCode, message } = error;
  return { code, exitCode, lines: message.split("\n").map((line) => line.trim()) };
}

/** Returns the only error of an invalid configuration. */
async function problemOf(given: Given | string): Promise<string> {
  const { code, lines } = await errorOf(typeof given === "string" ? { text: given } : given);
  expect(code).toBe("CONFIG_INVALID");
  expect(lines[0]).toMatch(/ has a problem:$/);
  expect(lines).toHaveLength(3);
  return lines[1]!;
}

function ids(components: readonly { readonly id: string }[]): string[] {
  return components.map(({ id }) => id);
}

describe("the default configuration", () => {
  test("runs OTLP, WebSocket, files and console on loopback", async () => {
    const config = await resolved({});
    expect(config).toMatchObject({
      host: "127.0.0.1",
      port: 8001,
      logDir: "/tmp/madrox_logs",
      logLevel: "INFO",
      allowedHosts: [],
    });
    expect(config).not.toHaveProperty("file");
    expect(ids(config.receivers)).toEqual(["otlp"]);
    expect(ids(config.processors)).toEqual([]);
    expect(ids(config.exporters)).toEqual(["websocket", "file", "audit-file", "console"]);
  });

  test("has no receivers when embedded", async () => {
    const config = await resolveConfig({ env: {}, flags: {}, cwd: "/", base: "embedded" });
    expect(ids(config.receivers)).toEqual([]);
    expect(ids(config.exporters)).toEqual(["websocket", "file", "audit-file", "console"]);
  });

  test("fills in the defaults of each plugin's schema", async () => {
    const { exporters } = await resolved({});
    expect(exporters[1]?.options).toEqual({
      path: "orchestrator.log",
      max_bytes: 10_485_760,
      backups: 5,
    });
  });

  test("trusts the frontend of the original system unless configured otherwise", async () => {
    expect(await resolved({})).toMatchObject({ trustsDefaultOrigins: true });
    const text = "trust_default_origins: false";
    expect(await resolved({ text })).toMatchObject({ trustsDefaultOrigins: false });
  });

  test("serves everything at the root, and trusts no proxy, unless configured otherwise", async () => {
    expect(await resolved({})).toMatchObject({ basePath: "", trustedProxies: [] });
    for (const text of ["base_path: /a/tailgate", "base_path: /a/tailgate/"]) {
      expect(await resolved({ text })).toMatchObject({ basePath: "/a/tailgate" });
    }
    const text = "trusted_proxies: [127.0.0.1, 10.0.0.0/8, fd00::/8]";
    const trustedProxies = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
    expect(await resolved({ text })).toMatchObject({ trustedProxies });
  });

  test("limits the resources of HTTP clients, and each limit is configurable", async () => {
    expect((await resolved({})).http).toEqual({
      connectionsMax: 1000,
      connectionsPerAddressMax: 1000,
      answerBytesMax: 64 << 20,
      writeTimeoutMs: 10_000,
      searchesMax: 4,
      queuedSearchesMax: 64,
    });
    const text = `http: { max_connections: 1, max_connections_per_address: 2, max_answer_bytes: 1048576,
      write_timeout_seconds: 0.5, max_searches: 3, max_queued_searches: 0 }`;
    expect((await resolved({ text })).http).toEqual({
      connectionsMax: 1,
      connectionsPerAddressMax: 2,
      answerBytesMax: 1 << 20,
      writeTimeoutMs: 500,
      searchesMax: 3,
      queuedSearchesMax: 0,
    });
  });

  test("is deeply frozen", async () => {
    const config = await resolved({ text: "exporters: { file: { backups: 1 } }" });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.exporters)).toBe(true);
    expect(Object.isFrozen(config.exporters[0])).toBe(true);
    expect(Object.isFrozen(config.exporters[0]?.options)).toBe(true);
    expect(Object.isFrozen(config.exporters[0]?.definition)).toBe(false);
  });
});

test("a processor's on_error has three valid values and is undefined by default", async () => {
  const workspace = await Workspace.create({
    "plain.mjs": `import { defineProcessor, z } from "tailgate/plugin";
      const open = () => ({ process: (record) => record });
      export default defineProcessor({ name: "plain", description: "", options: z.object({}), open });`,
  });
  await using _ = workspace;
  await workspace.install("tailgate");
  const use = workspace.path("plain.mjs");
  const text = (more: string): string => `processors: { plain: { use: "${use}"${more} } }`;
  expect((await resolved({ text: text("") })).processors[0]).not.toHaveProperty("onError");
  for (const onError of ["fail", "keep", "drop"]) {
    const { processors } = await resolved({ text: text(`, on_error: ${onError}`) });
    expect(processors).toMatchObject([{ id: "plain", onError }]);
  }
  expect(await problemOf(text(", on_error: ignore"))).toBe(
    'processors.plain.on_error: expected one of "fail", "keep", "drop"; found "ignore"',
  );
});

describe("sources", () => {
  test("flags override the environment, the environment the file, the file the defaults", async () => {
    const text = "port: 1\nlog_level: error\nlog_dir: from-file\nhost: localhost";
    const env = { ORCHESTRATOR_PORT: "2", LOG_LEVEL: "warn", MADROX_LOG_DIR: "/m", LOG_DIR: "/l" };
    const flags = { port: 3, logDir: "from-flag" };
    expect(await resolved({ text })).toMatchObject({
      port: 1,
      logLevel: "ERROR",
      host: "localhost",
    });
    expect(await resolved({ text, env })).toMatchObject({
      port: 2,
      logLevel: "WARNING",
      logDir: "/m",
    });
    expect(await resolved({ text, env, flags })).toMatchObject({
      port: 3,
      logDir: "/srv/here/from-flag",
    });
  });

  test("MADROX_LOG_DIR overrides LOG_DIR, and empty variables are ignored", async () => {
    const env = {
      MADROX_LOG_DIR: "",
      LOG_DIR: "/from-log-dir",
      LOG_LEVEL: "",
      ORCHESTRATOR_PORT: "",
    };
    expect(await resolved({ env })).toMatchObject({ logDir: "/from-log-dir", port: 8001 });
  });

  test("resolves a relative log directory against the working directory, not the file", async () => {
    await using workspace = await Workspace.create({ "etc/tailgate.yaml": "log_dir: logs" });
    const file = "etc/tailgate.yaml";
    const config = await resolveConfig({ file, env: {}, flags: {}, cwd: workspace.directory });
    expect(config.logDir).toBe(workspace.path("logs"));
    expect(config.file).toBe(workspace.path("etc/tailgate.yaml"));
  });

  test("reads tailgate.yaml from the working directory if no file is given", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": "port: 7" });
    const sources = { env: {}, flags: {}, cwd: workspace.directory };
    expect(await resolveConfig(sources)).toMatchObject({
      port: 7,
      file: workspace.path("tailgate.yaml"),
    });
    expect(await resolveConfig({ ...sources, base: "embedded" })).toMatchObject({ port: 8001 });
  });

  test("--otlp-port sets the OTLP receiver's port, MAX_WS_CONNECTIONS the WebSocket exporter's limit", async () => {
    const config = await resolved({ flags: { otlpPort: 0 }, env: { MAX_WS_CONNECTIONS: "7" } });
    expect(config.receivers[0]?.options).toMatchObject({ port: 0 });
    expect(config.exporters[0]?.options).toMatchObject({ max_connections: 7 });
  });

  test("ignores MAX_WS_CONNECTIONS without a WebSocket, and rejects --otlp-port without OTLP", async () => {
    const text = "receivers: {}\nexporters: { console: }";
    expect(ids((await resolved({ text, env: { MAX_WS_CONNECTIONS: "7" } })).exporters)).toEqual([
      "console",
    ]);
    expect(await problemOf({ text, flags: { otlpPort: 1 } })).toBe(
      "--otlp-port: the configuration has no receivers.otlp",
    );
  });

  test("sections passed by a program replace those of the file and are not substituted", async () => {
    const config = await resolveConfig({
      text: "port: 9\nexporters: { console: }",
      document: { exporters: { file: { path: "a.log" } }, receivers: undefined },
      env: {},
      flags: {},
      cwd: "/",
    });
    expect(config.port).toBe(9);
    expect(ids(config.receivers)).toEqual(["otlp"]);
    expect(config.exporters.map(({ id, options }) => [id, options["path"]])).toEqual([
      ["file", "a.log"],
    ]);
  });
});

describe("components", () => {
  test("a section in the file replaces the default one and keeps the file's order", async () => {
    const config = await resolved({
      text: "exporters:\n  console:\n  file/b: {path: b.log}\n  file/a: {path: a.log}",
    });
    expect(ids(config.exporters)).toEqual(["console", "file/b", "file/a"]);
    expect(ids(config.receivers)).toEqual(["otlp"]);
    expect(config.exporters.map(({ definition }) => definition.name)).toEqual([
      "console",
      "file",
      "file",
    ]);
  });

  test("an empty section means none", async () => {
    const config = await resolved({ text: "receivers:\nexporters: {}" });
    expect([config.receivers, config.exporters]).toEqual([[], []]);
  });

  test("several file exporters are valid if no two write to the same file", async () => {
    const text = `exporters:
      file: {backups: 2}
      file/old: {path: orchestrator.log.3}
      file/errors: {path: errors.log, level: ERROR}
      audit-file:`;
    const { exporters } = await resolved({ text });
    expect(ids(exporters)).toEqual(["file", "file/old", "file/errors", "audit-file"]);
  });

  test("delivery options are not passed to the plugin", async () => {
    const text =
      "exporters: { console: { level: fatal, filter: -boring, queue_bytes: 9, timeout_seconds: 0.5 }, file: , audit-file: { filter: type:audit } }";
    const [given, byDefault] = (await resolved({ text })).exporters;
    expect(given).toMatchObject({ level: "CRITICAL", filter: "-boring" });
    expect(given).toMatchObject({ queueBytesMax: 9, timeoutMs: 500 });
    expect(Object.keys(given!.options).toSorted()).toEqual(["color", "stream"]);
    expect(byDefault).toMatchObject({ queueBytesMax: 67_108_864, timeoutMs: 30_000 });
    expect(byDefault).not.toHaveProperty("level");
    expect(byDefault).not.toHaveProperty("filter");
  });
});

test("a receiver's attributes are texts, numbers and booleans, also from the environment", async () => {
  const text =
    "receivers: { otlp: { attributes: { environment: '${env:STAGE}', rack: 7, canary: false, zone: '${env:ZONE:-a-1}' } } }";
  const { receivers } = await resolved({ text, env: { STAGE: "prod" } });
  const attributes = { environment: "prod", rack: 7, canary: false, zone: "a-1" };
  expect(receivers[0]).toMatchObject({ attributes });
  expect(receivers[0]!.options).not.toHaveProperty("attributes");
});

describe("configuration errors", () => {
  test.each([
    [
      "exporters: {file: {max_byte: 1}}",
      'exporters.file.max_byte: unknown key; did you mean "max_bytes"?',
    ],
    [
      "exporters: {console: {lvel: INFO}}",
      'exporters.console.lvel: unknown key; did you mean "level"?',
    ],
    ["exporter: {}", 'exporter: unknown key; did you mean "exporters"?'],
    ["logDir: /tmp", 'logDir: unknown key; did you mean "log_dir"?'],
    [
      "exporters: {file: {zzz: 1}}",
      "exporters.file.zzz: unknown key; known keys are path, max_bytes, backups, use, level, filter, queue_bytes, timeout_seconds",
    ],
    ["port: 70000", "port: expected integer from 0 to 65535 or null; found 70000"],
    ["port: 80.5", "port: expected integer from 0 to 65535 or null; found 80.5"],
    ["port: '8001'", 'port: expected integer from 0 to 65535 or null; found "8001"'],
    ["port:", "port: null needs listen"],
    [
      "log_level: LOUD",
      'log_level: expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL; found "LOUD"',
    ],
    ["log_level: 3", "log_level: expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL; found 3"],
    ["log_dir: ~/logs", 'log_dir: ~ is not expanded; write ${env:HOME}; found "~/logs"'],
    [
      "allowed_hosts: logs.example.com",
      "allowed_hosts: expected list of host name, host:port or origin; found",
    ],
    [
      "trace_url: 'javascript:alert({trace_id})'",
      'trace_url: expected an http or https URL with {trace_id} after its host, such as https://jaeger.example/trace/{trace_id}; found "javascript:alert({trace_id})"',
    ],
    [
      "trace_url: https://{trace_id}.example/",
      'trace_url: expected an http or https URL with {trace_id} after its host, such as https://jaeger.example/trace/{trace_id}; found "https://{trace_id}.example/"',
    ],
    [
      "base_path: /a/../b",
      'base_path: expected a path such as /tailgate, of letters, digits, and . _ ~ -; found "/a/../b"',
    ],
    [
      "base_path: tailgate",
      'base_path: expected a path such as /tailgate, of letters, digits, and . _ ~ -; found "tailgate"',
    ],
    [
      "trusted_proxies: [0.0.0.0/0]",
      'trusted_proxies[0]: expected an address or a network such as 127.0.0.1 or 10.0.0.0/8, and not all addresses; found "0.0.0.0/0"',
    ],
    [
      "auth: { proxy: { user_header: 'X User' } }",
      'auth.proxy.user_header: expected the name of a header, such as X-Forwarded-User; found "X User"',
    ],
    [
      "auth: { proxy: { user_header: X-User } }",
      "auth.proxy: it needs trusted_proxies or listen: else nobody's headers count",
    ],
    [
      "auth: { proxy: { user_header: X-User, groups: { ops: { scopes: [root] } } } }",
      'auth.proxy.groups.ops.scopes[0]: expected one of "ingest", "read", ',
    ],
    [
      "auth: { proxy: { user_header: X-User, users: { alice: { scopes: [read], filter: 'level:LOUD' } } } }",
      'auth.proxy.users.alice.filter: expected a filter, such as type:audit or -logger:orchestrator.debug; found "level:LOUD"',
    ],
    [
      "allowed_hosts: ['*']",
      'allowed_hosts[0]: expected a host name, host:port, or an origin such as http://localhost:3000; found "*"',
    ],
    [
      "exporters: [console]",
      'exporters: expected mapping; found ["console"]; write NAME: {} for each, not a list',
    ],
    [
      "envelope: {resource_attributes: host.name}",
      'envelope.resource_attributes: expected list of attribute names, 0 to 32 items; found "host.name"; write it as a list, in brackets',
    ],
    ["exporters: {console: true}", "exporters.console: expected mapping; found true"],
    [
      "exporters: {console: {color: red}}",
      'exporters.console.color: expected one of "auto", "always", "never"; found "red"',
    ],
    [
      "exporters: {Console: }",
      "exporters.Console: a component's key is a plugin name, such as webhook, or webhook/NAME",
    ],
    [
      "exporters: {'file/../x': }",
      'exporters."file/../x": a component\'s key is a plugin name, such as webhook, or webhook/NAME',
    ],
    [
      "exporters: {otlp: {endpoint: 'localhost:4318'}}",
      'exporters.otlp.endpoint: expected an http or https URL such as http://127.0.0.1:4318; found "localhost:4318"',
    ],
    ["exporters: {console: {use: ''}}", 'exporters.console.use: expected text; found ""'],
    ["exporters: {console: {use: 3}}", "exporters.console.use: expected text; found 3"],
    ["__proto__: {port: 1}", "__proto__: unknown key; known keys are"],
    [
      "exporters: {file/all: {path: a.log}, file/errors: {path: a.log, level: ERROR}}",
      "exporters.file/errors: it would write a.log in the log directory, as exporters.file/all does",
    ],
    [
      "exporters: {file: {backups: 2}, file/old: {path: orchestrator.log.2}}",
      "exporters.file/old: it would write orchestrator.log.2 in the log directory, as exporters.file does",
    ],
    [
      "exporters: {audit-file: , audit-file/year: {retention_days: 365}}",
      "exporters.audit-file/year: it would write audit in the log directory, as exporters.audit-file does",
    ],
    ["exporters: {file: {path: ..}}", "exporters.file.path: a plain file name"],
    [
      "exporters:",
      "exporters: it is empty; list exporters below it, remove it to get the default ones, or write {} to have none",
    ],
    [
      "exporters: # console",
      "exporters: it is empty; list exporters below it, remove it to get the default ones, or write {} to have none",
    ],
    [
      "exporters: {console: {filter: 'level:LOUD'}}",
      'exporters.console.filter: The filter term "level:LOUD" is invalid: the level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL (at character 1). Valid terms are:',
    ],
    [
      "receivers: {otlp: {attributes: {environment: [prod]}}}",
      'receivers.otlp.attributes.environment: expected text, number or boolean; found ["prod"]',
    ],
    ["receivers: {otlp: {attributes: {log.record.uid: a}}}", "receivers.otlp.attributes."],
    [
      "envelope: {resource_attributes: [service]}",
      'envelope.resource_attributes[0]: envelopes have another field of this name; found "service"',
    ],
    [
      "envelope: {resource_attributes: [extra_level]}",
      'envelope.resource_attributes[0]: envelopes have another field of this name; found "extra_level"',
    ],
    [
      "envelope: {resource_attributes: [host.name, host.name]}",
      "envelope.resource_attributes: a name is repeated",
    ],
    ["exporters: {console: {filter: 3}}", "exporters.console.filter: expected filter; found 3"],
    [
      "exporters: {file: {filter: 'type:audit action:x'}}",
      "exporters.file.filter: file gets only system logs, and none of them matches it",
    ],
    [
      "exporters: {audit-file/x: {filter: '-action:x'}}",
      "exporters.audit-file/x.filter: audit-file must get all audit events: one that is left out looks like a removed one; remove the filter, or use it on another exporter",
    ],
    [
      "exporters: {file: {path: journal.db}}",
      "exporters.file: it would write journal.db in the log directory, as the journal does",
    ],
  ])("%s", async (text, problem) => {
    expect(await problemOf(text)).toContain(problem);
  });

  test("name the variable or flag that the value came from", async () => {
    expect(await problemOf({ env: { ORCHESTRATOR_PORT: "http" } })).toBe(
      'ORCHESTRATOR_PORT: expected integer from 0 to 65535 or null; found "http"',
    );
    expect(await problemOf({ env: { MAX_WS_CONNECTIONS: "many" } })).toMatch(
      /^MAX_WS_CONNECTIONS: expected integer .*; found "many"$/,
    );
    expect(await problemOf({ flags: { port: -1 } })).toBe(
      "--port: expected integer from 0 to 65535 or null; found -1",
    );
  });

  test("are reported together, one per line", async () => {
    const text =
      "port: x\nhst: a\nexporters: { file: { backups: -1 }, nope: {}, console: { colour: auto } }";
    const { code, exitCode, lines } = await errorOf({ text });
    expect([code, exitCode]).toEqual(["CONFIG_INVALID", 78]);
    expect(lines[0]).toBe("The configuration has 5 problems:");
    expect(lines.slice(1, -1).map((line) => line.split(":")[0])).toEqual([
      "hst",
      "port",
      "exporters.file.backups",
      "exporters.nope",
      "exporters.console.colour",
    ]);
    expect(lines.at(-1)).toBe(
      "Fix the keys listed above; `tailgate validate` checks a file without starting the gateway.",
    );
  });

  test("never show secrets", async () => {
    await using workspace = await Workspace.create();
    await workspace.install("zod");
    await workspace.write(
      "plugin.mjs",
      `import { z } from "zod";
       const options = z.object({
         api_token: z.string().length(3).default("abc"),
         url: z.url().startsWith("https:").default("https://localhost"),
       });
       export default { kind: "exporter", apiVersion: 1, name: "x", description: "", options, open() {} };`,
    );
    const text = `exporters:
      x: { use: ./plugin.mjs, api_token: 123456, url: "ftp://joe:pass-123@host/" }
      y: { use: ./plugin.mjs, api_token: { value: hunter2 } }`;
    const { lines } = await errorOf({ text, cwd: workspace.directory });
    expect(lines.slice(1, -1)).toEqual([
      "exporters.x.api_token: expected text of 3 characters; the value is not shown",
      'exporters.x.url: Invalid string: must start with "https:"; found "ftp://********@host/"',
      "exporters.y.api_token: expected text of 3 characters; the value is not shown",
    ]);
  });

  test("truncate long values", async () => {
    expect((await problemOf(`port: ${"9".repeat(300)}x`)).length).toBeLessThan(150);
  });
});

describe("the bind address", () => {
  test.each([
    "127.0.0.1",
    "127.9.8.7",
    "::1",
    "[::1]",
    "localhost",
    "LOCALHOST",
    "0:0:0:0:0:0:0:1",
  ])("accepts %s as loopback", async (host) => {
    expect((await resolved({ flags: { host } })).host).toBe(host === "[::1]" ? "::1" : host);
  });

  test.each([
    "0.0.0.0",
    "::",
    "192.168.0.1",
    "example.com",
    "127.0.0.1.example.com",
    "localhost.",
    "127.1",
    " 127.0.0.1",
    "::1%nowhere",
  ])("rejects %s", async (host) => {
    const { code, exitCode, lines } = await errorOf({ flags: { host } });
    expect([code, exitCode]).toEqual(["BIND_REFUSED", 78]);
    expect(lines[0]).toContain(`--host: ${JSON.stringify(host)} is not a loopback address`);
  });
});

describe("another bind address than loopback", () => {
  const tls = "tls: { certificate: a.pem, key: a.key }";

  test("says what is missing and what to do", async () => {
    const { lines } = await errorOf({ text: "host: 0.0.0.0" });
    expect(lines[0]).toContain(
      "Without authentication and TLS, anyone who can reach the port can read and write logs",
    );
    expect(lines[0]).toContain("Configure `auth` and `tls`, or use host 127.0.0.1");
    expect((await errorOf({ text: `host: 0.0.0.0\n${tls}` })).lines[0]).toContain(
      "Without authentication, anyone",
    );
    expect((await errorOf({ text: "host: 0.0.0.0\nauth: {}" })).lines[0]).toContain(
      "Without TLS, tokens and logs cross the network in clear text",
    );
  });

  test("is accepted with authentication and TLS", async () => {
    const { exposure } = await resolved({ text: `host: 0.0.0.0\nauth: {}\n${tls}` });
    expect(exposure).toBeUndefined();
  });

  test("is accepted with insecure: true, which tells what is missing", async () => {
    const open = await resolved({ text: "host: 0.0.0.0\ninsecure: true" });
    expect([open.host, open.exposure]).toEqual([
      "0.0.0.0",
      expect.stringContaining("Without authentication and TLS"),
    ]);
    const loopback = await resolved({ text: "insecure: true" });
    expect(loopback.exposure).toBeUndefined();
  });
});

describe("tls and listen", () => {
  test("paths are relative to the configuration file", async () => {
    await using workspace = await Workspace.create({
      "etc/tailgate.yaml":
        "port: null\nlisten: unix:run/a.sock\nlisten_mode: '0600'\ntls: { certificate: a.pem, key: /b.key, client_ca: c.pem, min_version: 1.3, hsts_seconds: 1 }\nauth: { tokens_file: t.json, certificates: { a: { scopes: [read] } } }",
    });
    const { port, socket, tls, auth, settings } = await resolveConfig({
      file: "etc/tailgate.yaml",
      cwd: workspace.directory,
      env: {},
      flags: {},
    });
    const path = (name: string): string => workspace.path(`etc/${name}`);
    expect(auth?.tokensFile).toBe(path("t.json"));
    const files = { certificate: path("a.pem"), key: "/b.key", clientCa: path("c.pem") };
    expect({ port, socket, tls }).toEqual({
      port: null,
      socket: { path: path("run/a.sock"), mode: 0o600 },
      tls: { files, minVersion: "TLSv1.3", hstsSeconds: 1 },
    });
    expect(settings).toMatchObject({
      listen: `unix:${path("run/a.sock")}`,
      tls: { certificate: path("a.pem"), client_ca: path("c.pem"), min_version: "1.3" },
    });
  });

  test.each([
    ["port: null", "port: null needs listen: else nothing could reach the gateway"],
    ["listen: /run/a.sock", "listen: expected unix: and the path of a socket"],
    [`listen: unix:/${"a".repeat(200)}`, "listen: the path of a socket must not be longer than"],
    ["listen: unix:a\nlisten_mode: 0660", "listen_mode: expected octal digits in quotes"],
    ["listen: unix:a\nlisten_mode: '0888'", "listen_mode: expected octal digits in quotes"],
    [
      "tls: { certificate: a.pem, key: a.key, client_ca: b.pem }",
      "tls.client_ca: it needs auth.certificates",
    ],
    [
      "auth: { certificates: { a: { scopes: [read] } } }",
      "auth.certificates: it needs tls.client_ca",
    ],
    ["tls: { certificate: a.pem }", "tls.key: expected text; it is missing"],
    [
      "tls: { certificate: a.pem, key: b, min_version: 1.1 }",
      "tls.min_version: expected 1.2 or 1.3",
    ],
  ])("rejects %s", async (text, why) => {
    expect(await problemOf(text)).toContain(why);
  });
});

describe("the configuration file", () => {
  test.each([
    ["port: 1\nport: 2", "configuration:2:1: Map keys must be unique"],
    ["receivers: {otlp: {}, otlp: {}}", "configuration:1:23: Map keys must be unique"],
    ["a: [1", "configuration:1:6: Flow sequence in block collection"],
    ["port: !secret x", "configuration:1:7: Unresolved tag: !secret"],
    ["? [a, b]\n: 1", "configuration:1:3: a key must be plain text"],
    ["a: &a [1, *a]", "configuration:1:11: *a is inside the value that it refers to"],
    ["port: 1\n---\nport: 2", "configuration:2:1: Source contains multiple documents"],
  ])("rejects %j with line and column", async (text, problem) => {
    expect((await errorOf({ text })).lines[1]).toContain(problem);
  });

  test("merge keys add missing keys only, and earlier mappings of a list take precedence", async () => {
    const text = `
x-base: &base { level: ERROR, queue_bytes: 7 }
x-slow: &slow { timeout_seconds: 9, queue_bytes: 8, level: INFO }
exporters:
  console: { <<: *base, level: WARNING }
  file/a: { path: a.log, <<: [*base, *slow] }
  file/b:
    <<: { path: b.log }
    <<: *slow`;
    const { exporters } = await resolved({ text });
    expect(exporters).toMatchObject([
      { id: "console", level: "WARNING", queueBytesMax: 7, timeoutMs: 30_000 },
      { id: "file/a", level: "ERROR", queueBytesMax: 7, timeoutMs: 9_000 },
      { id: "file/b", level: "INFO", queueBytesMax: 8, options: { path: "b.log" } },
    ]);
  });

  test("keys that begin with x- are ignored wherever the set of keys is fixed", async () => {
    const text = `
x-note: [1, "\${env:UNSET}", { a: 1 }]
journal: { x-why: tests, system_days: 2 }
exporters: { console: { x-note: here, color: never }, otlp: { endpoint: http://a, headers: { x-tenant: "7" } } }`;
    const { settings, exporters } = await resolved({ text });
    expect(settings).toMatchObject({ journal: { system_days: 2 } });
    expect(JSON.stringify(settings)).not.toContain("x-");
    expect(exporters.map(({ options }) => options)).toMatchObject([
      { color: "never", stream: "stderr" },
      { headers: { "x-tenant": "7" } },
    ]);
    expect(exporters[0]!.options).not.toHaveProperty("x-note");
  });

  test("suggests a correction for a typo next to extensions and merge keys", async () => {
    const text = "x-a: &a { max_byte: 1 }\nexporters:\n  file: { <<: *a }";
    expect(await problemOf(text)).toBe(
      'exporters.file.max_byte: unknown key; did you mean "max_bytes"?',
    );
    expect(await problemOf("x-a: 1\nprot: 1")).toBe('prot: unknown key; did you mean "port"?');
    expect(await problemOf("xport: 1")).toBe('xport: unknown key; did you mean "port"?');
    expect(await problemOf('"<<": { port: 1 }')).toContain("<<");
  });

  test.each([
    [
      "x: &x 1\nhttp:\n  <<: *x",
      "configuration:3:7: << must merge a mapping or a list of mappings",
    ],
    ["http: { <<: [{}, 2] }", "configuration:1:13: << must merge a mapping or a list of mappings"],
    ["<<:", "<< must merge a mapping or a list of mappings"],
    ["a: &a { <<: *a }", "configuration:1:13: *a is inside the value that it refers to"],
    ["x-a: &a {}\nport: 1\n<<: *a\nport: 2", "configuration:4:1: Map keys must be unique"],
  ])("reports %j at its position", async (text, problem) => {
    expect((await errorOf({ text })).lines.join("\n")).toContain(problem);
  });

  test("rejects mappings that merge each other exponentially without delay", async () => {
    const letters = "abcdefghij".split("");
    const bomb = letters.slice(1).map((letter, index) => {
      const before = Array.from({ length: 9 }, () => `*${letters[index]}`).join();
      return `x-${letter}: &${letter} { <<: [${before}] }`;
    });
    const text = `x-a: &a { k: 1 }\n${bomb.join("\n")}`;
    expect((await errorOf({ text })).lines[1]).toContain("<< merges too much");
  }, 5_000);

  test("rejects merges of non-mappings, unknown anchors and exponential expansion", async () => {
    const letters = "bcdefghij".split("");
    const bomb = letters.map((letter, index) => {
      const before = "abcdefghij"[index];
      return `${letter}: &${letter} [${Array.from({ length: 9 }, () => `*${before}`).join()}]`;
    });
    const refusals: [string, string][] = [
      ["- port", 'is not a mapping. It has to start with keys such as "port: 8001".'],
      ["just words", 'is not a mapping. It has to start with keys such as "port: 8001".'],
      ["port: *nope", "is not valid YAML: Unresolved alias"],
      [`a: &a [1]\n${bomb.join("\n")}`, "is not valid YAML: Excessive alias count"],
    ];
    for (const [text, why] of refusals) {
      expect((await errorOf({ text })).lines[0]).toContain(`configuration ${why}`);
    }
  });

  test("reports a missing file, a directory and invalid UTF-8 as unreadable", async () => {
    await using workspace = await Workspace.create();
    await workspace.write("latin1.yaml", Uint8Array.from([0x61, 0x3a, 0x20, 0xe9]));
    for (const file of ["missing.yaml", ".", "latin1.yaml"]) {
      const sources = { file, env: {}, flags: {}, cwd: workspace.directory };
      await expect(resolveConfig(sources)).rejects.toMatchObject({
        code: "CONFIG_UNREADABLE",
        message: expect.stringContaining(workspace.path(file).replace(/\/\.$/, "")),
      });
    }
  });

  test("yields a configuration or a coded error for arbitrary content", async () => {
    const words =
      "port~: ~\n~  ~exporters~file~{~}~[~]~&a ~*a~!!binary ~${env:A:-~<<~'~\"~- ~? ~|~#~%~\t~\0~__proto__~1e9~.nan";
    const texts = fc
      .array(fc.oneof(fc.constantFrom(...words.split("~")), fc.string()), { maxLength: 25 })
      .map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        const code = await resolved({ text }).then(
          () => "valid",
          (error: { code: string }) => error.code,
        );
        expect(code).toMatch(/^(valid|CONFIG_INVALID|BIND_REFUSED|PLUGIN_NOT_FOUND)$/);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("substitution", () => {
  test("a value that consists of one substitution takes the type of its text", async () => {
    const text = 'port: "${env:PORT:-8002}"\nhost: ${env:BIND}';
    const env = { BIND: "localhost" };
    expect(await resolved({ text, env })).toMatchObject({ port: 8002, host: "localhost" });
    expect(await resolved({ text, env: { ...env, PORT: "0x10" } })).toMatchObject({ port: 16 });
  });

  test("a string option accepts digits as a string", async () => {
    const text = "exporters: { file: { path: '${env:NAME}' } }";
    const { exporters } = await resolved({ text, env: { NAME: "2024" } });
    expect(exporters[0]?.options).toMatchObject({ path: "2024" });
  });

  test("a substitution inside a string yields a string", async () => {
    const env = { HOME: "/root", DAY: "7" };
    expect(await resolved({ text: "log_dir: ${env:HOME}/logs-${env:DAY}", env })).toMatchObject({
      logDir: "/root/logs-7",
    });
    expect(await problemOf({ text: "port: 1${env:DAY}", env })).toBe(
      'port: expected integer from 0 to 65535 or null; found "17"',
    );
  });

  test("uses the default if the variable is unset or empty", async () => {
    const text = "log_dir: ${env:DIR:-/fallback}/x";
    expect(await resolved({ text })).toMatchObject({ logDir: "/fallback/x" });
    expect(await resolved({ text, env: { DIR: "" } })).toMatchObject({ logDir: "/fallback/x" });
    expect(await resolved({ text, env: { DIR: "/given" } })).toMatchObject({ logDir: "/given/x" });
  });

  test("rejects an unset variable without a default, naming the key's path", async () => {
    expect(await problemOf("exporters: { file: { path: '${env:NAME}.log' } }")).toBe(
      "exporters.file.path: the environment variable NAME is not set; set it, or add a default: ${env:NAME:-default}",
    );
  });

  test("never yields structure, and applies neither to keys nor to substituted values", async () => {
    const env = { A: "{file: {}}", B: "${env:C}", C: "x", PORT: "1\nhost: 0.0.0.0" };
    expect(await problemOf({ text: "exporters: ${env:A}", env })).toBe(
      'exporters: expected mapping; found "{file: {}}"',
    );
    expect(await resolved({ text: "log_dir: /${env:B}", env })).toMatchObject({
      logDir: "/${env:C}",
    });
    expect(await problemOf({ text: '"${env:C}": 1', env })).toContain('"${env:C}": unknown key');
    expect(await problemOf({ text: "port: ${env:PORT}", env })).toContain("port: expected integer");
  });

  test("$${ yields a literal ${, and any other ${ is rejected", async () => {
    expect(await resolved({ text: "log_dir: /$${env:A}" })).toMatchObject({ logDir: "/${env:A}" });
    for (const text of ["log_dir: /${HOME}", "log_dir: /${env:}", "log_dir: '/${env:A'"]) {
      expect(await problemOf(text)).toBe(
        "log_dir: write a substitution as ${env:NAME} or ${env:NAME:-default}, and a literal ${ as $${",
      );
    }
  });

  test("rejects deeply nested unterminated substitutions without delay", async () => {
    const text = `host: "${"${env:A:-".repeat(100_000)}"`;
    expect(await problemOf(text)).toContain("host: write a substitution as ${env:NAME}");
  }, 5_000);

  test("leaves strings without a substitution unchanged", async () => {
    const plain = fc
      .string()
      .filter(
        (text) =>
          !text.includes("${") &&
          !text.startsWith("~") &&
          !text.includes("/") &&
          text.trim() !== "",
      );
    await fc.assert(
      fc.asyncProperty(plain, async (name) => {
        const text = JSON.stringify({ log_dir: `/x${name}` });
        expect((await resolved({ text })).logDir).toBe(`/x${name}`);
      }),
      { numRuns: 100 },
    );
  });
});
