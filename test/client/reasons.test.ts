/** Readable reasons why a stream is not live, which a browser's WebSocket does not provide. */

import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { LogStream } from "tailgate/client";
import { WebSocket as Ws } from "ws";
import { FaultyGateway } from "./faulty-gateway.ts";
import { Proxy } from "./proxy.ts";
import { follow, startGateway } from "../harness/gateway.ts";

/** A server that is not a gateway. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  server.on("upgrade", (_request, socket) => socket.destroy());
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A WebSocket and a fetch that send the page's Origin, like those of browsers. */
function ofPage(origin: string): { WebSocket: typeof WebSocket; fetch: typeof fetch } {
  const headers = { Origin: origin };
  class PageSocket extends WebSocket {
    constructor(url: string | URL, protocols: string | string[] = []) {
      super(url, { protocols, headers } as never);
    }
  }
  return {
    WebSocket: PageSocket,
    fetch: (url, options) =>
      fetch(url, { ...options, ...(options?.method === "POST" && { headers }) }),
  };
}

test("the connection limit is reached", async () => {
  const { url } = await startGateway({ max_connections: 1 });
  const first = follow({ url });
  await first.is("live");
  const second = follow({ url });
  const { reason, retryInMs } = await second.was("waiting");
  expect(reason).toBe(
    "All 1 connections are in use. Close another client, or raise max_connections.",
  );
  expect(retryInMs).toBeLessThanOrEqual(500);
  first.stream.close();
  await second.impatient.is("live");
});

test("the page's origin is not allowed", async () => {
  const { url } = await startGateway({}, { allowedHosts: "https://logs.example.com" });
  const foreign = follow({ url, ...ofPage("http://elsewhere.example") });
  expect((await foreign.is("waiting")).reason).toBe(
    'The Origin header "http://elsewhere.example" is not a page of this gateway. If it is meant to, add it to allowed_hosts in the configuration.',
  );
  await follow({ url, ...ofPage("https://logs.example.com") }).is("live");
});

test("nothing listens", async () => {
  const log = follow({ url: "ws://127.0.0.1:1/ws/logs" });
  expect((await log.is("waiting")).reason).toBe("No gateway answers at http://127.0.0.1:1.");
});

test("nothing listens, and the WebSocket is one of ws, which emits unhandled errors", async () => {
  const ws = Ws as unknown as typeof WebSocket;
  const { reason } = await follow({ url: "http://127.0.0.1:1", WebSocket: ws }).was("waiting");
  expect(reason).toBe("No gateway answers at http://127.0.0.1:1.");
  const { url } = await startGateway();
  await follow({ url, WebSocket: ws }).is("live");
});

test("the gateway stops, and then is unreachable", async () => {
  const gateway = await startGateway();
  const log = follow({ url: gateway.url });
  await log.is("live");
  await gateway.stop();
  const { status } = await log.until("status", (event) => event.status.state === "waiting");
  expect(status.reason).toBe("The gateway is stopping.");
  log.stream.retry();
  await log.until(
    "status",
    (event) => event.status.reason === `No gateway answers at ${gateway.url}.`,
  );
});

test("the connection is cut", async () => {
  const { url } = await startGateway();
  await using proxy = await Proxy.start(Number(new URL(url).port));
  const log = follow({ url: proxy.url });
  await log.is("live");
  proxy.cut();
  const { status } = await log.until("status", (event) => event.status.state === "waiting");
  expect(status.reason).toBe("Connection lost.");
});

test.each([
  ["stalled", /^The gateway closed the connection: this client did not read/],
  ["misuse", /^The gateway closed the connection: this client sent invalid/],
  ["failed", /^The gateway closed the connection because of an internal error/],
  ["something new", /^Connection lost\.$/],
])("the gateway says goodbye: %s", async (reason, text) => {
  await using gateway = await FaultyGateway.speaking();
  const log = follow({ url: gateway.url });
  await gateway.hears(1);
  gateway.say({ type: "goodbye", reason });
  gateway.cut();
  expect((await log.was("waiting")).reason).toMatch(text);
});

test.each<[string, RequestListener, RegExp]>([
  [
    "a proxy's HTML page",
    (_, response) =>
      response.writeHead(502, { "Content-Type": "text/html" }).end("<html>Bad Gateway</html>"),
    /^The server responded with HTTP 502\.$/,
  ],
  [
    "an error as JSON",
    (_, response) =>
      response
        .writeHead(429, { "Content-Type": "application/json" })
        .end('{"error":{"message":"Later, please."}}'),
    /^Later, please\.$/,
  ],
  [
    "broken JSON",
    (_, response) => response.writeHead(503, { "Content-Type": "application/json" }).end("{"),
    /^The server responded with HTTP 503\.$/,
  ],
  [
    "an endless response",
    (_, response) => {
      response.writeHead(503, { "Content-Type": "text/plain" });
      const timer = setInterval(() => response.write("x".repeat(10_000)), 1);
      response.on("close", () => clearInterval(timer));
    },
    /^x{2000}$/,
  ],
  [
    "one of an unrelated server",
    (_, response) => response.writeHead(200).end("hello"),
    /^The gateway answers, but WebSocket connections to it fail: /,
  ],
])("the response is %s", async (_name, listener, text) => {
  const log = follow({ url: await serve(listener) });
  expect((await log.is("waiting")).reason).toMatch(text);
});

test("requests to another server are not polled for records", async () => {
  const log = follow({ url: await serve((_, response) => response.writeHead(200).end("{}")) });
  await log.impatient.until("status", ({ status }) =>
    status.reason.includes("without a history API"),
  );
  expect(log.messages).toEqual([]);
});

test("the browser throws when the WebSocket is created", async () => {
  const { url } = await startGateway();
  const forbidding = function (): void {
    throw new Error("The operation is insecure");
  } as unknown as typeof WebSocket;
  const log = follow({ url, WebSocket: forbidding });
  expect((await log.is("waiting")).reason).toMatch(/^The gateway answers, but/);
});

test.each([
  ["ftp://127.0.0.1/", /is not a gateway URL/],
  ["http://127.0.0.1:8001/?level=INFO", /has a query: use the options filter and start/],
  ["/ws/logs", /Invalid URL/],
  ["ftp://me:secret@127.0.0.1/", /^ftp:\/\/127.0.0.1\/ is not a gateway URL/],
  ["http://127.0.0.1/?token=secret", /^http:\/\/127.0.0.1\/ has a query/],
])("%s is rejected when the stream is created", (url, text) => {
  expect(() => new LogStream({ url })).toThrow(text);
});

test("a page with credentials in its URL connects to its own gateway", async () => {
  const { url } = await startGateway();
  vi.stubGlobal("location", { href: `${url.replace("//", "//me:secret@")}/page` });
  onTestFinished(() => void vi.unstubAllGlobals());
  await follow({ url: "/ws/logs" }).is("live");
});

test("a page of another origin learns only what it is allowed to", async () => {
  const { url } = await startGateway({ max_connections: 1 });
  await follow({ url }).is("live");
  vi.stubGlobal("location", { href: "http://elsewhere.example/page" });
  onTestFinished(() => void vi.unstubAllGlobals());
  // As in a browser without CORS: only `no-cors` succeeds, and its response is opaque.
  const foreign: typeof fetch = (address, options) =>
    options?.mode === "no-cors"
      ? fetch(address, { ...options, mode: "cors" })
      : Promise.reject(new TypeError("Failed to fetch"));
  const log = follow({ url, fetch: foreign });
  expect((await log.is("waiting")).reason).toMatch(
    /^The gateway answers, but this page cannot connect: its origin http:\/\/elsewhere\.example may be missing from allowed_hosts, or all connections are in use\./,
  );
});
