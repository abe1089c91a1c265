/** Forwarding of traces and metrics to the configured collector. */

import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { openGrpcReceiver } from "../../harness/otlp.ts";

interface Arrived {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function collector(status: number, headers: Record<string, string>, body: string | Buffer) {
  const arrived: Arrived[] = [];
  const server = createServer(async (request, response) => {
    const sent = await buffer(request);
    arrived.push({ path: request.url!, headers: request.headers, body: sent.toString("hex") });
    response.writeHead(status, headers).end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { arrived, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}

function post(url: string, path: string, body: Uint8Array): Promise<Response> {
  const headers = { "Content-Type": "application/x-protobuf", "Content-Encoding": "gzip" };
  return fetch(`${url}${path}`, { method: "POST", headers, body: new Uint8Array(body) });
}

test.each(["/v1/traces", "/v1/metrics"])(
  "%s arrives as it was sent, and the response is returned",
  async (path) => {
    const answer = { "Content-Type": "application/x-protobuf", "Retry-After": "7" };
    const { arrived, url } = await collector(429, answer, "wait");
    const { host } = await openGrpcReceiver({ pass_on_to: url });
    const body = Buffer.from([1, 2, 255, 0]);
    const response = await post(await host.listen(), path, body);
    expect([response.status, await response.text()]).toEqual([429, "wait"]);
    expect(response.headers.get("retry-after")).toBe("7");
    expect(arrived).toMatchObject([
      {
        path,
        body: body.toString("hex"),
        headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
      },
    ]);
    const count = host.pluginMetrics.find(({ name }) => name === "requests_passed_on");
    const signal = path.slice("/v1/".length);
    expect([...count!.read()].filter(({ value }) => value > 0)).toEqual([
      { value: 1, labels: { signal, status: "429" } },
    ]);
  },
);

test("is 503 with Retry-After without a response, and 413 above the limit", async () => {
  const { url } = await collector(200, {}, Buffer.alloc(2 << 20));
  const { host } = await openGrpcReceiver({ pass_on_to: url, max_body_bytes: 1000 });
  const main = await host.listen();
  const response = await post(main, "/v1/traces", Buffer.alloc(10));
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await response.text()).toContain("more than 1048576 bytes");
  expect((await post(main, "/v1/traces", Buffer.alloc(1001))).status).toBe(413);
});

test("is 503 if no collector listens", async () => {
  const { host } = await openGrpcReceiver({ pass_on_to: "http://127.0.0.1:1" });
  const response = await post(await host.listen(), "/v1/traces", Buffer.alloc(10));
  expect(response.status).toBe(503);
  expect(await response.text()).toContain("did not respond");
});

test("sends the credentials of pass_on_to as a header, and puts the path before the query", async () => {
  const { arrived, url } = await collector(200, {}, "");
  const { host } = await openGrpcReceiver({
    pass_on_to: `${url.replace("//", "//me:p%40ss@")}base?key=hidden`,
  });
  expect((await post(await host.listen(), "/v1/traces", Buffer.alloc(10))).status).toBe(200);
  const authorization = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;
  expect(arrived).toMatchObject([
    { path: "/base/v1/traces?key=hidden", headers: { authorization } },
  ]);
});

test("shows neither the collector's credentials nor its query in a response", async () => {
  const { host } = await openGrpcReceiver({
    pass_on_to: "http://me:secret@127.0.0.1:1/base?key=hidden",
  });
  const response = await post(await host.listen(), "/v1/traces", Buffer.alloc(10));
  expect(response.status).toBe(503);
  const text = await response.text();
  expect(text).toContain("The collector at http://127.0.0.1:1/base/v1/traces did not respond");
  expect(text).not.toMatch(/secret|hidden/);
});

test("is 404 without a collector, and logs once what to set", async () => {
  const { host } = await openGrpcReceiver();
  const main = await host.listen();
  for (let count = 0; count < 3; count++) {
    expect((await post(main, "/v1/traces", Buffer.alloc(10))).status).toBe(404);
  }
  const said = host.lines.filter((line) => line.includes("receivers.otlp.pass_on_to"));
  expect(said).toHaveLength(1);
});

test("abandons requests to a hanging collector at the shutdown timeout", async () => {
  const hanging = createServer().listen(0, "127.0.0.1");
  await once(hanging, "listening");
  onTestFinished(() => {
    hanging.close();
    hanging.closeAllConnections();
  });
  const { port } = hanging.address() as AddressInfo;
  const { host, receiver } = await openGrpcReceiver({ pass_on_to: `http://127.0.0.1:${port}` });
  const asked = once(hanging, "request");
  const response = post(await host.listen(), "/v1/traces", Buffer.alloc(10));
  await asked;
  const stop = new AbortController();
  const closed = receiver.close!(stop.signal);
  stop.abort();
  await closed;
  expect((await response).status).toBe(503);
});
