/** Filters designed to be expensive, on every path by which a filter reaches a running gateway. */

import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startCli } from "../harness/program.ts";
import { SubprotocolClient } from "../harness/subprotocol-client.ts";
import { GatewayProcess, WEBSOCKET_ONLY } from "../harness/gateway.ts";

const MANY_DOTS = `${"a.".repeat(40)}a:x`;
const LONG = "x".repeat(5000);
const MANY_TERMS = "-x ".repeat(500);

/** A request without a response by then counts as hanging. */
const ANSWER_MS_MAX = 10_000;

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(WEBSOCKET_ONLY);
  const attributes = [{ key: "a", value: { stringValue: "one" } }];
  const logRecords = [{ body: { stringValue: "hello" }, attributes }];
  await ask("/v1/logs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }),
  });
});

afterAll(() => gateway[Symbol.asyncDispose]());

async function ask(path: string, options: RequestInit = {}): Promise<Record<string, unknown>> {
  const url = `http://127.0.0.1:${gateway.port}${path}`;
  const signal = AbortSignal.timeout(ANSWER_MS_MAX);
  const response = await fetch(url, { signal, ...options });
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, ...body };
}

function queryOf(parameters: Record<string, string>): string {
  return new URLSearchParams(parameters).toString();
}

/** Resolves with the status of a WebSocket handshake. */
async function handshake(query: string): Promise<number> {
  const socket = new WebSocket(`${gateway.websocketUrl}?${query}`, {
    handshakeTimeout: ANSWER_MS_MAX,
  });
  const opened = once(socket, "open").then(() => 101);
  const rejected = once(socket, "unexpected-response").then(
    ([, response]) => (response as { statusCode: number }).statusCode,
  );
  const status = await Promise.race([opened, rejected]);
  socket.on("error", () => {});
  socket.terminate();
  return status;
}

/** Resolves with the first message of a type that answers a subscription. */
async function subscribed(
  subscription: object,
  type: "caught_up" | "error",
): Promise<Record<string, unknown>> {
  const client = await SubprotocolClient.open(gateway.websocketUrl);
  client.send({ type: "subscribe", ...subscription });
  const message = await client.until(type);
  client.socket.terminate();
  return { ...message };
}

describe("looks up a field with 40 dots without delay", () => {
  test.each([
    `/api/logs?${queryOf({ q: MANY_DOTS })}`,
    `/api/logs?${queryOf({ q: MANY_DOTS, order: "asc", wait: "0.1" })}`,
    `/api/counts?${queryOf({ q: MANY_DOTS })}`,
    `/api/logs?${queryOf({ q: `-${MANY_DOTS}`, limit: "1" })}`,
  ])("%s", async (path) => {
    const found = path.includes("q=-") ? 1 : 0;
    const { status, records = [] } = await ask(path);
    expect([status, (records as unknown[]).length]).toEqual([200, found]);
  });

  test("over WebSockets", async () => {
    expect(await handshake(queryOf({ q: MANY_DOTS, replay: "10" }))).toBe(101);
    expect(await subscribed({ filter: { q: MANY_DOTS }, replay: 10 }, "caught_up")).toMatchObject({
      sequence: 1,
    });
  });

  test("by tailgate tail", async () => {
    const address = `127.0.0.1:${gateway.port}`;
    const query = ["--replay", "10", "--no-follow", "--", `-${MANY_DOTS}`];
    await using cli = startCli(["tail", "--url", address, ...query]);
    await cli.untilStdout(/hello/);
    expect(await cli.ended).toBe(0);
  });
});

describe.each([
  ["5000 characters", LONG, "The filter's q has 5000 characters; at most 4096 are allowed."],
  ["500 terms", MANY_TERMS, "The filter has 500 terms; at most 64 are allowed."],
])("rejects %s with the limit", (_name, q, text) => {
  test.each(["/api/logs", "/api/counts"])("by %s", async (path) => {
    const { status, error } = await ask(`${path}?${queryOf({ q })}`);
    expect({ status, error }).toEqual({
      status: 400,
      error: { code: "FILTER_INVALID", message: expect.stringContaining(text) as string },
    });
  });

  test("by a WebSocket's URL", async () => {
    expect(await handshake(queryOf({ q }))).toBe(400);
    const response = await fetch(`${gateway.url}/ws/logs?${queryOf({ q })}`);
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining(text)]);
  });

  test("by a subscription", async () => {
    const message = expect.stringContaining(text) as string;
    expect(await subscribed({ filter: { q } }, "error")).toEqual({
      type: "error",
      code: "FILTER_INVALID",
      message,
    });
  });

  test("by tailgate tail", async () => {
    await using cli = startCli(["tail", "--url", `127.0.0.1:${gateway.port}`, "--", q]);
    expect(await cli.ended).toBe(64);
    expect(cli.stderr).toContain(text);
  });
});

test.each(["type", "level", "logger"])("%s is also limited to 4096 characters", async (name) => {
  const { status, error } = await ask(`/api/logs?${queryOf({ [name]: LONG })}`);
  expect({ status, error }).toMatchObject({ status: 400, error: { code: "FILTER_INVALID" } });
  expect(await subscribed({ filter: { [name]: LONG } }, "error")).toMatchObject({
    code: "FILTER_INVALID",
  });
});

test("a filter longer than the message limit does not make tailgate tail retry forever", async () => {
  const q = "x".repeat(100_000);
  await using cli = startCli(["tail", "--url", `127.0.0.1:${gateway.port}`, "--", q]);
  expect(await cli.ended).toBe(64);
  expect(cli.stderr).toContain("The filter's q has 100000 characters; at most 4096 are allowed.");
  expect(cli.stderr.length).toBeLessThan(1000);
});

test.each([
  [`${"n".repeat(10_000)}=1`, /^The parameter "n{100}"\.\.\. \(10000 characters\) is unknown/],
  [`since=${"9".repeat(10_000)}`, /^The parameter since is "9{100}"\.\.\. \(10000 characters\)/],
  [`cursor=${":".repeat(10_000)}`, /^The parameter cursor is ":{100}"\.\.\. \(10000 characters\)/],
  [`q="${"n".repeat(4000)}`, /^The filter term "\\"n{99}"\.\.\. \(4001 characters\)/],
])("an error quotes only the beginning of a long text", async (query, message) => {
  const { status, error } = await ask(`/api/logs?${query}`);
  expect(status).toBe(400);
  expect((error as { message: string }).message).toMatch(message);
  expect((error as { message: string }).message.length).toBeLessThan(500);
});

test("a WebSocket message with a long unknown name gets a short error", async () => {
  const { code, message } = await subscribed({ ["n".repeat(60_000)]: 1 }, "error");
  expect(code).toBe("MESSAGE_INVALID");
  expect((message as string).length).toBeLessThan(1000);
});

test("many parameters in a long URL are answered without delay", async () => {
  const { status } = await ask(`/api/logs?${"a=&".repeat(5000)}`);
  expect(status).toBe(400);
});
