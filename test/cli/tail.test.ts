import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocketServer } from "ws";
import { LoggingManager } from "tailgate";
import { issueCertificate } from "../harness/certificates.ts";
import { Workspace } from "../harness/workspace.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { runCli, startCli } from "../harness/program.ts";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { TestTokens } from "../harness/tokens.ts";

/** A gateway with only the WebSocket exporter. */
class Source implements AsyncDisposable {
  readonly manager: LoggingManager;
  readonly #workspace: Workspace;

  private constructor(manager: LoggingManager, workspace: Workspace) {
    this.manager = manager;
    this.#workspace = workspace;
  }

  /** Creates a log directory if none is given. */
  static async start(given: { port?: number; logDir?: string } = {}): Promise<Source> {
    const workspace = await Workspace.create();
    const manager = await LoggingManager.start({
      port: given.port ?? 0,
      logDir: given.logDir ?? workspace.path("logs"),
      logLevel: "DEBUG",
      exporters: { websocket: {} },
      registerGlobally: false,
      write: () => {},
    });
    return new Source(manager, workspace);
  }

  get port(): number {
    return Number(new URL(this.manager.url).port);
  }

  /** Resolves when this many clients get records. */
  async connected(count: number): Promise<void> {
    const check = async (): Promise<void> => {
      const metrics = await (await fetch(`${this.manager.url}/metrics`)).text();
      const clients = /^tailgate_websocket_clients_subscribed(?:\{[^}]*\})? (\d+)/m.exec(
        metrics,
      )?.[1];
      if (clients !== String(count)) throw new Error(`${clients} clients get records`);
    };
    await vi.waitFor(check, { timeout: 20_000, interval: 20 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.manager.stop();
    await this.#workspace[Symbol.asyncDispose]();
  }
}

/** Returns a port on which nothing listens. */
async function closedPort(): Promise<number> {
  await using server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

function messagesOf(lines: string): (string | undefined)[] {
  return lines
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" - ").at(-1));
}

/** An older gateway without the subprotocol, which sends the given messages to each client. */
class OlderGateway implements AsyncDisposable {
  readonly #server: WebSocketServer;
  readonly queries: string[] = [];

  private constructor(server: WebSocketServer) {
    this.#server = server;
    server.on("connection", (_, { url }) => this.queries.push(url!));
  }

  static async start(port = 0): Promise<OlderGateway> {
    const options = { host: "127.0.0.1", port, handleProtocols: (): false => false };
    const server = new WebSocketServer(options);
    await once(server, "listening");
    return new OlderGateway(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  send(message: string): void {
    const data = { timestamp: "2025-10-13T09:27:24.339163Z", level: "INFO", logger: "x", message };
    for (const client of this.#server.clients) {
      if (client.protocol === "") client.send(JSON.stringify({ type: "system_log", data }));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#server.clients) client.close(1001, "older gateway is stopping");
    this.#server.close();
    await once(this.#server, "close");
  }
}

describe("tailgate tail with an older gateway", () => {
  test("uses the plain protocol: warns that records may be missing, and requests history once", async () => {
    const first = await OlderGateway.start();
    const url = `127.0.0.1:${first.port}`;
    await using cli = startCli(["tail", "--url", url, "--replay", "5", "--level", "INFO", "a b"]);
    await vi.waitFor(() => expect(first.queries).toHaveLength(2), { timeout: 20_000 });
    first.send("before");
    await cli.untilStdout(/before/);
    const { port } = first;
    await first[Symbol.asyncDispose]();
    await using second = await OlderGateway.start(port);
    await cli.untilStderr(/\ntailgate: connected again; records in between may be missing\n$/);
    second.send("after");
    await cli.untilStdout(/after/);
    expect(first.queries).toEqual(["/ws/logs", "/ws/logs?level=INFO&q=a+b&replay=5"]);
    expect(new Set(second.queries)).toEqual(new Set(["/ws/logs", "/ws/logs?level=INFO&q=a+b"]));
  });

  test.each([
    ["--since", "1h"],
    ["--replay", "1", "--no-follow"],
  ])("%s exits with 64 if the gateway has no history for it", async (...args) => {
    await using gateway = await OlderGateway.start();
    const cli = await runCli(["tail", "--url", `127.0.0.1:${gateway.port}`, ...args]);
    expect([await cli.ended, cli.stdout]).toEqual([64, ""]);
    expect(cli.stderr).toMatch(
      /^tailgate: USAGE: --since and --no-follow need tailgate\.v1, which/,
    );
  });
});

describe("tailgate tail", () => {
  test("shows system logs and audit events as lines, and exits with 0 at SIGINT", async () => {
    await using source = await Source.start();
    await using cli = startCli(["tail"], { env: { ORCHESTRATOR_PORT: String(source.port) } });
    await source.connected(1);
    source.manager.getLogger("orchestrator.server").warning("High \x1b[31mmemory", { pid: 7 });
    source.manager.logAuditEvent({
      eventType: "instance_spawn",
      instanceId: "abc",
      details: { role: "worker" },
    });
    await cli.untilStdout(/AUDIT/);
    expect(cli.stdout).toMatch(
      /^[\d-]{10} [\d:]{8} - orchestrator\.server - WARNING - High \\x1b\[31mmemory pid=7\n[\d-]{10} [\d:]{8} - orchestrator\.audit - AUDIT instance_spawn instance_id=abc details\.role=worker\n$/,
    );
    cli.process.kill("SIGINT");
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  });

  test("--json prints the envelopes as received, after the history that --replay requests", async () => {
    await using source = await Source.start();
    const logger = source.manager.getLogger("orchestrator.server");
    for (const message of ["one", "two", "three"]) logger.info(message);
    await source.manager.flush();
    const address = `localhost:${source.port}`;
    await using cli = startCli(["tail", "--url", address, "--json", "--replay", "2"]);
    await source.connected(1);
    logger.info("four");
    await cli.untilStdout(/four/);
    const envelopes = cli.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(envelopes).toMatchObject(
      ["two", "three", "four"].map((message) => ({ type: "system_log", data: { message } })),
    );
    expect(cli.stdout).toMatch(/^\{"type":"system_log","data":\{"timestamp":"/);
  });

  test("--json escapes terminal control sequences, and the JSON keeps its meaning", async () => {
    await using source = await Source.start();
    const message = "\x1b[31m \x7f \x9b31m \u2028 \u202e \u2066 é 😀 \\";
    const options = ["--json", "--replay", "1", "--no-follow"];
    source.manager.getLogger("orchestrator.server").info(message, { "\x9bkey": "\u200f" });
    await source.manager.flush();
    const cli = await runCli(["tail", "--url", source.manager.url, ...options]);
    expect(cli.stdout).toMatch(/^[^\p{Cc}\p{Bidi_Control}\u2028\u2029]+\n$/u);
    expect(cli.stdout).toContain("é 😀");
    expect(JSON.parse(cli.stdout)).toMatchObject({ data: { message, "\x9bkey": "\u200f" } });
  });

  test("--json shows invalid JSON on one line, without its control characters", async () => {
    const handleProtocols = (): false => false;
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols });
    onTestFinished(() => server.close());
    await once(server, "listening");
    server.on("connection", (socket) => {
      socket.send('{"a":\n\t1}\x1b]0;title\x07');
      socket.close();
    });
    const { port } = server.address() as AddressInfo;
    await using cli = startCli(["tail", "--url", `ws://127.0.0.1:${port}`, "--json"]);
    await cli.untilStdout(/title/);
    expect(cli.stdout).toBe('{"a":  1}\\u001b]0;title\\u0007\n');
  });

  test("uses the filters of the gateway", async () => {
    await using source = await Source.start();
    const query = ["memory", "-low", "pid:7"];
    await using cli = startCli(["tail", "--url", source.manager.url, "--", ...query]);
    const options = ["--level", "warning", "--logger", "a", "--type", "system"];
    await using strict = startCli(["tail", "--url", source.manager.url, ...options]);
    await source.connected(2);
    source.manager.getLogger("a.b").info("memory is high", { pid: 7 });
    source.manager.getLogger("a.b").info("memory is low", { pid: 7 });
    source.manager.getLogger("a.b").error("failed");
    source.manager.getLogger("c").error("memory ran out", { pid: 7 });
    await cli.untilStdout(/ran out/);
    await strict.untilStdout(/failed/);
    expect(messagesOf(cli.stdout)).toEqual(["memory is high pid=7", "memory ran out pid=7"]);
    expect(messagesOf(strict.stdout)).toEqual(["failed"]);
  });

  test("exits with 64 and the gateway's text if the filter is rejected", async () => {
    await using source = await Source.start();
    const cli = await runCli(["tail", "--url", source.manager.url, "level:LOUD"]);
    expect([await cli.ended, cli.stdout]).toEqual([64, ""]);
    expect(cli.stderr).toMatch(
      /^tailgate: USAGE: The gateway rejected the request: The filter term "level:LOUD" /,
    );
  });

  test("exits with 69 without a gateway, and waits for one with --wait", async () => {
    const port = await closedPort();
    const url = `ws://127.0.0.1:${port}/ws/logs`;
    const cli = await runCli(["tail", "--url", url]);
    expect(await cli.ended).toBe(69);
    expect(cli.stderr).toBe(
      `tailgate: GATEWAY_UNREACHABLE: No gateway answers at ${url}: connect ECONNREFUSED 127.0.0.1:${port}. ` +
        "Start it with `tailgate run`, or fix its address (--url; for LoggingManager.connect: endpoint and headers).\n",
    );
    await using waiting = startCli(["tail", "--url", url, "--wait"]);
    await waiting.untilStderr(/^tailgate: waiting \(connect ECONNREFUSED 127\.0\.0\.1:\d+\)\n/);
    await using source = await Source.start({ port });
    await waiting.untilStderr(/\)\ntailgate: connected\n$/);
    await source.connected(1);
    source.manager.getLogger("x").info("at last");
    await waiting.untilStdout(/at last/);
  });

  test("sends the credentials and the query of the URL without showing them", async () => {
    const received: unknown[] = [];
    const server = createHttpServer().on("upgrade", ({ url, headers }, socket) => {
      received.push([url, headers.authorization]);
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    });
    onTestFinished(() => void server.close());
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    const url = `http://me:secret@127.0.0.1:${port}/ws/logs?token=hidden&level=INFO`;
    const cli = await runCli(["tail", "--url", url]);
    expect(await cli.ended).toBe(69);
    expect(received).toEqual([["/ws/logs?token=hidden", `Basic ${btoa("me:secret")}`]]);
    expect(cli.stderr).toMatch(/No gateway answers at ws:\/\/[\d.:]+\/ws\/logs: HTTP 403: no\./);
    expect(cli.stderr).not.toMatch(/secret|hidden/);
  });

  test("names the status of a proxy that asks for a login, not its page", async () => {
    const proxy = createServer((socket) => {
      const page = "<html>\r\n<h1>401 Authorization Required</h1>\r\n</html>";
      const head = `Content-Type: text/html\r\nContent-Length: ${page.length}`;
      socket.end(`HTTP/1.1 401 Unauthorized\r\n${head}\r\n\r\n${page}`);
    });
    await once(proxy.listen(0, "127.0.0.1"), "listening");
    onTestFinished(() => void proxy.close());
    const { port } = proxy.address() as AddressInfo;
    const cli = await runCli(["tail", "--url", `ws://127.0.0.1:${port}`]);
    expect(await cli.ended).toBe(77);
    expect(cli.stderr).toContain(
      `UNAUTHENTICATED: The gateway at ws://127.0.0.1:${port}/ws/logs rejected the credentials: HTTP 401: Unauthorized, which needs a login: --url wss://USER:PASSWORD@HOST. `,
    );
  });

  describe("at a gateway with authentication", () => {
    let workspace: Workspace;
    let tokens: TestTokens;
    let manager: LoggingManager;

    beforeAll(async () => {
      workspace = await Workspace.create();
      tokens = await TestTokens.create(workspace, {
        // Not the audit events of the access trail.
        reader: { scopes: ["read:system"] },
        temporary: { scopes: ["read:system"] },
        sender: { scopes: ["ingest"] },
      });
      await workspace.write("tailgate.yaml", `auth: { tokens_file: ${tokens.path} }\n`);
      manager = await LoggingManager.start({
        config: workspace.path("tailgate.yaml"),
        port: 0,
        logDir: workspace.path("logs"),
        exporters: { websocket: {} },
        registerGlobally: false,
        write: () => {},
      });
      manager.getLogger("x").info("hello");
      await manager.flush();
    });
    afterAll(async () => {
      await manager.stop();
      await workspace[Symbol.asyncDispose]();
    });

    test("sends the token of the environment, of a file, or of the URL", async () => {
      await workspace.write("token", `${tokens.text("reader")}\n`);
      const last = ["--replay", "1", "--no-follow"];
      const token = tokens.text("reader");
      const clis = await Promise.all([
        runCli(["tail", "--url", manager.url, ...last], { env: { TAILGATE_TOKEN: token } }),
        runCli(["tail", "--url", manager.url, ...last, "--token-file", workspace.path("token")], {
          env: { TAILGATE_TOKEN: "overridden" },
        }),
        runCli(["tail", "--url", manager.url.replace("//", `//me:${token}@`), ...last]),
      ]);
      for (const cli of clis) {
        expect([await cli.ended, cli.stderr, messagesOf(cli.stdout)]).toEqual([0, "", ["hello"]]);
      }
    });

    test.each([
      [
        "no token",
        "",
        /UNAUTHENTICATED: The gateway at \S+ rejected the credentials: This gateway/,
      ],
      ["an unknown one", "wrong", /UNAUTHENTICATED: .*: The token is not valid\. Nothing was/],
      [
        "one without the scope",
        "sender",
        /FORBIDDEN: .*: token:sender lacks the scope read:system/,
      ],
    ])("exits with 77 at once with %s, even with --wait", async (_name, name, text) => {
      const wrong = formatToken(createToken());
      const token = name === "wrong" ? wrong : (tokens.text(name) ?? "");
      const cli = await runCli(["tail", "--wait", "--url", manager.url], {
        env: { TAILGATE_TOKEN: token },
      });
      expect([await cli.ended, cli.stdout]).toEqual([77, ""]);
      expect(cli.stderr).toMatch(text);
      if (token !== "") expect(cli.stderr).not.toContain(token);
    });

    test("exits with 77 when its token is revoked", async () => {
      const env = { TAILGATE_TOKEN: tokens.text("temporary") };
      await using cli = startCli(["tail", "--url", manager.url, "--replay", "1", "hello"], { env });
      await cli.untilStdout(/hello/);
      await tokens.revoke("temporary");
      expect(await cli.ended).toBe(77);
      expect(cli.stderr).toContain("The token temporary was revoked.");
    });

    test("refuses a token on the command line, and a file that cannot be read", async () => {
      const shown = await runCli(["tail", "--token", "tgw_secret"]);
      expect([await shown.ended, shown.stdout]).toEqual([64, ""]);
      expect(shown.stderr).toMatch(
        /^tailgate: USAGE: --token is not accepted, because other users/,
      );
      const missing = await runCli(["tail", "--token-file", workspace.path("nothing")]);
      expect(await missing.ended).toBe(64);
      expect(missing.stderr).toMatch(/USAGE: --token-file cannot be read: ENOENT/);
    });
  });

  test("reports once that it waits, however often it retries", async () => {
    let attempts = 0;
    await using server = createServer((socket) => {
      attempts++;
      // The connection would sometimes be reset if the request remained unread.
      socket.once("data", () => socket.end());
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    await using cli = startCli(["tail", "--wait", "--url", `127.0.0.1:${port}`]);
    await expect.poll(() => attempts, { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
    expect(cli.stderr).toBe("tailgate: waiting (socket hang up)\n");
  });

  test("exits with 69 on a server that is no gateway, even with --wait", async () => {
    await using source = await Source.start();
    const cli = await runCli([
      "tail",
      "--wait",
      "--url",
      `${source.manager.url.replace("http", "ws")}/nothing`,
    ]);
    expect(await cli.ended).toBe(69);
    expect(cli.stderr).toMatch(
      /^tailgate: GATEWAY_UNREACHABLE: .*\/nothing: HTTP 404: .*"\/nothing"\. Start it/,
    );
  });

  test("resumes after a restart: records in between are shown once", async () => {
    await using workspace = await Workspace.create();
    await using first = await Source.start({ logDir: workspace.path("logs") });
    const { port } = first;
    first.manager.getLogger("x").info("before");
    await first.manager.flush();
    await using cli = startCli(["tail", "--url", first.manager.url, "--replay", "10"]);
    await cli.untilStdout(/before/);
    await first.manager.stop();
    await cli.untilStderr(/^tailgate: connection lost \(The gateway is stopping\), retrying\n/);
    await using second = await Source.start({ port, logDir: workspace.path("logs") });
    second.manager.getLogger("x").info("missed");
    await cli.untilStderr(/\ntailgate: connected again\n$/);
    await second.connected(1);
    second.manager.getLogger("x").info("after");
    await cli.untilStdout(/after/);
    expect(messagesOf(cli.stdout)).toEqual(["before", "missed", "after"]);
  });

  test("reports a connection that ends without a reason", async () => {
    await using gateway = await GatewayProcess.start("receivers: { otlp: { port: 0 } }");
    await postMessages(await gateway.endpoint("OTLP/HTTP"), ["before"]);
    await using cli = startCli(["tail", "--url", gateway.websocketUrl, "--replay", "1"]);
    await cli.untilStdout(/before/);
    await gateway.kill();
    await cli.untilStderr(/^tailgate: connection lost, retrying\n/);
  });

  test("shows everything of a gateway with another journal, and reports the new sequences", async () => {
    await using first = await Source.start();
    first.manager.getLogger("x").info("before");
    await first.manager.flush();
    await using cli = startCli(["tail", "--url", first.manager.url, "--replay", "10"]);
    await cli.untilStdout(/before/);
    await first.manager.stop();
    await using second = await Source.start({ port: first.port });
    second.manager.getLogger("x").info("new");
    await cli.untilStdout(/new/);
    const lines = cli.stdout.trimEnd().split("\n");
    expect(lines.slice(1, -1)).toEqual([
      "--- printed above, but no longer in the gateway's journal: record 1 ---",
    ]);
  });

  test("--since shows the journal from a time on and continues live, unless --no-follow is set", async () => {
    await using workspace = await Workspace.create();
    const logDir = workspace.path("logs");
    const first = await Source.start({ logDir });
    const logger = first.manager.provider.getLogger("x");
    const hourMs = 3_600_000;
    for (const [body, agoMs] of [
      ["old", 2 * hourMs],
      ["young", hourMs / 2],
    ] as const) {
      logger.emit({ body, timestamp: new Date(Date.now() - agoMs) });
    }
    await first.manager.stop();
    await using second = await Source.start({ logDir });
    second.manager.getLogger("x").info("now");
    await second.manager.flush();
    const { url } = second.manager;
    await using cli = startCli(["tail", "--url", url, "--since", "1h"]);
    await cli.untilStdout(/now/);
    second.manager.getLogger("x").info("live");
    await cli.untilStdout(/live/);
    expect(messagesOf(cli.stdout)).toEqual(["young", "now", "live"]);
    const all = await runCli(["tail", "--url", url, "--since", "2020-01-01", "--no-follow"]);
    expect([await all.ended, all.stderr]).toEqual([0, ""]);
    expect(messagesOf(all.stdout)).toEqual(["old", "young", "now", "live"]);
    const some = await runCli([
      "tail",
      "--url",
      url,
      "--no-follow",
      "--replay",
      "1",
      "--",
      "-live",
    ]);
    expect([await some.ended, messagesOf(some.stdout)]).toEqual([0, ["now"]]);
    const most = await runCli(["tail", "--url", url, "--no-follow", "--replay", "1001"]);
    expect([await most.ended, messagesOf(most.stdout).length]).toEqual([0, 4]);
    expect(most.stderr).toBe(
      "tailgate: the gateway replays at most 1000 records; --since has no such limit\n",
    );
    const seconds = Math.floor(Date.now() / 1000);
    for (const micros of [1, 2, 3]) {
      const timestamp: [number, number] = [seconds, micros * 1000];
      second.manager.provider.getLogger("micros").emit({ body: `${micros} us`, timestamp });
    }
    const exact = new Date(seconds * 1000).toISOString().slice(0, 19);
    const since = `${exact}.000002999`;
    const args = ["--logger", "micros", "--no-follow", "--since", since];
    const found = await runCli(["tail", "--url", url, ...args]);
    expect(messagesOf(found.stdout)).toEqual(["2 us", "3 us"]);
  });

  test.each([
    [["--no-follow"], "USAGE: --no-follow needs --since or --replay."],
    [["--since", "1h", "--replay", "5"], "USAGE: --replay and --since cannot be combined."],
    [["--since", "yesterday"], "USAGE: option '--since <time>' argument 'yesterday' is invalid."],
    [["--since", "2025-13-01"], "USAGE: option '--since <time>' argument '2025-13-01' is invalid."],
  ])("%s exits with 64", async (args, text) => {
    const cli = await runCli(["tail", ...args]);
    expect(await cli.ended).toBe(64);
    expect(cli.stderr).toContain(text);
  });

  test("exits silently with 0 when its reader disconnects", async () => {
    await using source = await Source.start();
    await using cli = startCli(["tail", "--url", source.manager.url]);
    await source.connected(1);
    cli.process.stdout!.destroy();
    source.manager.getLogger("x").info("for nobody");
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  });

  test.each([
    ["ftp://localhost", 'tailgate: USAGE: "ftp://localhost" is not a gateway URL, such as'],
    ["http://", 'tailgate: USAGE: "http://" is not a gateway URL, such as'],
  ])("--url %s exits with 64", async (url, text) => {
    const cli = await runCli(["tail", "--url", url]);
    expect(await cli.ended).toBe(64);
    expect(cli.stderr).toContain(text);
  });
});

test("tells how to trust the authority of a certificate", async () => {
  const server = createTlsServer(issueCertificate("localhost"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const cli = await runCli(["tail", "--url", `https://127.0.0.1:${port}`]);
  expect(await cli.ended).toBe(69);
  expect(cli.stderr).toContain(
    "the authority of its certificate is unknown (DEPTH_ZERO_SELF_SIGNED_CERT); set NODE_EXTRA_CA_CERTS to the file of the authority.",
  );
});
