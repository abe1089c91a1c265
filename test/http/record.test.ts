/** `GET /api/logs/{sequence}`: one record with everything that its sender sent. */

import { LoggingManager } from "tailgate";
import { expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";

const resource = {
  attributes: [
    { key: "service.name", value: { stringValue: "shop" } },
    { key: "host.name", value: { stringValue: "web-1" } },
  ],
  droppedAttributesCount: 2,
};
const scope = {
  name: "worker",
  version: "1.2.3",
  attributes: [{ key: "kind", value: { boolValue: true } }],
  droppedAttributesCount: 1,
};
const logRecord = {
  timeUnixNano: "1760347644339163001",
  observedTimeUnixNano: "1760347644999999999",
  severityNumber: 18,
  severityText: "error2",
  body: { kvlistValue: { values: [{ key: "n", value: { doubleValue: 1 } }] } },
  eventName: "worker.failed",
  attributes: [
    { key: "count", value: { intValue: "9007199254740993" } },
    { key: "ratio", value: { doubleValue: 1 } },
  ],
  droppedAttributesCount: 3,
  flags: 257,
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "00f067aa0ba902b7",
};
const schemaUrl = "https://opentelemetry.io/schemas/1.37.0";
const sent = {
  resourceLogs: [
    { resource, scopeLogs: [{ scope, logRecords: [logRecord], schemaUrl }], schemaUrl },
  ],
};

test("the record is the envelope and what was sent, also from disk", async () => {
  await using workspace = await Workspace.create();
  const start = (): Promise<LoggingManager> =>
    LoggingManager.start({
      port: 0,
      logDir: workspace.path("logs"),
      receivers: { otlp: { port: null } },
      exporters: {},
      registerGlobally: false,
      write: () => {},
    });
  let gateway = await start();
  const get = async (path: string): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`${gateway.url}/api/logs${path}`);
    return { status: response.status, body: await response.json() };
  };
  const accepted = await fetch(`${gateway.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(sent),
  });
  expect(accepted.status).toBe(200);
  const { hash } = await gateway.audit({ eventType: "stop" });
  const page = (await get("?order=asc")).body as { epoch: string; records: object[] };
  const { epoch } = page;
  const check = async (query = ""): Promise<void> => {
    const { status, body } = await get(`/1${query}`);
    expect([status, body]).toEqual([200, { epoch, ...page.records[0], otlp: sent }]);
    const event = await get("/2");
    expect(event).toMatchObject({ status: 200, body: { ...page.records[1], hash } });
    // Its resource is that of this process.
    expect(JSON.stringify(event.body)).toContain('"telemetry.sdk.name"');
  };
  await check(`?epoch=${epoch}`);
  expect(await get("/3")).toMatchObject({ status: 404, body: { error: { code: "NOT_FOUND" } } });
  expect(await get("/1?epoch=other")).toMatchObject({
    status: 410,
    body: { error: { code: "CURSOR_GONE" } },
  });
  for (const path of ["/0", "/one", "/1?epoch=a&epoch=b", "/1?limit=1"]) {
    expect(await get(path)).toMatchObject({
      status: 400,
      body: { error: { code: "PARAMETER_INVALID" } },
    });
  }
  expect(await get("/1/2")).toMatchObject({ status: 404 });
  await gateway.stop();
  gateway = await start();
  await check();
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(metrics).toContain('route="/api/logs/{sequence}"');
  await gateway.stop();
});
