import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { CrashSite, urlOf } from "../../harness/crash-site.ts";
import { BatchBuilder } from "../../../src/batch/batch-builder.ts";
import { encodeOtlpProtobuf } from "../../../src/otlp/request-encoder.ts";
import type { LogRecord } from "tailgate/plugin";
import { takeRecords } from "../../harness/records.ts";
import { jsonRequest, toProtobuf } from "../../encode/generated-request.ts";
import { postMessages } from "../../harness/otlp.ts";
import { Peer } from "./peer.ts";

const UID = "log.record.uid";

const TIMEOUT_MS = 60_000;
const PATIENCE = { timeout: 45_000, interval: 20 };

function exporterTo(peer: { port: number }, more = ""): string {
  return `exporters: { otlp: { endpoint: "http://127.0.0.1:${peer.port}"${more} } }\n`;
}

/** Returns a port that no one listens on. */
async function closedPort(): Promise<number> {
  await using peer = await Peer.open();
  return peer.port;
}

/** Starts the gateway; returns its URL and a function that kills it. */
async function started(site: CrashSite, config: string) {
  const gateway = await site.start({ config });
  const url = (await urlOf(gateway))!;
  return { gateway, url, kill: () => gateway[Symbol.asyncDispose]() };
}

function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => `record ${from + index}`);
}

test(
  "repeated outages and kills: everything arrives, in order and once",
  { timeout: TIMEOUT_MS },
  async () => {
    await using site = await CrashSite.create();
    const port = await closedPort();
    const config = exporterTo({ port });
    let sent = 0;
    for (let round = 0; round < 3; round++) {
      const { url, kill } = await started(site, config);
      for (let request = 0; request < 5; request++) {
        expect(await postMessages(url, numbered(sent, sent + 40))).toBe(200);
        sent += 40;
      }
      await kill();
    }
    const { gateway, url } = await started(site, config);
    expect(await postMessages(url, numbered(sent, sent + 40))).toBe(200);
    sent += 40;
    await gateway.untilStderr(/A write failed and will be retried; 6\d\d records are waiting/);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toMatch(/^tailgate_queue_records\{component="otlp",kind="exporter"\} 6\d\d$/m);
    expect(metrics).toMatch(
      /^tailgate_lag_seconds\{component="otlp",kind="exporter"\} [0-9.e-]+$/m,
    );
    for (const path of ["/readyz", "/api/stats"]) {
      expect(await (await fetch(url + path)).text()).toContain("/v1/logs did not respond: ");
    }
    await using peer = await Peer.open({ port });
    await vi.waitFor(() => expect(peer.messages.length).toBeGreaterThanOrEqual(sent), PATIENCE);
    expect(peer.messages.filter((body) => String(body).startsWith("record"))).toEqual(
      numbered(0, sent),
    );
    await gateway.untilStderr(/Writing works again/);
  },
);

test(
  "a gateway killed while sending: nothing is missing, and duplicates are in order",
  { timeout: TIMEOUT_MS },
  async () => {
    await using site = await CrashSite.create();
    await using peer = await Peer.open();
    const config = exporterTo(peer, ", max_batch_bytes: 2000");
    let sent = 0;
    for (let round = 0; round < 3; round++) {
      const { url, kill } = await started(site, config);
      expect(await postMessages(url, numbered(sent, sent + 300))).toBe(200);
      sent += 300;
      await vi.waitFor(() => expect(peer.messages.length).toBeGreaterThan(sent - 250), PATIENCE);
      await kill();
    }
    const { url } = await started(site, config);
    await vi.waitFor(() => expect(new Set(peer.messages).size).toBe(sent), PATIENCE);
    expect([...new Set(peer.messages)]).toEqual(numbered(0, sent));
    const uids = new Map(peer.records.map(({ attributes, body }) => [attributes.get(UID), body]));
    expect([...uids.values()]).toEqual(numbered(0, sent));
    const [[uid, body]] = [...uids] as [[string, string]];
    const found = await fetch(`${url}/api/logs?limit=1&cursor=${uid}`);
    expect(await found.text()).toContain(`"${body}"`);
  },
);

describe("OTLP records are exported as they arrived", () => {
  test.each(["http/protobuf", "http/json"])(
    "over %s, record by record",
    { timeout: TIMEOUT_MS },
    async (protocol) => {
      await using site = await CrashSite.create();
      await using peer = await Peer.open();
      const more = `, protocol: ${protocol}, compression: gzip`;
      const config = `log_level: DEBUG\n${exporterTo(peer, more)}`;
      const { url } = await started(site, config);
      const wanted: LogRecord[] = [];
      for (const request of fc.sample(jsonRequest, 60)) {
        const body = Buffer.from(toProtobuf(request));
        const response = await fetch(`${url}/v1/logs`, {
          method: "POST",
          headers: { "Content-Type": "application/x-protobuf" },
          body,
        });
        expect(response.status).toBe(200);
        const open = new BatchBuilder();
        encodeOtlpProtobuf(body, open, 0);
        wanted.push(...takeRecords(open));
      }
      await vi.waitFor(
        () => expect(peer.records.length).toBeGreaterThanOrEqual(wanted.length),
        PATIENCE,
      );
      const uids = peer.records.map(({ attributes }) => attributes.get(UID));
      expect(new Set(uids).size).toBe(wanted.length);
      for (const { attributes } of peer.records) attributes.delete(UID);
      expect(byText(peer.records)).toEqual(byText(wanted));
    },
  );
});

/** A request is sorted by time when it is read, so several are compared as a set. */
function byText(records: readonly LogRecord[]): string[] {
  return records.map(textOf).sort();
}

function textOf(record: LogRecord): string {
  return JSON.stringify(record, (_, value: unknown) => {
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "number" && !Number.isFinite(value)) return `${value}`;
    if (Object.is(value, -0)) return "-0";
    return value instanceof Map ? [...value] : value;
  });
}
