/** otel-collector.yaml in a real Collector between Tailgate and real stores. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { buffer } from "node:stream/consumers";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";
import { postMessages } from "../harness/otlp.ts";
import { COLLECTOR_CONFIG, collectorPorts, startCollector } from "./collector.ts";
import { startGateway } from "./gateway.ts";
import { freePort, localUrl, requirePeer } from "./peer.ts";
import { startVictoriaLogs, foundInVictoriaLogs, VICTORIA_LOGS_PATH } from "./victoria-logs.ts";

async function userDirectory(): Promise<Workspace> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace;
}

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

  test("is not valid with an undefined exporter", async () => {
    const validating = validate({ LOGS_TO: "[otlp_http/other]" });
    await expect(validating).rejects.toThrow('references exporter "otlp_http/other"');
  });
});

test("records accepted by the Collector survive its restart while the store is away", async () => {
  const workspace = await userDirectory();
  const ports = await collectorPorts();
  const logs = await freePort();
  const env = { LOGS_ENDPOINT: `${localUrl(logs)}${VICTORIA_LOGS_PATH}` };
  const exporters = { otlp: { endpoint: localUrl(ports.http) } };
  const sent = Array.from({ length: 200 }, (_, index) => `record ${index}`);
  await using gateway = await startGateway(workspace, { exporters });
  {
    await using _collector = await startCollector(workspace, ports, env);
    expect(await postMessages(gateway.url, sent.slice(0, 100))).toBe(200);
    await drained(gateway.url);
  }
  // From here on, the records are only in the journal.
  expect(await postMessages(gateway.url, sent.slice(100))).toBe(200);
  await using _store = await startVictoriaLogs(workspace, logs);
  await using _collector = await startCollector(workspace, ports, env);
  const found = await foundInVictoriaLogs(localUrl(logs), '_msg:"record"', sent.length);
  expect(new Set(found.map(({ _msg }) => _msg))).toEqual(new Set(sent));
});

/** Resolves when the exporter's queue is empty. */
async function drained(url: string): Promise<void> {
  const isIdle = async (): Promise<void> => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toMatch(/^tailgate_queue_records\{component="otlp",kind="exporter"\} 0$/m);
    expect(metrics).toMatch(
      /^tailgate_records_sent_total\{component="otlp",kind="exporter"\} [1-9]\d*$/m,
    );
  };
  await vi.waitFor(isIdle, { timeout: 30_000, interval: 50 });
}

test("sends user name and password to a cloud, at the OTLP path", async () => {
  const workspace = await userDirectory();
  const ports = await collectorPorts();
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using _collector = await startCollector(workspace, ports, {
    LOGS_TO: "[otlp_http/cloud]",
    CLOUD_ENDPOINT: `${localUrl(port)}/otlp`,
    CLOUD_AUTH: "aWQ6dG9rZW4=",
  });
  const asked = once(server, "request");
  expect(await postMessages(localUrl(ports.http), ["spawned"])).toBe(200);
  const [request, response] = await asked;
  expect(request.url).toBe("/otlp/v1/logs");
  expect(request.headers.authorization).toBe("Basic aWQ6dG9rZW4=");
  expect(gunzipSync(await buffer(request)).includes("spawned")).toBe(true);
  response.writeHead(200).end();
});
