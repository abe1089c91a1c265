/** Limits on connections, and on how long a response may remain unread. */

import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { connect as connectHttp2 } from "node:http2";
import { expect, onTestFinished, test, vi } from "vitest";
import { resolveConfig } from "tailgate";
import { startTailgate } from "tailgate";
import { Workspace } from "../harness/workspace.ts";
import { ask, handshake, HttpHarness } from "../harness/http-server.ts";

async function connected(port: number, localAddress = "127.0.0.1"): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** Resolves with everything received on a new connection until it closes. */
async function answerOn(port: number, localAddress?: string): Promise<string> {
  const socket = await connected(port, localAddress);
  socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  return text(socket);
}

async function metricOf(url: string, name: string): Promise<number> {
  const { body } = await ask(`${url}/metrics`);
  return Number(new RegExp(`^tailgate_http_${name} (\\d+)$`, "m").exec(body)![1]);
}

test("answers 503 beyond the connection limit until a connection closes", async () => {
  const harness = await new HttpHarness({ limits: { connectionsMax: 3 } }).open();
  const idle = [await connected(harness.port), await connected(harness.port)];
  expect(await metricOf(harness.url, "connections")).toBe(3);
  idle.push(await connected(harness.port));
  const rejected = await answerOn(harness.port);
  expect(rejected).toMatch(/^HTTP\/1.1 503 /);
  expect(rejected).toContain("\r\nRetry-After: 1\r\n");
  expect(rejected).toMatch(/All 3 connections are in use \(http\.max_connections\)\./);
  expect(harness.lines).toEqual([
    "A connection was rejected. All 3 connections are in use (http.max_connections).",
  ]);
  idle[0]!.destroy();
  await vi.waitFor(async () => expect(await answerOn(harness.port)).toMatch(/^HTTP\/1.1 200 /));
  expect(await metricOf(harness.url, "connections_refused_total")).toBeGreaterThanOrEqual(1);
});

test("idle keep-alive connections are closed in favor of new ones", async () => {
  const harness = await new HttpHarness({ limits: { connectionsMax: 3 } }).open();
  const idle: Socket[] = [];
  for (let count = 0; count < 2; count++) {
    const socket = await connected(harness.port);
    socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(socket, "data");
    idle.push(socket);
  }
  const waiting = await connected(harness.port);
  waiting.write("GET /api/logs?order=asc&wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  expect(await answerOn(harness.port)).toMatch(/^HTTP\/1.1 200 /);
  for (const socket of idle) await text(socket);
  const answer = once(waiting, "data") as Promise<[Buffer]>;
  await harness.log({});
  expect(String((await answer)[0])).toMatch(/^HTTP\/1.1 200 /);
  expect(harness.lines).toEqual([]);
});

test("connections upgraded to WebSocket do not count", async () => {
  const harness = new HttpHarness({ limits: { connectionsMax: 1 } });
  harness.server.plugins.upgrade("/ws/logs", (_request, socket) => void socket.write("taken"));
  await harness.open();
  for (let count = 0; count < 3; count++) {
    const socket = await connected(harness.port);
    socket.write(handshake("/ws/logs", { Host: "localhost" }));
    const [data] = (await once(socket, "data")) as [Buffer];
    expect(data.toString()).toBe("taken");
  }
  expect(await answerOn(harness.port)).toMatch(/^HTTP\/1.1 200 /);
});

test("limits the connections per address, if configured", async () => {
  const harness = await new HttpHarness({ limits: { connectionsPerAddressMax: 1 } }).open();
  await connected(harness.port, "127.0.0.2");
  expect(await answerOn(harness.port, "127.0.0.2")).toMatch(
    /^HTTP\/1.1 503 .*max_connections_per/s,
  );
  expect(await answerOn(harness.port, "127.0.0.3")).toMatch(/^HTTP\/1.1 200 /);
});

test("the configured limits also apply to the receiver's ports", async () => {
  await using workspace = await Workspace.create({
    "tailgate.yaml": `{ port: 0, log_dir: logs, http: { max_connections: 1 }, journal: { engine: memory },
      receivers: { otlp: { port: 0, grpc_port: 0 } }, exporters: {} }`,
  });
  const config = await resolveConfig({ env: {}, flags: {}, cwd: workspace.directory });
  const running = await startTailgate(config, { write: () => {} });
  onTestFinished(() => running.stop());
  const [main, http, grpc] = running.listeners.map((line) =>
    Number(new URL(line.split(" ", 1)[0]!).port),
  );
  for (const port of [main!, http!]) {
    const idle = await connected(port);
    expect(await answerOn(port)).toMatch(/^HTTP\/1.1 503 .*http\.max_connections/s);
    idle.destroy();
  }
  await connected(grpc!);
  const session = connectHttp2(`http://127.0.0.1:${grpc}`);
  session.on("error", () => {});
  await once(session, "close");
});

test("disconnects, counts and logs a client that does not read its response, and frees the memory", async () => {
  const limits = { writeTimeoutMs: 200 };
  const harness = await new HttpHarness({ limits }).open();
  const body = "x".repeat(1 << 20);
  for (let index = 0; index < 8; index++) await harness.log({ body });
  const socket = await connected(harness.port);
  socket.pause();
  // More than the kernel buffers for a client that does not read.
  for (let index = 0; index < 4; index++) {
    socket.write("GET /api/logs HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  await vi.waitFor(async () => {
    expect(await metricOf(harness.url, "connections_stalled_total")).toBe(1);
    expect(await metricOf(harness.url, "answer_bytes")).toBeLessThan(1 << 20);
  }, 10_000);
  expect(harness.lines).toEqual([
    "A client was disconnected: it did not read its response for 0.2 s (http.write_timeout_seconds).",
  ]);
});

test("does not treat a client waiting for records as one that does not read", async () => {
  const harness = await new HttpHarness({ limits: { writeTimeoutMs: 50 } }).open();
  const { status } = await ask(`${harness.url}/api/logs?order=asc&wait=0.5`);
  expect(status).toBe(200);
  expect(await metricOf(harness.url, "connections_stalled_total")).toBe(0);
});

test("responses shrink as memory runs short, then become 503; a client that reads gets everything by cursor", async () => {
  const limits = { answerBytesMax: 4 << 20, writeTimeoutMs: 60_000 };
  const harness = await new HttpHarness({ limits }).open();
  const body = "x".repeat(100 << 10);
  for (let index = 0; index < 100; index++) await harness.log({ body });
  const silent: Socket[] = [];
  const readers: number[] = [];
  for (let round = 0; round < 60; round++) {
    silent.push(await connected(harness.port));
    // Repeatedly, because the kernel buffers some megabytes for a client that does not read.
    const requests = "GET /api/logs HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(8);
    for (const socket of silent) socket.pause().write(requests);
    const held = await metricOf(harness.url, "answer_bytes");
    expect(held).toBeLessThanOrEqual(limits.answerBytesMax);
    const answer = await ask(`${harness.url}/api/logs`);
    readers.push(answer.status === 200 ? JSON.parse(answer.body).records.length : answer.status);
    if (answer.status !== 503) continue;
    expect(answer.headers["retry-after"]).toBe("1");
    expect(JSON.parse(answer.body).error.code).toBe("ANSWERS_UNREAD");
    break;
  }
  expect(readers.at(-1)).toBe(503);
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    expect((await ask(harness.url + path)).status).toBe(200);
  }
  for (const socket of silent) socket.destroy();
  await vi.waitFor(async () => expect((await ask(`${harness.url}/api/logs`)).status).toBe(200));
  const sequences: number[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const page = JSON.parse((await ask(`${harness.url}/api/logs?cursor=${cursor}`)).body);
    sequences.push(...page.records.map(({ sequence }: { sequence: number }) => sequence));
    cursor = page.next_cursor;
  }
  expect(sequences).toEqual(Array.from({ length: 100 }, (_, index) => 100 - index));
});
