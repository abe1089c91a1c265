/** What a principal may send, on every way into the gateway, and what its audit events say about it. */

import { describe, expect, it, onTestFinished } from "vitest";
import { parseScopes } from "../../src/wire/access-scopes.ts";
import { OPEN_ACCESS } from "../../src/plugin/access.ts";
import type { Access, Envelope, Ingested, LogRecord } from "tailgate/plugin";
import { testHost, type TestHost } from "tailgate/testing";
import { toProtobuf } from "../encode/generated-request.ts";

const TIME = "1760347644339163000";

/** More records than are encoded in one turn of the event loop: together, they have more than 1 MiB. */
const MANY = 1100;
const RECORD_BYTES = 1000;

async function openHost(): Promise<TestHost> {
  const host = await testHost("otlp");
  onTestFinished(() => host.close());
  return host;
}

function accessOf(principal: string | undefined, ...scopes: string[]): Access {
  return { ...OPEN_ACCESS, principal, scopes: parseScopes(scopes) };
}

const ALL = accessOf("token:ci", "ingest");
const SYSTEM = accessOf("token:ci", "ingest:system");
const AUDIT = accessOf("token:ci", "ingest:audit");
const NEITHER = accessOf("token:ci", "read");

interface Sent {
  readonly system: number;
  readonly events: readonly string[];
}

/** A request with system logs and audit events, whose keys are their texts. */
function request({ system, events }: Sent): object {
  const logs = Array.from({ length: system }, (_, index) => ({
    timeUnixNano: TIME,
    body: { stringValue: `log ${index}` },
    attributes: [{ key: "filler", value: { stringValue: "x".repeat(RECORD_BYTES) } }],
  }));
  const audit = events.map((text) => ({
    timeUnixNano: TIME,
    body: { stringValue: text },
    attributes: [{ key: "log.record.uid", value: { stringValue: text } }],
  }));
  const scopeLogs = [
    { scope: { name: "app" }, logRecords: logs },
    { scope: { name: "orchestrator.audit" }, logRecords: audit },
  ];
  return { resourceLogs: [{ scopeLogs }] };
}

type Way = (host: TestHost, sent: Sent, access?: Access) => Promise<Ingested>;

const protobuf: Way = ({ intake }, sent, access) =>
  intake.otlpProtobuf(toProtobuf(request(sent) as never), access);

const json: Way = ({ intake }, sent, access) =>
  intake.otlpJson(Buffer.from(JSON.stringify(request(sent))), access);

/** As records, which are those that another intake has made of the request. */
const records: Way = async ({ intake }, sent, access) => {
  const other = await openHost();
  await json(other, sent);
  return intake.records(other.intake.accepted, access);
};

const processed =
  (way: Way): Way =>
  (host, sent, access) => {
    host.intake.process("same", { process: (record) => record });
    return way(host, sent, access);
  };

const WAYS: readonly (readonly [string, Way, number])[] = [
  ["protobuf", protobuf, 3],
  ["JSON", json, 3],
  ["records", records, 3],
  ["protobuf, with a processor", processed(protobuf), 3],
  ["JSON, with a processor", processed(json), 3],
  ["a large request in protobuf", protobuf, MANY],
  ["a large request in JSON", json, MANY],
  ["a large request in protobuf, with a processor", processed(protobuf), MANY],
  ["a large request in JSON, with a processor", processed(json), MANY],
];

function typesOf({ intake }: TestHost): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type } of intake.envelopes) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}

function metadataOf({ intake }: TestHost): unknown[] {
  return intake.envelopes
    .filter((envelope) => envelope.type === "audit_log")
    .map((envelope: Envelope) =>
      "metadata" in envelope.data ? envelope.data.metadata : undefined,
    );
}

describe.each(WAYS)("%s", (_, send, system) => {
  it("stores what the principal may send, and names it in audit events", async () => {
    const host = await openHost();
    expect(await send(host, { system, events: ["a", "b"] }, ALL)).toEqual({
      accepted: system + 2,
      rejected: 0,
      reason: "",
    });
    expect(typesOf(host)).toEqual({ system_log: system, audit_log: 2 });
    expect(metadataOf(host)).toEqual([
      { "log.record.uid": "a", ingested_by: "token:ci" },
      { "log.record.uid": "b", ingested_by: "token:ci" },
    ]);
    expect(host.intake.envelopes.filter(({ data }) => "ingested_by" in data)).toEqual([]);
  });

  it("rejects the records whose scope is missing, and stores the others", async () => {
    const host = await openHost();
    expect(await send(host, { system, events: ["a", "b"] }, SYSTEM)).toEqual({
      accepted: system,
      rejected: 2,
      reason: "token:ci lacks the scope ingest:audit",
    });
    expect(typesOf(host)).toEqual({ system_log: system });
    const other = await openHost();
    expect(await send(other, { system, events: ["a", "b"] }, AUDIT)).toEqual({
      accepted: 2,
      rejected: system,
      reason: "token:ci lacks the scope ingest:system",
    });
    expect(typesOf(other)).toEqual({ audit_log: 2 });
  });

  it("rejects the whole request if the principal may send none of its records", async () => {
    const host = await openHost();
    await expect(send(host, { system, events: [] }, AUDIT)).rejects.toMatchObject({
      code: "FORBIDDEN",
      message: expect.stringContaining(
        `token:ci lacks the scope ingest:system, which all ${system} records need. Nothing was stored.`,
      ),
    });
    await expect(send(host, { system: 0, events: ["a"] }, SYSTEM)).rejects.toMatchObject({
      code: "FORBIDDEN",
      message: expect.stringContaining("lacks the scope ingest:audit, which the record needs. "),
    });
    await expect(send(host, { system, events: ["a"] }, NEITHER)).rejects.toMatchObject({
      code: "FORBIDDEN",
      message: expect.stringContaining(
        "lacks the scopes ingest:system and ingest:audit, which all ",
      ),
    });
    expect(host.intake.envelopes).toEqual([]);
  });

  it("accepts everything without a principal", async () => {
    const host = await openHost();
    for (const access of [undefined, OPEN_ACCESS, accessOf(undefined, "read")]) {
      const { rejected } = await send(host, { system, events: ["a"] }, access);
      expect(rejected).toBe(0);
    }
    expect(typesOf(host)).toEqual({ system_log: 3 * system, audit_log: 1 });
    expect(metadataOf(host)).toEqual([{ "log.record.uid": "a" }]);
  });
});

describe("a request that is sent again", () => {
  it.each(WAYS)("stores an event once for each principal: %s", async (_, send, system) => {
    const host = await openHost();
    const sent = { system, events: ["a"] };
    await send(host, sent, ALL);
    await send(host, sent, ALL);
    await send(host, sent, accessOf("token:other", "ingest"));
    await expect(send(host, { system: 0, events: ["a"] }, SYSTEM)).rejects.toMatchObject({
      code: "FORBIDDEN",
    });
    expect(metadataOf(host)).toEqual([
      { "log.record.uid": "a", ingested_by: "token:ci" },
      { "log.record.uid": "a", ingested_by: "token:other" },
    ]);
  });
});

/** Changes the type of each record: an audit event becomes a system log, and the other way round. */
function swapType(record: LogRecord): LogRecord {
  const name = record.scope.name === "app" ? "orchestrator.audit" : "app";
  return { ...record, scope: { ...record.scope, name } };
}

describe.each(WAYS.filter(([name]) => !name.includes("processor")))(
  "a processor that changes the type of %s",
  (_, send, system) => {
    it("gives no principal a right that it lacks", async () => {
      for (const access of [SYSTEM, AUDIT]) {
        const host = await openHost();
        host.intake.process("swap", { process: swapType });
        const sending = send(host, { system, events: ["a"] }, access);
        await expect(sending).rejects.toMatchObject({ code: "FORBIDDEN" });
        expect(host.intake.envelopes).toEqual([]);
      }
    });

    it("leaves the events of a principal with both scopes its name", async () => {
      const host = await openHost();
      host.intake.process("swap", { process: swapType });
      await send(host, { system: 1, events: ["a"] }, ALL);
      expect(typesOf(host)).toEqual({ system_log: 1, audit_log: 1 });
      expect(metadataOf(host)).toEqual([{ filler: expect.any(String), ingested_by: "token:ci" }]);
    });
  },
);

it("A processor cannot set the name of the principal.", async () => {
  const host = await openHost();
  host.intake.process("forge", {
    process: (record) => {
      const attributes = new Map([...record.attributes, ["ingested_by", "token:admin"]]);
      return { ...record, attributes };
    },
  });
  await protobuf(host, { system: 0, events: ["a"] }, ALL);
  await protobuf(host, { system: 0, events: ["b"] });
  expect(metadataOf(host)).toEqual([
    { "log.record.uid": "a", extra_ingested_by: "token:admin", ingested_by: "token:ci" },
    { "log.record.uid": "b", extra_ingested_by: "token:admin" },
  ]);
});

it("Attributes that name the logger decide about the type, too.", async () => {
  const send = (host: TestHost, scope: string, access: Access): Promise<Ingested> => {
    const attributes = [{ key: "name", value: { stringValue: "orchestrator.audit" } }];
    const logRecords = [
      { timeUnixNano: TIME, severityNumber: 9, attributes },
      { timeUnixNano: TIME },
    ];
    const body = { resourceLogs: [{ scopeLogs: [{ scope: { name: scope }, logRecords }] }] };
    return host.intake.otlpProtobuf(toProtobuf(body as never), access);
  };
  for (const scope of ["", "unknown", "@opentelemetry/instrumentation-pino"]) {
    const host = await openHost();
    expect(await send(host, scope, SYSTEM)).toMatchObject({ accepted: 1, rejected: 1 });
    expect(typesOf(host)).toEqual({ system_log: 1 });
    expect(await send(host, scope, AUDIT)).toMatchObject({ accepted: 1, rejected: 1 });
    expect(typesOf(host)).toEqual({ system_log: 1, audit_log: 1 });
  }
});
