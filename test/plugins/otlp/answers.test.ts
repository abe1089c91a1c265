/** The rows of the table in docs/integrations/collector.md that need a server misbehaving at the socket level. */

import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { Readable } from "node:stream";
import { beforeEach, expect, test, vi } from "vitest";
import { backoffMs } from "../../../src/delivery/backoff.ts";
import { answer, Peer, type Behaviour } from "./peer.ts";
import { Sending } from "./sending.ts";

const NEVER = new AbortController().signal;

beforeEach(() => {
  vi.stubEnv("OTEL_EXPORTER_OTLP_TIMEOUT", undefined);
});

test.each([402, 405, 406, 407, 411, 414, 415, 417, 421, 425, 426, 431, 501, 505, 599])(
  "%d, which concerns more than the records: retries",
  async (status) => {
    await using peer = await Peer.open();
    peer.next.push(answer(status));
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a", "b");
    expect(peer.messages).toEqual(["a", "b"]);
    expect(sending.dropped).toEqual({});
  },
);

test.each([409, 410, 418, 499])("%d: the record goes to quarantine", async (status) => {
  await using peer = await Peer.open();
  peer.next.push(answer(status));
  await using sending = await Sending.open({ endpoint: peer.url });
  await sending.send("a");
  await sending.send("b");
  expect(peer.messages).toEqual(["b"]);
  expect(sending.dropped).toEqual({ refused: 1 });
});

test.each([300, 301, 302, 303, 308])("a redirect with %d is not followed", async (status) => {
  await using elsewhere = await Peer.open();
  await using peer = await Peer.open();
  peer.next.push(answer(status, { Location: `${elsewhere.url}/v1/logs` }));
  await using sending = await Sending.open({ endpoint: peer.url });
  await sending.send("a");
  expect(peer.messages).toEqual(["a"]);
  expect(elsewhere.received).toEqual([]);
});

const ENDLESS: Behaviour = (response) => {
  const body = function* (): Generator<string> {
    for (;;) yield "x".repeat(1000);
  };
  Readable.from(body()).pipe(response.writeHead(200));
  return true;
};

const UNFINISHED: Behaviour = (response) => {
  response.writeHead(200).write("x");
  return true;
};

const CUT_OFF: Behaviour = (response) => {
  response.writeHead(200, { "Content-Length": 100 }).write("x", () => response.destroy());
  return true;
};

test.each([
  ["goes on for ever", ENDLESS, 10_000],
  // The head has to arrive within that time, too, or the request is repeated.
  ["does not go on", UNFINISHED, 1_000],
  ["is cut off", CUT_OFF, 10_000],
] satisfies [string, Behaviour, number][])(
  "a success response whose body %s: the records are accepted, once",
  async (_, behaviour, timeoutMs) => {
    await using peer = await Peer.open();
    peer.next.push(behaviour);
    await using sending = await Sending.open({ endpoint: peer.url }, { timeoutMs });
    await sending.send("a");
    await sending.send("b");
    expect(peer.messages).toEqual(["a", "b"]);
    expect(sending.delivery.counters).toMatchObject({ sent: 2, failed: 0 });
  },
);

/**
 * Applies that to each connection until the exporter has noticed, then starts a server that accepts
 * everything.
 */
async function arrivedAfter(treat: (socket: Socket) => void): Promise<unknown[]> {
  const server = createServer(treat).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  await using sending = await Sending.open({ endpoint: `http://127.0.0.1:${port}` });
  await sending.log({ body: "a" });
  expect(await sending.lastError()).toContain("/v1/logs did not respond");
  server.close();
  await once(server, "close");
  await using peer = await Peer.open({ port });
  await sending.delivery.drain(NEVER);
  expect(sending.dropped).toEqual({});
  return peer.messages;
}

test("a connection reset before the request was read: retries", async () => {
  expect(await arrivedAfter((socket) => void socket.resetAndDestroy())).toEqual(["a"]);
});

test("a connection reset within a response's head: retries", async () => {
  const treat = (socket: Socket): void => {
    socket.on("error", () => {}).write("HTTP/1.1 200 OK\r\nContent-", () => socket.destroy());
  };
  expect(await arrivedAfter(treat)).toEqual(["a"]);
});

test("a response with an oversized head: retries", async () => {
  const treat = (socket: Socket): void => {
    socket.on("error", () => {}).write(`HTTP/1.1 200 OK\r\nX: ${"x".repeat(1 << 20)}`);
  };
  expect(await arrivedAfter(treat)).toEqual(["a"]);
});

test("backoff grows to half a minute with full jitter, added to the requested delay", () => {
  for (const attempt of [0, 1, 5, 9, 100, 2000]) {
    const bound = Math.min(30_000, 100 * 2 ** attempt);
    const pauses = Array.from({ length: 200 }, () => backoffMs(attempt));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(0);
    expect(Math.min(...pauses)).toBeLessThan(bound / 4);
    expect(Math.max(...pauses)).toBeGreaterThan((bound * 3) / 4);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(bound);
  }
  expect(backoffMs(0, 7000)).toBeGreaterThanOrEqual(7000);
  expect(backoffMs(0, 7000)).toBeLessThanOrEqual(7100);
  // A requested delay of years is limited to ten minutes.
  expect(backoffMs(0, 1e12)).toBeGreaterThanOrEqual(600_000);
  expect(backoffMs(0, 1e12)).toBeLessThanOrEqual(600_100);
});
