/** Traces and metrics: forwarded to the configured collector, discarded or rejected. */

import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import otlpReceiver from "../../../plugins/otlp-receiver.ts";
import type { TestHost } from "tailgate/testing";
import { JSON_TYPE, openGrpcReceiver, openReceiver, PROTOBUF } from "../../harness/otlp.ts";
import { frame, send, type RawAnswer } from "./raw-call.ts";

/** Signals by their path, and the method of each over gRPC. */
const METHODS: Readonly<Record<string, string>> = {
  "/v1/traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
  "/v1/metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
};

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

function call(
  url: string,
  path: string,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<RawAnswer> {
  return send(url, body, { ":path": METHODS[path]!, ...headers });
}

/** The values of a counter that are not 0. */
function counted({ pluginMetrics }: TestHost, name: string): object[] {
  const metric = pluginMetrics.find((one) => one.name === name);
  return [...metric!.read()].filter(({ value }) => value !== 0);
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
    const signal = path.slice("/v1/".length);
    expect(counted(host, "requests_passed_on")).toEqual([
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

describe.each(Object.keys(METHODS))("%s over gRPC", (path) => {
  const signal = path.slice("/v1/".length);

  test("arrives over HTTP as it was sent, compressed or not, and the response is returned", async () => {
    const answer = Buffer.from([0x0a, 2, 0x08, 3]);
    const { arrived, url } = await collector(200, { "Content-Type": PROTOBUF }, answer);
    const { url: grpc, host } = await openGrpcReceiver({ [signal]: { pass_on_to: url } });
    const body = Buffer.from("spans or data points");
    const plain = await call(grpc, path, frame(body));
    expect([plain.grpcStatus, plain.body]).toEqual([0, frame(answer)]);
    const zipped = gzipSync(body);
    const compressed = await call(grpc, path, frame(zipped, 1), { "grpc-encoding": "gzip" });
    expect(compressed.grpcStatus).toBe(0);
    expect(arrived.map((one) => [one.path, one.headers["content-type"]])).toEqual([
      [path, PROTOBUF],
      [path, PROTOBUF],
    ]);
    expect(arrived[0]).toMatchObject({ body: body.toString("hex") });
    expect(arrived[0]!.headers).not.toHaveProperty("content-encoding");
    expect(arrived[1]!.headers["content-encoding"]).toBe("gzip");
    expect(gunzipSync(Buffer.from(arrived[1]!.body, "hex"))).toEqual(body);
    expect(counted(host, "requests_passed_on")).toEqual([
      { value: 2, labels: { signal, status: "200" } },
    ]);
  });

  test.each([
    [400, 3, undefined],
    [429, 8, "7"],
    [502, 14, "1"],
    [500, 13, undefined],
    [302, 13, undefined],
  ])("a collector's %i is status %i", async (status, code, retryAfter) => {
    const { url } = await collector(status, { "Retry-After": "7", Location: "/other" }, "no");
    const { url: grpc } = await openGrpcReceiver({
      pass_on_to: retryAfter === "1" ? "http://127.0.0.1:1" : url,
    });
    const answer = await call(grpc, path, frame(Buffer.alloc(10)));
    expect(answer.grpcStatus).toBe(code);
    const info = answer.trailers["google.rpc.retryinfo-bin"];
    const expected = Buffer.from([0x0a, 2, 0x08, Number(retryAfter)]).toString("base64");
    expect(info).toBe(retryAfter && expected.replace(/=+$/, ""));
    if (retryAfter === "1") expect(answer.message).toContain("did not respond");
    else expect(answer.message).toBe(`The collector for ${signal} responded with ${status}.`);
  });
});

describe("without a collector", () => {
  test("traces and metrics are accepted, counted and discarded, which the log says once for each", async () => {
    const { host, intake, url: http } = await openReceiver({ grpc_port: 0 });
    const [, grpc = ""] = /(http:\S+) \(OTLP\/gRPC/.exec(host.lines.join("\n")) ?? [];
    const main = await host.listen();
    expect(host.lines.filter((line) => /traces|metrics/i.test(line))).toEqual([]);
    for (const path of Object.keys(METHODS)) {
      for (const url of [main, http]) {
        const protobuf = await post(url, path, Buffer.alloc(10));
        expect([protobuf.status, await protobuf.text()]).toEqual([200, ""]);
        const headers = { "Content-Type": JSON_TYPE };
        const json = await fetch(url + path, { method: "POST", headers, body: "{ }" });
        expect([json.status, await json.text()]).toEqual([200, "{}"]);
      }
      const answer = await call(grpc, path, frame(Buffer.alloc(10)));
      expect([answer.grpcStatus, answer.body]).toEqual([0, frame(Buffer.alloc(0))]);
      const large = await post(main, path, Buffer.alloc((20 << 20) + 1));
      expect(large.status).toBe(413);
    }
    expect(intake.received).toBe(0);
    const signals = ["traces", "metrics"];
    expect(counted(host, "requests_discarded")).toEqual(
      signals.map((signal) => ({ value: 5, labels: { signal } })),
    );
    expect(counted(host, "discarded_bytes")).toEqual(
      signals.map((signal) => ({ value: 36, labels: { signal } })),
    );
    for (const [signal, start] of [
      ["traces", "Traces arrive and are discarded, because Tailgate stores logs only."],
      ["metrics", "Metrics arrive and are discarded, because Tailgate stores logs only."],
    ] as const) {
      const said = host.lines.filter((line) => line.includes(start));
      expect(said).toHaveLength(1);
      expect(said[0]).toContain(`set receivers.otlp.${signal}: { pass_on_to: URL }`);
      expect(said[0]).toMatch(/The first sender is 127\.0\.0\.1/);
    }
  });

  test("what the configuration says is logged at the start instead, without credentials", async () => {
    const { arrived, url } = await collector(200, {}, "");
    const { url: grpc, host } = await openGrpcReceiver({
      pass_on_to: url.replace("//", "//me:secret@"),
      traces: "discard",
    });
    expect(host.lines.filter((line) => line.includes("traces"))).toEqual([]);
    const said = host.lines.find((line) => line.includes("discarded"));
    expect(said).toContain(
      `Traces are accepted and discarded, metrics are passed on to ${url}, past the processors`,
    );
    expect(said).not.toContain("secret");
    for (const path of Object.keys(METHODS)) {
      expect((await call(grpc, path, frame(Buffer.alloc(1)))).grpcStatus).toBe(0);
    }
    expect(arrived.map(({ path }) => path)).toEqual(["/v1/metrics"]);
    expect(host.lines.filter((line) => line.includes("Traces"))).toEqual([said]);
  });

  test("a signal can be rejected, and the response and the log say how to accept it", async () => {
    const { url: grpc, host } = await openGrpcReceiver({ traces: "reject" });
    const main = await host.listen();
    const text =
      "This gateway rejects traces, as receivers.otlp.traces says. Disable traces in the sender, or let the gateway discard or forward them: receivers.otlp.traces: discard, or { pass_on_to: URL }.";
    for (let count = 0; count < 3; count++) {
      const response = await post(main, "/v1/traces", Buffer.alloc(10));
      expect([response.status, response.statusText]).toEqual([
        404,
        `Not Found: ${text.slice(0, -1)}`,
      ]);
    }
    const { grpcStatus, message } = await call(grpc, "/v1/traces", frame(Buffer.alloc(10)));
    expect([grpcStatus, message]).toEqual([12, text]);
    expect((await post(main, "/v1/metrics", Buffer.alloc(10))).status).toBe(200);
    expect(host.lines.filter((line) => line.includes("POST /v1/traces"))).toHaveLength(1);
  });
});

test.each([
  [{}, [], ["traces are accepted and discarded.", "metrics are accepted and discarded."]],
  [
    { pass_on_to: "http://me:secret@a/base?key=hidden", metrics: "reject" },
    ["http://me:secret@a/base?key=hidden"],
    ["traces are passed on to http://a/base, past the processors.", "metrics are rejected."],
  ],
  [
    { traces: { pass_on_to: "http://a/" }, metrics: { pass_on_to: "http://b/" } },
    ["http://a/", "http://b/"],
    [
      "traces are passed on to http://a/, past the processors.",
      "metrics are passed on to http://b/, past the processors.",
    ],
  ],
])("the plan for %j has the targets and a note for each signal", (given, targets, notes) => {
  expect(otlpReceiver.plan!(otlpReceiver.options.parse(given))).toMatchObject({ targets, notes });
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
