/** The Unix socket that serves the same as the main port. */

import { once } from "node:events";
import { request, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { connect, createServer } from "node:net";
import { stat, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { resolveConfig, startTailgate, type RunningTailgate } from "tailgate";
import { HttpHarness } from "../harness/http-server.ts";
import { Program, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

let workspace: Workspace;
let path: string;
const lines: string[] = [];

beforeEach(async () => {
  workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  path = workspace.path("a.sock");
});

async function start(more = ""): Promise<RunningTailgate> {
  const config = await resolveConfig({
    text: `{ port: null, listen: "unix:a.sock", log_dir: logs, journal: { engine: memory }, receivers: {},
      exporters: { websocket: {} } ${more} }`,
    env: {},
    flags: {},
    cwd: workspace.directory,
  });
  const running = await startTailgate(config, { write: (line) => lines.push(line) });
  onTestFinished(() => running.stop());
  return running;
}

async function get(target: string, headers: OutgoingHttpHeaders = {}): Promise<string> {
  const asked = request({ socketPath: path, path: target, headers, agent: false }).end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return text(response);
}

test("serves the API and the WebSocket, alone, and is removed at the stop", async () => {
  const running = await start();
  expect([running.url, running.listeners]).toEqual([
    `unix:${path}`,
    [expect.stringContaining(`unix:${path} (dashboard`)],
  ]);
  expect(await get("/healthz")).toContain("ok");
  const socket = new WebSocket(`ws+unix:${path}:/ws/logs`);
  await once(socket, "open");
  const closed = once(socket, "close");
  await running.stop();
  await closed;
  await expect(stat(path)).rejects.toThrow("ENOENT");
});

test("trusts what the proxy on the other side says about its client", async () => {
  await start();
  await get("/nowhere", { "X-Forwarded-For": "192.0.2.7" });
  await vi.waitFor(() => expect(lines.at(-1)).toContain("from 192.0.2.7,"));
});

test("has the configured permissions", async () => {
  const modeOf = async (): Promise<number> => (await stat(path)).mode & 0o777;
  const first = await start();
  expect(await modeOf()).toBe(0o660);
  await first.stop();
  await start(', listen_mode: "0606"');
  expect(await modeOf()).toBe(0o606);
});

test("replaces the socket of a gateway that was killed, and not that of a live one", async () => {
  const killed = startCli(
    ["run", "--port", "0", "--log-dir", "other", "--config", "tailgate.yaml"],
    { cwd: workspace.directory },
  );
  onTestFinished(() => killed[Symbol.asyncDispose]());
  await workspace.write("tailgate.yaml", '{ listen: "unix:a.sock", receivers: {}, exporters: {} }');
  await killed.untilStderr(/listening on unix:/);
  await expect(start()).rejects.toThrow("Another program listens on the socket");
  await killed[Symbol.asyncDispose]();
  expect((await stat(path)).isSocket()).toBe(true);
  await start();
  expect(await get("/healthz")).toContain("ok");
});

test("a file that appears at the path is not replaced", async () => {
  await writeFile(path, "precious");
  await expect(start()).rejects.toThrow("the file exists and is not a socket");
  await expect(Program.run("cat", [path], { cwd: "/" })).resolves.toBe("precious");
});

test("a client that does not read is disconnected", async () => {
  const socket = { path, mode: 0o600 };
  const harness = await new HttpHarness({
    port: null,
    socket,
    limits: { writeTimeoutMs: 100 },
  }).open();
  for (let index = 0; index < 4; index++) await harness.log({ body: "x".repeat(1 << 20) });
  const client = connect({ path }).on("error", () => {});
  client.pause().write("GET /api/logs HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await vi.waitFor(() => {
    expect(harness.lines.at(-1)).toContain("it did not read its response");
  }, 5000);
  await text(client).catch(() => {});
});

test("a socket of another program that does not answer is in use", async () => {
  await using server = createServer();
  await once(server.listen(path), "listening");
  await expect(start()).rejects.toThrow(`Another program listens on the socket ${path}.`);
});
