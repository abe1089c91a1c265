/** otel-collector.yaml in a real Collector, between Tailgate and real stores. */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { buffer } from "node:stream/consumers";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Workspace } from "../config/workspace.ts";
import { Program } from "../support/program.ts";
import { postMessages } from "../support/otlp-request.ts";
import { COLLECTOR_CONFIG, collectorPorts, startCollector } from "./collector.ts";
import { startGateway } from "./gateway.ts";
import { foundInJaeger, startJaeger } from "./jaeger.ts";
import { freePort, requirePeer } from "./peer.ts";
import { startVictoriaLogs, foundInVictoriaLogs, VICTORIA_LOGS_PATH } from "./victoria-logs.ts";

async function userDirectory(): Promise<Workspace> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace;
}

/** Posts a request of OTLP/JSON; answers the status. */
async function post(url: string, request: object): Promise<number> {
  const headers = { "Content-Type": "application/json" };
  const { status } = await fetch(url, { method: "POST", headers, body: JSON.stringify(request) });
  return status;
}

const worker = { attributes: [{ key: "service.name", value: { stringValue: "worker" } }] };

const warning = {
  resource: worker,
  scopeLogs: [
    {
      scope: { name: "orchestrator.instance_manager" },
      logRecords: [
        {
          severityNumber: 13,
          severityText: "WARNING",
          body: { stringValue: "High memory usage detected" },
          attributes: [{ key: "memory_mb", value: { intValue: "512" } }],
        },
      ],
    },
    {
      scope: { name: "orchestrator.audit" },
      logRecords: [
        {
          severityNumber: 9,
          body: { stringValue: "instance_spawn" },
          attributes: [{ key: "instance_id", value: { stringValue: "abc-123" } }],
        },
      ],
    },
  ],
};

describe("otel-collector.yaml", () => {
  const validate = (env: Record<string, string>): Promise<string> =>
    Program.run(requirePeer("otelcol"), ["validate", "--config", COLLECTOR_CONFIG], {
      cwd: "/",
      env,
    });

  test.each([
    {},
    { LOGS_TO: "[otlp_http/cloud]", CLOUD_AUTH: "aWQ6dG9rZW4=" },
    { LOGS_TO: "[otlp_http/tailgate, otlp_http/logs]" },
  ])("is valid with %j", async (env) => {
    await validate(env);
  });

  test("is not valid with an exporter that it lacks", async () => {
    const validating = validate({ LOGS_TO: "[otlp_http/other]" });
    await expect(validating).rejects.toThrow('references exporter "otlp_http/other"');
  });
});

test("records go through the Collector to VictoriaLogs, traces to Jaeger", async () => {
  const workspace = await userDirectory();
  const ports = await collectorPorts();
  const logs = await freePort();
  const jaeger = { otlp: await freePort(), query: await freePort() };
  await using _store = await startVictoriaLogs(workspace, logs);
  await using _jaeger = await startJaeger(workspace, jaeger);
  await using _collector = await startCollector(workspace, ports, {
    LOGS_ENDPOINT: `http://127.0.0.1:${logs}${VICTORIA_LOGS_PATH}`,
    TRACES_ENDPOINT: `http://127.0.0.1:${jaeger.otlp}/v1/traces`,
  });
  const endpoint = `http://127.0.0.1:${ports.http}`;
  await using gateway = await startGateway(workspace, {
    otlp: { pass_on_to: endpoint },
    exporters: { otlp: { endpoint, logger_attribute: "logger" } },
  });
  expect(await post(`${gateway.url}/v1/logs`, { resourceLogs: [warning] })).toBe(200);
  expect(await foundInVictoriaLogs(logs, 'service.name:="worker"', 2)).toMatchObject([
    {
      _msg: "High memory usage detected",
      logger: "orchestrator.instance_manager",
      severity: "WARNING",
      memory_mb: "512",
    },
    { _msg: "instance_spawn", logger: "orchestrator.audit", instance_id: "abc-123" },
  ]);
  const traceId = randomBytes(16).toString("hex");
  expect(await post(`${gateway.url}/v1/traces`, spanOf(traceId))).toBe(200);
  expect(await foundInJaeger(jaeger.query, "worker")).toMatchObject([
    { traceID: traceId, spans: [{ operationName: "spawn", duration: 1500 }] },
  ]);
});

/** A request with one span of 1.5 ms. */
function spanOf(traceId: string): object {
  const startNs = BigInt(Date.now()) * 1_000_000n;
  const span = {
    traceId,
    spanId: randomBytes(8).toString("hex"),
    name: "spawn",
    kind: 1,
    startTimeUnixNano: `${startNs}`,
    endTimeUnixNano: `${startNs + 1_500_000n}`,
  };
  return { resourceSpans: [{ resource: worker, scopeSpans: [{ spans: [span] }] }] };
}

test("what the Collector took is kept over its end while the store is away", async () => {
  const workspace = await userDirectory();
  const ports = await collectorPorts();
  const logs = await freePort();
  const env = { LOGS_ENDPOINT: `http://127.0.0.1:${logs}${VICTORIA_LOGS_PATH}` };
  const exporters = { otlp: { endpoint: `http://127.0.0.1:${ports.http}` } };
  const sent = Array.from({ length: 200 }, (_, index) => `record ${index}`);
  await using gateway = await startGateway(workspace, { exporters });
  {
    await using _collector = await startCollector(workspace, ports, env);
    expect(await postMessages(gateway.url, sent.slice(0, 100))).toBe(200);
    await taken(gateway.url);
  }
  // From here on it is the journal that keeps them.
  expect(await postMessages(gateway.url, sent.slice(100))).toBe(200);
  await using _store = await startVictoriaLogs(workspace, logs);
  await using _collector = await startCollector(workspace, ports, env);
  const found = await foundInVictoriaLogs(logs, '_msg:"record"', sent.length);
  expect(new Set(found.map(({ _msg }) => _msg))).toEqual(new Set(sent));
});

/** Resolves when the exporter has nothing to send. */
async function taken(url: string): Promise<void> {
  const isIdle = async (): Promise<void> => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toMatch(/^tailgate_queue_records\{component="otlp",kind="exporter"\} 0$/m);
    expect(metrics).toMatch(
      /^tailgate_records_sent_total\{component="otlp",kind="exporter"\} [1-9]\d*$/m,
    );
  };
  await vi.waitFor(isIdle, { timeout: 30_000, interval: 50 });
}

test("in front of Tailgate it keeps what comes while that is away", async () => {
  const workspace = await userDirectory();
  const ports = await collectorPorts();
  const port = await freePort();
  await using _collector = await startCollector(workspace, ports, {
    LOGS_TO: "[otlp_http/tailgate]",
    TAILGATE_ENDPOINT: `http://127.0.0.1:${port}/v1/logs`,
  });
  const sent = Array.from({ length: 50 }, (_, index) => `record ${index}`);
  expect(await postMessages(`http://127.0.0.1:${ports.http}`, sent)).toBe(200);
  await using gateway = await startGateway(workspace, { otlp: { port } });
  const arrived = async (): Promise<void> => {
    const response = await fetch(`${gateway.url}/api/logs?logger=orchestrator.server`);
    const { records } = (await response.json()) as { records: { data: { message: string } }[] };
    expect(records.map(({ data }) => data.message).toReversed()).toEqual(sent);
  };
  await vi.waitFor(arrived, { timeout: 30_000, interval: 100 });
});

test("to a cloud it sends its user name and password, at the path of OTLP", async () => {
  const workspace = await userDirectory();
  const ports = await collectorPorts();
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using _collector = await startCollector(workspace, ports, {
    LOGS_TO: "[otlp_http/cloud]",
    CLOUD_ENDPOINT: `http://127.0.0.1:${port}/otlp`,
    CLOUD_AUTH: "aWQ6dG9rZW4=",
  });
  const asked = once(server, "request");
  expect(await postMessages(`http://127.0.0.1:${ports.http}`, ["spawned"])).toBe(200);
  const [request, response] = await asked;
  expect(request.url).toBe("/otlp/v1/logs");
  expect(request.headers.authorization).toBe("Basic aWQ6dG9rZW4=");
  expect(gunzipSync(await buffer(request)).includes("spawned")).toBe(true);
  response.writeHead(200).end();
});

test("VictoriaLogs also takes records without a Collector", async () => {
  const workspace = await userDirectory();
  const logs = await freePort();
  await using _store = await startVictoriaLogs(workspace, logs);
  const endpoint = `http://127.0.0.1:${logs}/insert/opentelemetry`;
  const exporters = { otlp: { endpoint, logger_attribute: "logger" } };
  await using gateway = await startGateway(workspace, { exporters });
  expect(await post(`${gateway.url}/v1/logs`, { resourceLogs: [warning] })).toBe(200);
  expect(await foundInVictoriaLogs(logs, 'logger:="orchestrator.audit"', 1)).toMatchObject([
    { _msg: "instance_spawn", "service.name": "worker", instance_id: "abc-123" },
  ]);
});
