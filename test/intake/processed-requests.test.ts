/** What processors leave unchanged stays byte for byte as it was sent, and what they see is what is stored. */

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Batch, Envelope, LogRecord, Processor, RecordView, Value } from "tailgate/plugin";
import { testHost, type TestHost } from "tailgate/testing";
import { LogsRequest } from "../bench/otlp-schema.ts";
import { jsonRequest, reordered, toJson, toProtobuf } from "../encode/generated-request.ts";

interface Stored {
  readonly envelopes: readonly Envelope[];
  /** Each record as a request of its own. */
  readonly requests: readonly Uint8Array[];
  readonly accepted: number;
  readonly rejected: number;
  readonly reason: string;
}

/** A gateway with some processors. */
type Store = (body: Uint8Array, form?: "otlpProtobuf" | "otlpJson") => Promise<Stored>;

const hosts: TestHost[] = [];

/** Starts a gateway with these processors. */
async function gateway(...processors: readonly Processor[]): Promise<Store> {
  const host = await testHost("test");
  hosts.push(host);
  for (const [index, one] of processors.entries()) host.intake.process(`p${index}`, one);
  return async (body, form = "otlpProtobuf") => {
    const before = host.journal.newest;
    const answer = await host.intake[form](body);
    const batches: Batch[] = [];
    for (let next = before + 1; next <= host.journal.newest; next += batches.at(-1)!.length) {
      batches.push(host.journal.readFrom(next)!);
    }
    const each = <Part>(read: (batch: Batch, index: number) => Part): Part[] =>
      batches.flatMap((batch) => Array.from({ length: batch.length }, (_, at) => read(batch, at)));
    return {
      ...answer,
      envelopes: each((batch, index) => batch.envelope(index)),
      requests: each((batch, index) => batch.select((one) => one === index).otlp()),
    };
  };
}

/** A gateway without processors. */
let plain: Store;

beforeAll(async () => {
  plain = await gateway();
});

afterAll(async () => {
  for (const host of hosts) await host.close();
});

const UNCHANGING: readonly (readonly Processor[])[] = [
  [{ inspect: () => "pass" }],
  [{ process: (record) => record }],
  [{ process: (record) => ({ ...record, attributes: new Map(record.attributes) }) }],
  [
    { process: (record) => record },
    { inspect: (view) => (view.body() === null ? "process" : "pass"), process: (record) => record },
  ],
];

it("leaves the bytes of requests that no processor changes", async () => {
  const gateways = await Promise.all(UNCHANGING.map((processors) => gateway(...processors)));
  await fc.assert(
    fc.asyncProperty(
      jsonRequest,
      fc.nat(1000),
      fc.constantFrom(...gateways),
      async (request, seed, store) => {
        const body = reordered(toProtobuf(request), seed);
        expect(await store(body)).toEqual(await plain(body));
        const json = toJson(request);
        expect(await store(json, "otlpJson")).toEqual(await plain(json, "otlpJson"));
      },
    ),
    { numRuns: 40 },
  );
});

/** Changes the records at every third time, and drops system logs at every fifth. */
const mark: Processor = {
  inspect: (view) => {
    const time = timeOf(view.record());
    if (time % 5n === 0n && view.type() === "system_log") return "drop";
    return time % 3n === 0n ? "process" : "pass";
  },
  process: (record) => {
    record.attributes.set("mark", true);
    return record;
  },
};

function timeOf({ timestamp, observedTimestamp }: LogRecord): bigint {
  return timestamp || observedTimestamp;
}

interface Decoded {
  readonly resourceLogs: readonly [
    { schemaUrl: string; resource?: object; scopeLogs: [{ logRecords: [DecodedRecord] }] },
  ];
}

interface DecodedRecord {
  readonly droppedAttributesCount: number;
  readonly attributes: readonly { readonly key: string }[];
}

/** Decodes a request of one record with protobufjs. */
function decoded(request: Uint8Array): Decoded {
  return LogsRequest.toObject(LogsRequest.decode(request), { longs: String }) as Decoded;
}

it("changes only what a processor changes: schema URLs and dropped counts stay", async () => {
  const marked = await gateway(mark);
  await fc.assert(
    fc.asyncProperty(jsonRequest, async (request) => {
      const body = toProtobuf(request);
      const whole = await plain(body);
      const changed = await marked(body);
      const isDropped = (index: number): boolean =>
        whole.envelopes[index]!.type === "system_log" && timeAt(whole.requests[index]!) % 5n === 0n;
      const kept = whole.requests.filter((_, index) => !isDropped(index));
      expect(changed.requests).toHaveLength(kept.length);
      for (const [index, sent] of kept.entries()) {
        const now = changed.requests[index]!;
        if (timeAt(sent) % 3n !== 0n) {
          expect(now).toEqual(sent);
          continue;
        }
        const [before, after] = [decoded(sent).resourceLogs[0], decoded(now).resourceLogs[0]];
        const { logRecords: _, ...scope } = before.scopeLogs[0];
        expect(after).toMatchObject({ ...before, scopeLogs: [scope] });
        const [one, other] = [before.scopeLogs[0].logRecords[0], after.scopeLogs[0].logRecords[0]];
        expect(other.droppedAttributesCount).toBe(one.droppedAttributesCount);
        expect(other.attributes.at(-1)?.key).toBe("mark");
      }
    }),
    { numRuns: 60 },
  );
});

function timeAt(request: Uint8Array): bigint {
  const record = decoded(request).resourceLogs[0].scopeLogs[0].logRecords[0] as unknown as {
    timeUnixNano?: string;
    observedTimeUnixNano?: string;
  };
  return BigInt(record.timeUnixNano ?? 0) || BigInt(record.observedTimeUnixNano ?? 0);
}

it("shows a processor what is stored", async () => {
  let seen: Envelope[] = [];
  const store = await gateway({ inspect: (view) => look(view, seen) });
  await fc.assert(
    fc.asyncProperty(jsonRequest, fc.nat(1000), async (request, seed) => {
      const body = reordered(toProtobuf(request), seed);
      seen = [];
      const { envelopes } = await store(body);
      expect(seen).toEqual(envelopes);
    }),
    { numRuns: 40 },
  );
});

/** Checks a view against the decoded record, and notes the envelope unless the record will be filtered. */
function look(view: RecordView, seen: Envelope[]): "pass" {
  const record = view.record();
  const { type, data } = view.envelope();
  expect([view.type(), view.level(), view.logger()]).toEqual([type, data.level, data.logger]);
  expect(view.body()).toEqual(record.body);
  expect(view.eventName()).toBe(record.eventName);
  for (const [name, value] of record.attributes) expect(view.attribute(name)).toEqual(value);
  expect(view.attribute("absent")).toBe(undefined);
  for (const [name, value] of record.resource!.attributes) {
    expect(view.resourceAttribute(name)).toEqual(value);
  }
  const { bytes, start, end } = view.message();
  expect(decodedMessage(bytes.subarray(start, end))).toBe(record.eventName);
  // Audit events below INFO are not accepted.
  if (type === "system_log" || data.level !== "DEBUG") seen.push(view.envelope());
  return "pass";
}

function decodedMessage(message: Uint8Array): string {
  const type = LogsRequest.root.lookupType("LogRecord");
  return (type.decode(message) as unknown as { eventName: string }).eventName;
}

it("rejects what a processor makes too large, and stores the other records of the request", async () => {
  const values = new Map<string, Value>(
    Array.from({ length: 70_000 }, (_, index) => [`${index}`, 1]),
  );
  const grow: Processor = {
    process: (record) => (record.body === "grow" ? { ...record, attributes: values } : record),
  };
  const records = ["one", "grow", "two"].map((stringValue) => ({ body: { stringValue } }));
  const body = toJson({ resourceLogs: [{ scopeLogs: [{ logRecords: records }] }] });
  const { accepted, rejected, reason, envelopes } = await (await gateway(grow))(body, "otlpJson");
  expect([accepted, rejected]).toEqual([2, 1]);
  expect(reason).toMatch(/more than 65536 values/);
  expect(envelopes.map(({ data }) => data.message)).toEqual(["one", "two"]);
});

it("counts a verdict that does not exist as a failure of the processor", async () => {
  const odd = { inspect: () => "perhaps" } as unknown as Processor;
  const lost = { inspect: () => "process" } as Processor;
  const body = toJson({
    resourceLogs: [{ scopeLogs: [{ logRecords: [{ body: { stringValue: "x" } }] }] }],
  });
  const { envelopes } = await (await gateway(odd, lost))(body, "otlpJson");
  expect(envelopes).toHaveLength(1);
});
