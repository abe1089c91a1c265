import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { LoggingManager } from "../../src/logging-manager.ts";
import { Workspace } from "../config/workspace.ts";
import { runCli, startCli } from "./cli.ts";

/** A gateway with nothing but the WebSocket. */
class Source implements AsyncDisposable {
  readonly manager: LoggingManager;
  readonly #workspace: Workspace;

  private constructor(manager: LoggingManager, workspace: Workspace) {
    this.manager = manager;
    this.#workspace = workspace;
  }

  static async start(port = 0): Promise<Source> {
    const workspace = await Workspace.create();
    const manager = await LoggingManager.start({
      port,
      logDir: workspace.path("logs"),
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

  /** Resolves when so many viewers are connected. */
  async connected(count: number): Promise<void> {
    const check = async (): Promise<void> => {
      const metrics = await (await fetch(`${this.manager.url}/metrics`)).text();
      const viewers = /^tailgate_websocket_clients(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1];
      if (viewers !== String(count)) throw new Error(`${viewers} viewers are connected`);
    };
    await vi.waitFor(check, { timeout: 20_000, interval: 20 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.manager.stop();
    await this.#workspace[Symbol.asyncDispose]();
  }
}

/** A port where nobody listens. */
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

describe("tailgate tail", () => {
  test("shows system logs and audit events as lines, until SIGINT ends it with 0", async () => {
    await using source = await Source.start();
    await using cli = startCli(["tail"], { env: { ORCHESTRATOR_PORT: String(source.port) } });
    await source.connected(1);
    source.manager.getLogger("orchestrator.server").warning("High \x1b[31mmemory", { pid: 7 });
    source.manager.logAuditEvent({
      eventType: "instance_spawn",
      instanceId: "abc",
      details: { role: "worker" },
    });
    await cli.shows(/AUDIT/);
    expect(cli.stdout).toMatch(
      /^[\d-]{10} [\d:]{8} - orchestrator\.server - WARNING - High \\x1b\[31mmemory\n[\d-]{10} [\d:]{8} - orchestrator\.audit - AUDIT instance_spawn instance_id=abc details\.role=worker\n$/,
    );
    cli.process.kill("SIGINT");
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  });

  test("--json prints the envelopes as they come, after the history that --replay asks for", async () => {
    await using source = await Source.start();
    const logger = source.manager.getLogger("orchestrator.server");
    for (const message of ["one", "two", "three"]) logger.info(message);
    await source.manager.flush();
    const address = `localhost:${source.port}`;
    await using cli = startCli(["tail", "--url", address, "--json", "--replay", "2"]);
    await source.connected(1);
    logger.info("four");
    await cli.shows(/four/);
    const envelopes = cli.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(envelopes).toMatchObject(
      ["two", "three", "four"].map((message) => ({ type: "system_log", data: { message } })),
    );
    expect(cli.stdout).toMatch(/^\{"type":"system_log","data":\{"timestamp":"/);
  });

  test("its filters are the gateway's", async () => {
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
    await cli.shows(/ran out/);
    await strict.shows(/failed/);
    expect(messagesOf(cli.stdout)).toEqual(["memory is high", "memory ran out"]);
    expect(messagesOf(strict.stdout)).toEqual(["failed"]);
  });

  test("a filter that the gateway refuses ends it with 64 and the gateway's text", async () => {
    await using source = await Source.start();
    const cli = await runCli(["tail", "--url", source.manager.url, "level:LOUD"]);
    expect([await cli.ended, cli.stdout]).toEqual([64, ""]);
    expect(cli.stderr).toMatch(
      /^tailgate: USAGE: The gateway refused this: The filter term "level:LOUD" /,
    );
  });

  test("without a gateway it ends with 69, with --wait it waits for one", async () => {
    const port = await closedPort();
    const url = `ws://127.0.0.1:${port}/ws/logs`;
    const cli = await runCli(["tail", "--url", url]);
    expect(await cli.ended).toBe(69);
    expect(cli.stderr).toBe(
      `tailgate: GATEWAY_UNREACHABLE: No gateway answers at ${url}: connect ECONNREFUSED 127.0.0.1:${port}. ` +
        "Start it with `tailgate run`, or give its address with --url.\n",
    );
    await using waiting = startCli(["tail", "--url", url, "--wait"]);
    await waiting.says(/^tailgate: waiting \(connect ECONNREFUSED 127\.0\.0\.1:\d+\)\n/);
    await using source = await Source.start(port);
    await waiting.says(/\)\ntailgate: connected\n$/);
    await source.connected(1);
    source.manager.getLogger("x").info("at last");
    await waiting.shows(/at last/);
  });

  test("says once that it waits, however often it tries", async () => {
    let attempts = 0;
    await using server = createServer((socket) => {
      attempts++;
      socket.destroy();
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    await using cli = startCli(["tail", "--wait", "--url", `127.0.0.1:${port}`]);
    await expect.poll(() => attempts, { timeout: 20_000 }).toBe(3);
    expect(cli.stderr).toBe("tailgate: waiting (socket hang up)\n");
  });

  test("a server that is no gateway ends it with 69, also with --wait", async () => {
    await using source = await Source.start();
    const cli = await runCli(["tail", "--wait", "--url", `${source.manager.url}/nothing`]);
    expect(await cli.ended).toBe(69);
    expect(cli.stderr).toMatch(/^tailgate: GATEWAY_UNREACHABLE: .*\/nothing: HTTP 404/);
  });

  test("connects again after a loss, says so, and asks for no history twice", async () => {
    await using first = await Source.start();
    const { port } = first;
    first.manager.getLogger("x").info("before");
    await first.manager.flush();
    await using cli = startCli(["tail", "--url", first.manager.url, "--replay", "10"]);
    await cli.shows(/before/);
    await first.manager.stop();
    await cli.says(/^tailgate: connection lost \(closed with 1001 .*\), trying again\n/);
    await using second = await Source.start(port);
    second.manager.getLogger("x").info("missed");
    await second.manager.flush();
    await cli.says(/\ntailgate: connected again; records in between may be missing\n$/);
    await second.connected(1);
    second.manager.getLogger("x").info("after");
    await cli.shows(/after/);
    expect(cli.stdout).not.toContain("missed");
  });

  test("ends quietly with 0 when its reader goes away", async () => {
    await using source = await Source.start();
    await using cli = startCli(["tail", "--url", source.manager.url]);
    await source.connected(1);
    cli.process.stdout!.destroy();
    source.manager.getLogger("x").info("for nobody");
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  });

  test.each([
    ["ftp://localhost", 'tailgate: USAGE: "ftp://localhost" is no address such as'],
    ["http://", 'tailgate: USAGE: "http://" is no address such as'],
  ])("--url %s is refused with 64", async (url, text) => {
    const cli = await runCli(["tail", "--url", url]);
    expect(await cli.ended).toBe(64);
    expect(cli.stderr).toContain(text);
  });
});
