/** The number of requests and their duration, by route and by protocol. */

import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { resolveConfig } from "tailgate";
import { startTailgate, type RunningTailgate } from "tailgate";
import { Workspace } from "../harness/workspace.ts";
import { frame, METHOD } from "../plugins/otlp-receiver/raw-call.ts";
import { ask, handshake } from "../harness/http-server.ts";

const JSON_TYPE = "application/json";
const PROTOBUF = "application/x-protobuf";

let workspace: Workspace;
let gateway: RunningTailgate;
let otlp: string;
let grpc: string;

beforeAll(async () => {
  workspace = await Workspace.create({
    "tailgate.yaml": `{ port: 0, log_dir: logs, journal: { engine: memory }, exporters: { websocket: {} },
      receivers: { otlp: { port: 0, grpc_port: 0, max_body_bytes: 1000 } } }`,
  });
  const config = await resolveConfig({ env: {}, flags: {}, cwd: workspace.directory });
  gateway = await startTailgate(config, { write: () => {} });
  const urls = gateway.listeners.map((line) => line.split(" ", 1)[0]!);
  otlp = new URL(urls[1]!).origin;
  grpc = new URL(urls[2]!).origin;
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

/** Returns the samples by name and labels. */
async function scrape(): Promise<Map<string, number>> {
  const { body } = await ask(`${gateway.url}/metrics`);
  return new Map(
    body
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]),
  );
}

const ofRoute = (route: string, method: string, status: number | string): string =>
  `tailgate_http_requests_total{route="${route}",method="${method}",status="${status}"}`;

const RECEIVER = 'component="otlp",kind="receiver"';

const ofProtocol = (protocol: string, status: number | string): string =>
  `tailgate_otlp_requests_total{${RECEIVER},protocol="${protocol}",status="${status}"}`;

const durationsOf = (protocol: string): string =>
  `tailgate_otlp_request_duration_seconds_count{${RECEIVER},protocol="${protocol}"}`;

test("exist from the start with zeros", async () => {
  const samples = await scrape();
  for (const name of [
    ofRoute("/api/logs", "GET", 200),
    ofRoute("/healthz", "GET", 200),
    ofRoute("/ws/logs", "GET", 101),
    'tailgate_http_request_duration_seconds_count{route="/api/logs",method="GET"}',
    'tailgate_http_request_duration_seconds_bucket{route="/api/logs",method="GET",le="+Inf"}',
    ofProtocol("http/protobuf", 200),
    ofProtocol("http/json", 413),
    ofProtocol("grpc", "OK"),
    durationsOf("grpc"),
    'tailgate_requests_rejected_total{protocol="http",status="413"}',
    'tailgate_requests_rejected_total{protocol="grpc",status="protocol_error"}',
    'tailgate_requests_rejected_total{protocol="websocket",status="403"}',
  ]) {
    expect([name, samples.get(name)]).toEqual([name, 0]);
  }
});

test("requests to the main port are counted by route, not path, with their durations", async () => {
  const before = await scrape();
  for (const path of ["/api/logs?limit=1", "/api/logs", "/made/up/1", "/made/up/2"]) {
    await ask(gateway.url + path);
  }
  await ask(`${gateway.url}/`, { method: "HEAD" });
  await ask(`${gateway.url}/`, { method: "PROPFIND" });
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  socket.write(handshake("/ws/logs", { Host: "localhost" }));
  await once(socket, "data");
  const samples = await scrape();
  const grown = (name: string): number => samples.get(name)! - (before.get(name) ?? 0);
  expect(grown(ofRoute("/api/logs", "GET", 200))).toBe(2);
  expect(grown(ofRoute("other", "GET", 404))).toBe(2);
  expect(grown(ofRoute("/", "HEAD", 200))).toBe(1);
  expect(grown(ofRoute("/", "other", 405))).toBe(1);
  expect(grown(ofRoute("/ws/logs", "GET", 101))).toBe(1);
  const durations = "tailgate_http_request_duration_seconds";
  const labels = 'route="/api/logs",method="GET"';
  expect(grown(`${durations}_count{${labels}}`)).toBe(2);
  expect(grown(`${durations}_sum{${labels}}`)).toBeGreaterThan(0);
  const buckets = [...samples].filter(([name]) => name.startsWith(`${durations}_bucket{${labels}`));
  expect(buckets.map(([name]) => /le="([^"]+)"/.exec(name)![1])).toEqual([
    "0.001",
    "0.005",
    "0.01",
    "0.025",
    "0.05",
    "0.1",
    "0.25",
    "0.5",
    "1",
    "2.5",
    "5",
    "10",
    "+Inf",
  ]);
  const counts = buckets.map(([, count]) => count);
  expect(counts).toEqual(counts.toSorted((one, other) => one - other));
  expect(counts.at(-1)).toBe(samples.get(`${durations}_count{${labels}}`));
  expect([...samples.keys()].filter((name) => name.includes("made"))).toEqual([]);
  socket.destroy();
});

test("OTLP requests are counted by protocol and status on every port", async () => {
  const before = await scrape();
  const post = (url: string, type: string, body: string | Uint8Array<ArrayBuffer>) =>
    fetch(`${url}/v1/logs`, { method: "POST", headers: { "Content-Type": type }, body });
  await post(otlp, PROTOBUF, new Uint8Array(0));
  await post(gateway.url, PROTOBUF, new Uint8Array(0));
  await post(otlp, JSON_TYPE, "{}");
  await post(otlp, JSON_TYPE, "[".repeat(2000));
  await post(gateway.url, JSON_TYPE, "[");
  await post(otlp, "text/plain", "");
  await call(frame(Buffer.alloc(0)));
  await call(Buffer.alloc(0));
  await call(frame(Buffer.alloc(9), 0, 50), { "grpc-timeout": "20m" }, false);
  const samples = await scrape();
  const grown = (name: string): number => samples.get(name)! - (before.get(name) ?? 0);
  expect(grown(ofProtocol("http/protobuf", 200))).toBe(2);
  expect(grown(ofProtocol("http/json", 200))).toBe(1);
  expect(grown(ofProtocol("http/json", 413))).toBe(1);
  expect(grown(ofProtocol("http/json", 400))).toBe(1);
  expect(grown(ofProtocol("unknown", 415))).toBe(1);
  expect(grown(ofProtocol("grpc", "OK"))).toBe(1);
  expect(grown(ofProtocol("grpc", "INVALID_ARGUMENT"))).toBe(1);
  expect(grown(durationsOf("http/protobuf"))).toBe(2);
  expect(grown(ofProtocol("grpc", "DEADLINE_EXCEEDED"))).toBe(1);
  expect(grown(durationsOf("grpc"))).toBe(3);
  expect(grown(ofRoute("/v1/logs", "POST", 200))).toBe(1);
});

test("a request whose sender disconnects before the response counts as aborted", async () => {
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  const head = `POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${PROTOBUF}\r\n`;
  socket.write(`${head}Content-Length: 100\r\n\r\nabc`, () => socket.destroy());
  await vi.waitFor(async () => {
    const samples = await scrape();
    expect(samples.get(ofRoute("/v1/logs", "POST", "aborted"))).toBe(1);
    expect(samples.get(ofProtocol("http/protobuf", "aborted"))).toBe(1);
  });
});

async function call(body: Uint8Array, more: object = {}, isWhole = true): Promise<void> {
  const session = connectHttp2(grpc);
  const headers = { ":method": "POST", ":path": METHOD, "content-type": "application/grpc" };
  const stream = session.request({ ...headers, ...more });
  stream.resume().write(body);
  if (isWhole) stream.end();
  await once(stream, "close");
  session.close();
}
