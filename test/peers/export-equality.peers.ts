/** OTLP through Tailgate to a real Collector, compared with the same requests sent directly. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { CrashSite, urlOf } from "../harness/crash-site.ts";
import { jsonRequest, toJson, toProtobuf, type JsonRequest } from "../encode/generated-request.ts";
import { CollectorFile } from "./collector-file.ts";
import { freePort } from "./peer.ts";
import { TestCollector } from "./test-collector.ts";

const PATIENCE_MS = 30_000;

/** Enough for each kind of value in each position. */
const REQUESTS = 300;

/** Writes the records received on each port to its own file. */
function twoFiles(directPort: number): (port: number) => string {
  return (port) => `
receivers:
  otlp/direct: { protocols: { http: { endpoint: "127.0.0.1:${directPort}" } } }
  otlp/tailgate: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } }
exporters:
  file/direct: { path: direct.jsonl, flush_interval: 100ms }
  file/tailgate: { path: tailgate.jsonl, flush_interval: 100ms }
service:
  pipelines:
    logs/direct: { receivers: [otlp/direct], exporters: [file/direct] }
    logs/tailgate: { receivers: [otlp/tailgate], exporters: [file/tailgate] }
`;
}

/** Fields that the fast generated requests leave out on purpose. */
const RICH: JsonRequest = {
  resourceLogs: [
    {
      resource: {
        attributes: [{ key: "service.name", value: { stringValue: "orchestrator" } }],
        droppedAttributesCount: 2,
      },
      schemaUrl: "https://opentelemetry.io/schemas/1.37.0",
      scopeLogs: [
        {
          scope: { name: "orchestrator.server", version: "1.2", attributes: [] },
          schemaUrl: "https://opentelemetry.io/schemas/1.36.0",
          logRecords: [
            {
              timeUnixNano: "1760347644339163001",
              observedTimeUnixNano: "1760347644339163999",
              severityNumber: 18,
              severityText: "Error",
              eventName: "instance.spawn",
              flags: 1,
              droppedAttributesCount: 3,
              traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
              spanId: "00f067aa0ba902b7",
              body: { kvlistValue: { values: [{ key: "a", value: { doubleValue: 1 } }] } },
              attributes: [
                { key: "largest", value: { intValue: "9223372036854775807" } },
                { key: "smallest", value: { intValue: "-9223372036854775808" } },
                { key: "double", value: { doubleValue: 1 } },
                { key: "integer", value: { intValue: "1" } },
                { key: "bytes", value: { bytesValue: "AP8=" } },
                { key: "nothing", value: {} },
                {
                  key: "list",
                  value: { arrayValue: { values: [{ boolValue: false }, { stringValue: "" }] } },
                },
              ],
            },
          ],
        },
      ],
    },
  ],
};

async function post(url: string, type: string, body: Uint8Array): Promise<number> {
  const headers = { "Content-Type": type };
  const answer = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers,
    body: Buffer.from(body),
  });
  await answer.arrayBuffer();
  return answer.status;
}

const FORMS = [
  { came: "application/x-protobuf", encode: toProtobuf, goes: "http/protobuf" },
  { came: "application/x-protobuf", encode: toProtobuf, goes: "http/json" },
  { came: "application/json", encode: toJson, goes: "http/protobuf" },
];

test.each(FORMS)(
  "$came in, $goes out: equals, record by record, what the Collector gets without Tailgate",
  { timeout: 2 * PATIENCE_MS },
  async ({ came, encode, goes }) => {
    const directUrl = `http://127.0.0.1:${await freePort()}`;
    await using collector = await TestCollector.create(twoFiles(Number(new URL(directUrl).port)));
    await collector.start();
    await using site = await CrashSite.create();
    const options = `endpoint: "${collector.url}", protocol: ${goes}, record_uid: false`;
    const gateway = await site.start({
      config: `log_level: DEBUG\nexporters: { otlp: { ${options} } }\n`,
    });
    const url = (await urlOf(gateway))!;
    let sent = 0;
    for (const request of [RICH, ...fc.sample(jsonRequest, REQUESTS)]) {
      const records = makeAcceptable(request);
      const body = encode(request);
      expect(await post(directUrl, came, body)).toBe(200);
      expect(await post(url, came, body)).toBe(200);
      sent += records;
    }
    expect(sent).toBeGreaterThan(REQUESTS);
    const [direct, through] = await Promise.all(
      ["direct.jsonl", "tailgate.jsonl"].map((name) => arrivedIn(collector, name, sent)),
    );
    expect(through).toEqual(direct);
  },
);

/** Changes a request so that both accept all of it; returns its number of records. */
function makeAcceptable({ resourceLogs }: JsonRequest): number {
  let count = 0;
  for (const { scope, logRecords } of resourceLogs.flatMap(({ scopeLogs }) => scopeLogs)) {
    for (const record of logRecords) {
      // Tailgate accepts audit events from INFO up, including those whose logger is named by an attribute.
      if (JSON.stringify([scope, record]).includes("orchestrator.audit")) {
        record["severityNumber"] = 9;
      }
      // The Collector rejects a request with an id that is too short.
      if (record.traceId?.length !== 32) record.traceId = "";
      if (record.spanId?.length !== 16) record.spanId = "";
    }
    count += logRecords.length;
  }
  return count;
}

/** Tailgate sorts each request by time on arrival, so the records are compared as a set. */
async function arrivedIn(
  { workspace }: TestCollector,
  name: string,
  count: number,
): Promise<string[]> {
  const file = new CollectorFile(workspace.path(name), (arrived) => JSON.stringify(arrived));
  await file.until(({ length }) => length >= count, PATIENCE_MS);
  return file.arrivals.toSorted();
}
