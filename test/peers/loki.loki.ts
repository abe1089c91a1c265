/** Loki takes minutes to build and half a minute to become ready, so these tests run only if LOKI is set. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { Document } from "../docs/document.ts";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";
import { collectorPorts, startCollector } from "./collector.ts";
import { startGateway } from "./gateway.ts";
import { foundInLoki, startLoki } from "./loki.ts";
import { freePort, hasPeer, localUrl, requirePeer } from "./peer.ts";
import { logsOfWorker, post } from "./requests.ts";

const page = await Document.read("docs/integrations/loki-and-grafana.md");

const PAGE_URL = "http://127.0.0.1:3100";

let workspace: Workspace;
let loki: Program | undefined;
let url: string;

beforeAll(async () => {
  workspace = await Workspace.create();
  const port = await freePort();
  url = localUrl(port);
  if (hasPeer("loki")) loki = await startLoki(workspace, port);
}, 120_000);

afterAll(async () => {
  await loki?.[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

/** Sends the worker's records with this exporter; resolves when Loki has them. */
async function sentThrough(exporter: object, service: string): Promise<void> {
  requirePeer("loki");
  await using directory = await Workspace.create();
  await using gateway = await startGateway(directory, { exporters: { otlp: exporter } });
  expect(await post(`${gateway.url}/v1/logs`, logsOfWorker(service))).toBe(200);
  const query = `{service_name="${service}"} | scope_name="orchestrator.instance_manager"`;
  expect(await foundInLoki(url, query)).toMatchObject([
    {
      stream: { service_name: service, severity_text: "WARNING", memory_mb: "512" },
      values: [[expect.any(String), "High memory usage detected"]],
    },
  ]);
}

test("Loki gets the records with their logger and their fields", async () => {
  await sentThrough({ endpoint: `${url}/otlp` }, "worker");
});

test("Loki gets them through the Collector", async () => {
  const ports = await collectorPorts();
  await using _collector = await startCollector(workspace, ports, {
    LOGS_ENDPOINT: `${url}/otlp/v1/logs`,
  });
  await sentThrough({ endpoint: localUrl(ports.http) }, "collected");
});

test("the page's configuration, and its queries", async () => {
  const { exporters } = parse(page.example("config-loki")) as {
    exporters: { otlp: { endpoint: string } };
  };
  expect(exporters.otlp.endpoint).toBe(`${PAGE_URL}/otlp`);
  await sentThrough({ endpoint: exporters.otlp.endpoint.replace(PAGE_URL, url) }, "queried");
  const forThis = (text: string): string => text.replaceAll("worker", "queried");

  const script = forThis(page.example("loki-query").replace(PAGE_URL, url));
  const shown = await Program.run("bash", ["-ec", script], { cwd: "/" });
  expect(shown).toContain("High memory usage detected");

  const queries = page.inlineCode.filter((code) => code.includes("{service_name="));
  expect(queries).toHaveLength(6);
  for (const query of queries) {
    await foundInLoki(url, forThis(query.replaceAll("\\|", "|")));
  }
});

test("Loki stores a record once that is sent again, under unknown_service without a name", async () => {
  requirePeer("loki");
  const record = {
    timeUnixNano: `${BigInt(Date.now()) * 1_000_000n}`,
    severityNumber: 9,
    body: { stringValue: "sent twice" },
    attributes: [{ key: "log.record.uid", value: { stringValue: "epoch:1" } }],
  };
  const later = { ...record, attributes: [], body: { stringValue: "sent once" } };
  for (const logRecords of [[record], [record], [later]]) {
    const scopeLogs = [{ scope: { name: "orchestrator.server" }, logRecords }];
    expect(await post(`${url}/otlp/v1/logs`, { resourceLogs: [{ scopeLogs }] })).toBe(204);
  }
  const found = await foundInLoki(url, '{service_name="unknown_service"} |= "sent once"');
  expect(found).toHaveLength(1);
  const twice = await foundInLoki(url, '{service_name="unknown_service"} |= "sent twice"');
  expect(twice.flatMap(({ values }) => values)).toHaveLength(1);
});

test("the page's data source is at Loki's address", () => {
  const { datasources } = parse(page.example("grafana-datasource")) as {
    datasources: { type: string; url: string; jsonData: { derivedFields: object[] } }[];
  };
  expect(datasources).toMatchObject([
    { type: "loki", url: PAGE_URL, jsonData: { derivedFields: [{ matcherRegex: "trace_id" }] } },
  ]);
});
