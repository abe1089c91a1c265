/** Runs the configurations of docs/guides/routing.md, with the records that each destination gets. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { LogHistory } from "tailgate/client";
import { expect, onTestFinished, test, vi } from "vitest";
import { startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/guides/routing.md");

interface LogsRequest {
  readonly resourceLogs: readonly {
    readonly scopeLogs: readonly {
      readonly logRecords: readonly { readonly body: { readonly stringValue: string } }[];
    }[];
  }[];
}

interface Collector {
  readonly url: string;
  readonly messages: string[];
}

/** A server that accepts OTLP/JSON. */
async function startCollector(): Promise<Collector> {
  const messages: string[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      const scopes = (body as LogsRequest).resourceLogs.flatMap(({ scopeLogs }) => scopeLogs);
      const records = scopes.flatMap(({ logRecords }) => logRecords);
      messages.push(...records.map((record) => record.body.stringValue));
      return response.writeHead(200).end("{}");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, messages };
}

interface Sent {
  readonly logger: string;
  readonly severityNumber: number;
  readonly message: string;
  readonly attributes?: readonly object[];
}

async function send(url: string, records: readonly Sent[], resource = {}): Promise<void> {
  const scopeLogs = records.map(({ logger, severityNumber, message, attributes = [] }) => ({
    scope: { name: logger },
    logRecords: [{ severityNumber, body: { stringValue: message }, attributes }],
  }));
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ resource, scopeLogs }] }),
  });
  expect(await response.json()).toEqual({});
}

/** Starts a gateway until the end of the test; returns its URL. */
async function start(config: string, env: Record<string, string> = {}): Promise<string> {
  const workspace = await Workspace.create({
    "tailgate.yaml": `port: 0\nlog_dir: logs\n${config}`,
  });
  const gateway = startCli([], { cwd: workspace.directory, env });
  onTestFinished(async () => {
    await gateway[Symbol.asyncDispose]();
    await workspace[Symbol.asyncDispose]();
  });
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  return url!;
}

async function found(url: string, q: string): Promise<string[]> {
  const { entries } = await new LogHistory({ url }).page({ filter: { q } });
  return entries.map(({ envelope }) => envelope.data.message);
}

const RECORDS: readonly Sent[] = [
  { logger: "orchestrator.server", severityNumber: 9, message: "started" },
  { logger: "orchestrator.server", severityNumber: 17, message: "failed" },
  { logger: "orchestrator.noisy.child", severityNumber: 21, message: "as always" },
  { logger: "orchestrator.audit", severityNumber: 17, message: "terminated" },
];

test("each exporter gets the records that its filter matches, and the others are counted", async () => {
  const [audit, errors] = [await startCollector(), await startCollector()];
  const url = await start(
    `receivers: { otlp: { port: null } }\n${page.example("config-routing-filters")}`
      .replace('"http://127.0.0.1:14318"', `"${audit.url}", protocol: http/json`)
      .replace('"http://127.0.0.1:24318"', `"${errors.url}", protocol: http/json`),
  );
  await send(url, RECORDS);
  await vi.waitFor(() => expect([...audit.messages, ...errors.messages]).toHaveLength(2));
  expect(audit.messages).toEqual(["terminated"]);
  expect(errors.messages).toEqual(["failed"]);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  for (const id of ["otlp/audit", "otlp/errors"]) {
    expect(metrics).toMatch(
      new RegExp(`tailgate_records_filtered_total\\{[^}]*component="${id}"[^}]*\\} [34]`),
    );
  }
  expect(await found(url, "type:system")).toHaveLength(3);
});

test("records are shown and routed by their resource", async () => {
  const url = await start(
    `receivers: { otlp: { port: null } }\n${page.example("config-routing-resource")}`,
  );
  const attributes = [{ key: "host.name", value: { stringValue: "web-1" } }];
  await send(url, RECORDS.slice(0, 1), { attributes });
  await send(url, RECORDS.slice(1, 2));
  expect(await found(url, "resource.host.name:web-1")).toEqual(["started"]);
  expect(await found(url, 'host.name:"web-1"')).toEqual(["started"]);
  const whole = await (await fetch(`${url}/api/logs/1`)).json();
  expect(whole).toMatchObject({
    data: { "host.name": "web-1" },
    otlp: { resourceLogs: [{ resource: { attributes } }] },
  });
  await vi.waitFor(async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toMatch(/tailgate_records_sent_total\{[^}]*component="file\/web-1"[^}]*\} 1/);
  });
});

test("a receiver labels records that have no such attribute", async () => {
  const url = await start(
    page.example("config-routing-labels").replace("{ attr", "{ port: null, attr"),
    {
      STAGE: "staging",
    },
  );
  const own = [{ key: "environment", value: { stringValue: "test" } }];
  await send(url, [...RECORDS.slice(0, 1), { ...RECORDS[1]!, attributes: own }]);
  expect(await found(url, "environment:staging rack:7")).toEqual(["started"]);
  expect(await found(url, "environment:test rack:7")).toEqual(["failed"]);
});
