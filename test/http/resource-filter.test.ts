/** Filters by attributes of the resource, wherever the gateway matches records. */

import { readFileSync } from "node:fs";
import { LoggingManager } from "tailgate";
import { LogHistory } from "tailgate/client";
import { expect, onTestFinished, test, vi } from "vitest";
import { Client } from "../harness/websocket.ts";
import { Workspace } from "../harness/workspace.ts";

function requestOf(host: string, messages: readonly string[]): string {
  const attributes = [{ key: "host.name", value: { stringValue: host } }];
  const logRecords = messages.map((stringValue) => ({ body: { stringValue } }));
  return JSON.stringify({
    resourceLogs: [
      { resource: { attributes }, scopeLogs: [{ scope: { name: "worker" }, logRecords }] },
    ],
  });
}

test("resource.NAME:VALUE finds records live, in memory, on disk and for exporters", async () => {
  vi.stubEnv("OTEL_RESOURCE_ATTRIBUTES", "host.name=own");
  onTestFinished(() => void vi.unstubAllEnvs());
  await using workspace = await Workspace.create({
    "tailgate.yaml": "envelope: { resource_attributes: [host.name] }",
  });
  const start = (): Promise<LoggingManager> =>
    LoggingManager.start({
      config: workspace.path("tailgate.yaml"),
      port: 0,
      logDir: workspace.path("logs"),
      receivers: { otlp: { port: null } },
      processors: { filter: { drop: "resource.host.name:noisy" } },
      exporters: {
        websocket: {},
        "file/web": { path: "web.log", filter: "resource.host.name:web-1" },
      },
      registerGlobally: false,
      write: () => {},
    });
  let gateway = await start();
  const live = await Client.open(
    `${gateway.url.replace("http", "ws")}/ws/logs?q=${encodeURIComponent("resource.host.name:web-1")}`,
  );
  for (const [host, messages] of [
    ["web-1", ["a", "b"]],
    ["web-2", ["c"]],
    ["noisy", ["d"]],
  ] as const) {
    const response = await fetch(`${gateway.url}/v1/logs`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: requestOf(host, messages),
    });
    expect(response.status).toBe(200);
  }
  gateway.getLogger("orchestrator.server").info("own");
  const found = async (q: string): Promise<string[]> => {
    const { entries } = await new LogHistory({ url: gateway.url }).page({ filter: { q } });
    return entries.map(({ envelope }) => envelope.data.message).toSorted();
  };
  const check = async (): Promise<void> => {
    expect(await found("resource.host.name:web-1")).toEqual(["a", "b"]);
    expect(await found("logger:worker -resource.host.name:web-1")).toEqual(["c"]);
    expect(await found("resource.host.name:own")).toEqual(["own"]);
    // The configuration names it, so envelopes have it, too.
    expect(await found("host.name:own")).toEqual(["own"]);
    expect(await found('host.name:"web-1"')).toEqual(["a", "b"]);
  };
  await vi.waitFor(check);
  await vi.waitFor(() => expect(live.envelopes).toHaveLength(2));
  await gateway.stop();
  const lines = readFileSync(workspace.path("logs/web.log"), "utf8").trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual([
    "a",
    "b",
  ]);
  gateway = await start();
  await check();
  await gateway.stop();
});
