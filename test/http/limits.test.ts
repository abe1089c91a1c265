import { once } from "node:events";
import { Agent } from "node:http";
import { gzipSync } from "node:zlib";
import { expect, onTestFinished, test, vi } from "vitest";
import WebSocket from "ws";
import { ask, type Answer } from "../harness/http-server.ts";
import { json, send } from "../harness/otlp.ts";
import { startSecured, type SecuredGateway } from "../harness/secured-gateway.ts";
import { frame, send as call } from "../plugins/otlp-receiver/raw-call.ts";

/** An OTLP request in JSON of about so many bytes. */
function body(bytes: number): Buffer {
  const logRecords = [{ severityNumber: 9, body: { stringValue: "x".repeat(bytes) } }];
  return Buffer.from(JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }));
}

async function limited(gateway: SecuredGateway): Promise<Record<string, number>> {
  const { body: text } = await ask(`${gateway.url}/metrics`, {
    headers: gateway.tokens.bearer("boss"),
  });
  const samples = text.matchAll(/^tailgate_requests_limited_total\{limit="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries(
    Array.from(samples, ([, limit, count]) => [limit!, Number(count)] as const).filter(
      ([, count]) => count > 0,
    ),
  );
}

/** Opens a WebSocket until the test ends; resolves with the response if it is rejected. */
async function connect(gateway: SecuredGateway, name: string) {
  const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/ws/logs`, {
    headers: gateway.tokens.bearer(name),
  });
  onTestFinished(() => socket.terminate());
  socket.on("error", () => {});
  const opened = once(socket, "open").then(() => undefined);
  const rejected = once(socket, "unexpected-response").then(
    ([, response]) => response as { statusCode: number; headers: Answer["headers"] },
  );
  return { socket, rejection: await Promise.race([opened, rejected]) };
}

test("a token that sends too much waits on every port, and nobody else does", async () => {
  const gateway = await startSecured(
    { ci: { scopes: ["ingest"] }, edge: { scopes: ["ingest"] }, boss: { scopes: ["admin"] } },
    { auth: "max_ingest_bytes_per_second_per_principal: 1024" },
  );
  const { url, otlpUrl, grpcUrl, tokens } = gateway;
  const headers = { ...json, ...tokens.bearer("ci") };
  // Compressed it is small; what counts is what is stored.
  const packed = gzipSync(body(1 << 20));
  const first = await send(otlpUrl, packed, {
    headers: { ...headers, "Content-Encoding": "gzip" },
  });
  expect(first.status).toBe(200);

  const refused = await send(url, body(1), { headers });
  expect(refused.status).toBe(429);
  const seconds = Number(refused.headers["retry-after"]);
  expect(seconds).toBeGreaterThan(1000);
  expect(seconds).toBeLessThanOrEqual(1020);
  expect(JSON.parse(refused.body.toString())).toEqual({
    code: 8,
    message: `token:ci sends more than 1024 bytes per second on average (auth.max_ingest_bytes_per_second_per_principal). Retry in ${seconds} s.`,
  });
  expect((await send(otlpUrl, body(1), { headers })).status).toBe(429);
  const over = await call(grpcUrl, frame(Buffer.alloc(0)), {
    authorization: tokens.bearer("ci").Authorization,
  });
  expect([over.grpcStatus, over.trailers["grpc-status-details-bin"]]).toEqual([
    8,
    expect.any(String),
  ]);

  const warned = vi.spyOn(process, "emitWarning");
  onTestFinished(() => warned.mockRestore());
  const page = await ask(`${url}/api/logs?order=asc&wait=1`, { headers: tokens.bearer("boss") });
  expect(page.body.length).toBeGreaterThan(1 << 20);
  expect(warned).not.toHaveBeenCalled();

  const other = { ...json, ...tokens.bearer("edge") };
  expect((await send(url, body(1), { headers: other })).status).toBe(200);
  expect(await limited(gateway)).toEqual({ principal_ingest: 3 });
  expect(gateway.lines.join("\n")).not.toContain(tokens.text("ci"));
});

test("a request that would be too much is rejected before its body is read", async () => {
  const gateway = await startSecured(
    { ci: { scopes: ["ingest"] }, boss: { scopes: ["admin"] } },
    { config: "http: { max_ingest_bytes_per_second_per_address: 1024 }" },
  );
  const { otlpUrl, tokens } = gateway;
  const headers = { ...json, ...tokens.bearer("ci") };
  expect((await send(otlpUrl, body(100_000), { headers })).status).toBe(200);
  const { status } = await ask(`${otlpUrl}/v1/logs`, {
    method: "POST",
    headers: { ...headers, "Content-Length": "1000000", Expect: "100-continue" },
  });
  // The client of this test sends no body: an answer means that none was waited for.
  expect(status).toBe(429);
  expect(await limited(gateway)).toEqual({ address_ingest: 1 });
});

test("WebSockets and waiting requests of a token are counted until they end", async () => {
  const gateway = await startSecured(
    { ui: { scopes: ["read"] }, boss: { scopes: ["admin"] } },
    { auth: "max_connections_per_principal: 2" },
  );
  const one = await connect(gateway, "ui");
  const two = await connect(gateway, "ui");
  expect([one.rejection, two.rejection]).toEqual([undefined, undefined]);
  const three = await connect(gateway, "ui");
  expect(three.rejection).toMatchObject({ statusCode: 429, headers: { "retry-after": "5" } });
  const headers = gateway.tokens.bearer("ui");
  const refused = await ask(`${gateway.url}/api/logs`, { headers });
  expect([refused.status, JSON.parse(refused.body)]).toEqual([
    429,
    {
      error: {
        code: "OVERLOADED",
        message:
          "All 2 connections of token:ui are in use (auth.max_connections_per_principal). Retry in 5 s.",
      },
    },
  ]);
  expect((await ask(`${gateway.url}/healthz`, { headers })).status).toBe(200);
  one.socket.close();
  await vi.waitFor(async () => {
    expect((await ask(`${gateway.url}/api/logs`, { headers })).status).toBe(200);
  });
  expect((await limited(gateway))["principal_connections"]).toBeGreaterThanOrEqual(2);
});

test("connections of a token to a receiver's own port are counted until they close", async () => {
  const gateway = await startSecured(
    { ci: { scopes: ["ingest"] }, edge: { scopes: ["ingest"] } },
    { auth: "max_connections_per_principal: 1" },
  );
  const { otlpUrl, tokens } = gateway;
  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  const closing = new Agent({ keepAlive: false });
  onTestFinished(() => kept.destroy());
  const post = async (name: string, agent: Agent): Promise<number> =>
    (await send(otlpUrl, body(1), { headers: { ...json, ...tokens.bearer(name) }, agent })).status;
  expect([await post("ci", kept), await post("ci", kept)]).toEqual([200, 200]);
  expect([await post("ci", closing), await post("edge", closing)]).toEqual([429, 200]);
  // A proxy sends the requests of several principals over one connection.
  await vi.waitFor(async () => expect(await post("edge", kept)).toBe(200));
  await vi.waitFor(async () => expect(await post("ci", closing)).toBe(200));
  await vi.waitFor(async () => expect(await post("ci", kept)).toBe(200));
});

test("an address has a limit of WebSockets of its own", async () => {
  const gateway = await startSecured(
    { ui: { scopes: ["read"] }, boss: { scopes: ["admin"] } },
    { config: "http: { max_websockets_per_address: 1 }" },
  );
  expect((await connect(gateway, "ui")).rejection).toBeUndefined();
  expect((await connect(gateway, "boss")).rejection?.statusCode).toBe(429);
  expect(await limited(gateway)).toEqual({ address_websockets: 1 });
});
