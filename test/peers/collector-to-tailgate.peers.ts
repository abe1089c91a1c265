/** A real Collector's gRPC exporter sending to Tailgate. */

import { readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { startCli, type Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { TailgateError } from "tailgate";
import { openReceiver, openGrpcReceiver } from "../harness/otlp.ts";
import { messageOf, postNumbered } from "./numbered-records.ts";
import { freePort } from "./peer.ts";
import { SteadySender } from "./steady-sender.ts";
import { TestCollector } from "./test-collector.ts";

const PATIENCE_MS = 60_000;
const RESTARTS = 6;
/** The longest time from a start of the gateway until it is stopped. */
const LIFE_MS_MAX = 500;

/** Receives OTLP/HTTP and forwards it over gRPC, retrying forever. */
function overGrpc(endpoint: string): (port: number) => string {
  return (port) => `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters:
  otlp_grpc:
    endpoint: "${endpoint}"
    tls: { insecure: true }
    retry_on_failure: { initial_interval: 50ms, max_interval: 200ms, max_elapsed_time: 0s }
service: { pipelines: { logs: { receivers: [otlp], exporters: [otlp_grpc] } } }
`;
}

test.each([
  {
    error: new TailgateError("OVERLOADED", "The queue of the journal is full."),
    code: "ResourceExhausted",
  },
  { error: new TailgateError("STOPPED", "It stops."), code: "Unavailable" },
])(
  "the Collector retries requests answered $code until they are accepted",
  { timeout: PATIENCE_MS },
  async ({ error, code }) => {
    const { intake, url } = await openGrpcReceiver();
    intake.error = error;
    await using collector = await TestCollector.create(overGrpc(url));
    await collector.start();
    await postNumbered(collector.url, 0, 500);
    const refused = new RegExp(`Will retry the request after interval.*code = ${code}`);
    // Without RetryInfo, ResourceExhausted would be permanent.
    await collector.says(new RegExp(`${refused.source}[^]*${refused.source}`));
    intake.error = undefined;
    await vi.waitFor(() => expect(intake.received).toBe(500), PATIENCE_MS);
    expect(collector.stderr).not.toContain("Dropping data");
  },
);

/** Receives OTLP/HTTP and sends batches of the default size, 8192 records. */
function inBatches(
  endpoint: string,
  compression: string,
  encoding: string,
): (port: number) => string {
  return (port) => `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
processors: { batch: { timeout: 60s } }
exporters: { otlp_http: { endpoint: "${endpoint}", compression: ${compression}, encoding: ${encoding} } }
service: { pipelines: { logs: { receivers: [otlp], processors: [batch], exporters: [otlp_http] } } }
`;
}

test.each([
  ["none", "proto"],
  ["none", "json"],
  ["gzip", "proto"],
  ["zstd", "proto"],
  ["deflate", "proto"],
  ["zlib", "json"],
])(
  "the Collector's default batches are accepted: compression %s, encoding %s",
  { timeout: PATIENCE_MS },
  async (compression, encoding) => {
    const { intake, url } = await openReceiver();
    const config = inBatches(url, compression, encoding);
    await using collector = await TestCollector.create(config);
    await collector.start();
    const text = "an ordinary message of some length, ".repeat(20);
    const logRecords = Array.from({ length: 2048 }, (_, index) => ({
      body: { stringValue: `${index} ${text}` },
    }));
    const body = JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
    const headers = { "Content-Type": "application/json" };
    for (let part = 0; part < 4; part++) {
      await fetch(`${collector.url}/v1/logs`, { method: "POST", headers, body });
    }
    await vi.waitFor(() => expect(intake.received).toBe(8192), PATIENCE_MS);
    expect(8192 * text.length).toBeGreaterThan(4 << 20);
    expect(intake.calls).toBe(1);
  },
);

test(
  "no record accepted by the Collector is lost over restarts of Tailgate, killed or not",
  { timeout: 2 * PATIENCE_MS },
  async () => {
    const grpcPort = await freePort();
    await using collector = await TestCollector.create(overGrpc(`http://127.0.0.1:${grpcPort}`));
    await using workspace = await Workspace.create({
      "tailgate.yaml": `{ port: 0, log_dir: logs, exporters: { file: { max_bytes: 1000000000 } },
        receivers: { otlp: { port: null, grpc_port: ${grpcPort} } } }`,
    });
    const start = async (): Promise<Program> => {
      const gateway = startCli([], { cwd: workspace.directory });
      await gateway.untilStderr(/OTLP\/gRPC/);
      return gateway;
    };
    await collector.start();
    const sender = new SteadySender(() => collector.url);
    sender.start();
    for (let life = 0; life < RESTARTS; life++) {
      await using gateway = await start();
      await wait(Math.random() * LIFE_MS_MAX);
      if (life % 2 === 0) expect(await gateway.end()).toBe(0);
    }
    await sender.stop();
    await using _ = await start();
    const look = async (): Promise<void> => {
      const messages = await messagesIn(workspace.path("logs/orchestrator.log"));
      const missing = sender.acknowledged.filter((number) => !messages.has(messageOf(number)));
      expect(missing).toEqual([]);
    };
    expect(sender.acknowledged.length).toBeGreaterThan(0);
    await vi.waitFor(look, { timeout: PATIENCE_MS, interval: 200 });
  },
);

async function messagesIn(path: string): Promise<Set<string>> {
  const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
  return new Set(lines.map((line) => (JSON.parse(line) as { message: string }).message));
}
