import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { encodeOtlpJson, encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { decodeBlocks, encodeBlocks } from "../../src/batch/block.ts";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import {
  jsonRequest,
  reordered,
  toJson,
  toProtobuf,
  type JsonRequest,
} from "../encode/generated-request.ts";
import { encodeRecords, envelopesOf } from "../harness/records.ts";
import { mixed, otlpOf, recordsOf, withHuge } from "../encode/sized-requests.ts";
import { soundTexts } from "../encode/sound-batch.ts";
import { JournalDirectory, pagesOf } from "./journal-directory.ts";
import {
  recordsByProtobufjs,
  recordsOnTheWire,
  timeOnTheWire,
  type RecordInRequest,
} from "./otlp-records.ts";

type Encode = typeof encodeOtlpJson;

const AUDIT = "orchestrator.audit";

/**
 * No record is filtered: audit events, also those whose logger an attribute names, are accepted
 * from INFO up.
 */
const request = jsonRequest.map(({ resourceLogs }) => ({
  resourceLogs: resourceLogs.map((one) => ({
    ...one,
    scopeLogs: one.scopeLogs.map((scopeLogs) => ({
      ...scopeLogs,
      logRecords: scopeLogs.logRecords.map(({ severityText, ...record }) =>
        scopeLogs.scope?.name?.startsWith(AUDIT) || JSON.stringify(record).includes(AUDIT)
          ? { ...record, severityNumber: 13 }
          : { ...record, ...(severityText !== undefined && { severityText }) },
      ),
    })),
  })),
})) as fc.Arbitrary<JsonRequest>;

async function append(journal: SqliteJournal, body: Uint8Array, encode: Encode): Promise<void> {
  const open = new BatchBuilder();
  encode(body, open, 0);
  await Promise.all(open.take().map((batch) => journal.append(batch)));
}

/** What the journal returns for these bodies after a restart, each page as a request. */
async function stored(bodies: readonly Uint8Array[], encode: Encode): Promise<Uint8Array[]> {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open();
  await Promise.all(bodies.map((body) => append(journal, body, encode)));
  await directory.close(journal);
  const pages = await pagesOf(await directory.open());
  // The records of a page both together and one by one: a selection takes a different path.
  return pages.flatMap(({ records }, index) => {
    if (records === undefined) return [];
    if (index % 2 === 0) return [records.otlp()];
    return [records.select((place) => place === 0).otlp(), records.from(1).otlp()];
  });
}

function timeOf({ record }: RecordInRequest): bigint {
  const { timeUnixNano = "0", observedTimeUnixNano = "0" } = record;
  return BigInt.asUintN(64, BigInt(timeUnixNano) || BigInt(observedTimeUnixNano));
}

function inOrderOf<T>(time: (item: T) => bigint, items: T[]): T[] {
  return items.sort((one, other) => Number(time(one) - time(other)));
}

describe("a record read from the journal", () => {
  it.each([
    ["JSON", toJson, encodeOtlpJson],
    ["protobuf", toProtobuf, encodeOtlpProtobuf],
  ] as const)("is what was sent as %s", async (form, toBody, encode) => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 25 }), async (requests) => {
        // JSON has no -0.
        const sent = form === "JSON" ? requests.map(throughJson) : requests;
        const expected = sent.flatMap((one) =>
          inOrderOf(timeOf, recordsByProtobufjs(toProtobuf(one))),
        );
        const found = await stored(sent.map(toBody), encode);
        expect(found.flatMap(recordsByProtobufjs)).toEqual(expected);
      }),
      { numRuns: 5 },
    );
  });

  it("has the bytes that arrived as protobuf, including unknown fields", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(request, fc.nat(100)), { minLength: 1, maxLength: 25 }),
        async (requests) => {
          const bodies = requests.map(([one, seed]) => reordered(toProtobuf(one), seed));
          const expected = bodies.flatMap((body) =>
            inOrderOf(timeOnTheWire, recordsOnTheWire(body)),
          );
          const found = await stored(bodies, encodeOtlpProtobuf);
          expect(found.flatMap(recordsOnTheWire)).toEqual(expected);
        },
      ),
      { numRuns: 5 },
    );
  });
});

describe("a record of any size", () => {
  it("is read from disk as it was encoded", async () => {
    const requests = fc.tuple(fc.array(mixed, { minLength: 1, maxLength: 3 }), withHuge);
    await fc.assert(
      fc.asyncProperty(requests, async ([several, huge]) => {
        await using directory = await JournalDirectory.create();
        const journal = await directory.open();
        const bodies = [...several, huge].map((one) => toProtobuf(otlpOf(recordsOf(one))));
        for (const body of bodies) await append(journal, body, encodeOtlpProtobuf);
        await directory.close(journal);
        const pages = await pagesOf(await directory.open());
        const found = pages.flatMap(({ records }) => soundTexts(records!));
        expect(found).toEqual(bodies.flatMap((body) => envelopesOf(encodeOtlpProtobuf, body)));
      }),
      { numRuns: 3 },
    );
  });
});

describe("a large request", () => {
  /** One request with the records of all of them. */
  const merged = (requests: readonly JsonRequest[], hasAudit: boolean): JsonRequest => ({
    resourceLogs: requests.flatMap(({ resourceLogs }) =>
      resourceLogs.map((one) => ({
        ...one,
        scopeLogs: one.scopeLogs.map((scopeLogs) => ({
          ...scopeLogs,
          ...(!hasAudit && { scope: { name: "orchestrator.server", attributes: [] } }),
        })),
      })),
    ),
  });

  it("is stored as it arrived if it fits in one block, otherwise in parts", async () => {
    const requests = fc.array(request, { minLength: 12, maxLength: 16 });
    await fc.assert(
      fc.asyncProperty(requests, fc.boolean(), fc.nat(100), async (parts, hasAudit, seed) => {
        const large = toProtobuf(merged(parts, hasAudit));
        const bodies = [parts[0]!, parts[1]!].map(toProtobuf);
        const sent = [bodies[0]!, reordered(large, seed), large, bodies[1]!];
        const expected = sent.flatMap((body) => inOrderOf(timeOnTheWire, recordsOnTheWire(body)));
        const found = await stored(sent, encodeOtlpProtobuf);
        expect(found.flatMap(recordsOnTheWire)).toEqual(expected);
      }),
      { numRuns: 3 },
    );
  });

  it("has its own bytes in the block, in any order of its records", () => {
    const logRecords = Array.from({ length: 100 }, (_, index) => ({
      observedTimeUnixNano: String(1_760_347_644_000_000_000n + BigInt((index * 37) % 100)),
      body: { stringValue: `${index}` },
    }));
    const body = toProtobuf({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
    const open = new BatchBuilder();
    encodeOtlpProtobuf(body, open, 0);
    const [block] = encodeBlocks(open.take());
    const bytes = Buffer.from(block!.bytes);
    expect(bytes.subarray(bytes.length - body.length)).toEqual(Buffer.from(body));
    const batch = decodeBlocks([{ firstSequence: 1, appendedAtMs: 0, bytes }]);
    expect(batch.record(0).body).toBe("0");
    expect(batch.record(1).body).toBe("73");
  });

  it("retains its bytes when the memory of the previous one is reused", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    const bodies = [600, 900, 300, 1200, 600, 599].map((length, order) =>
      toProtobuf({
        resourceLogs: [
          {
            scopeLogs: [
              {
                logRecords: Array.from({ length }, (_, index) => ({
                  observedTimeUnixNano: String(1000 * (index + 1)),
                  body: { stringValue: `${order}/${index} `.repeat(10) },
                })),
              },
            ],
          },
        ],
      }),
    );
    for (const body of bodies) await append(journal, body, encodeOtlpProtobuf);
    await directory.close(journal);
    const pages = await pagesOf(await directory.open());
    const found = pages.flatMap(({ records }) => recordsOnTheWire(records!.otlp()));
    expect(found).toEqual(bodies.flatMap(recordsOnTheWire));
    const texts = pages.flatMap(({ records }) =>
      Array.from({ length: records!.length }, (_, index) => records!.envelope(index).data.message),
    );
    expect(texts[600 + 900]).toBe("2/0 ".repeat(10));
    expect(texts.at(-1)).toBe("5/598 ".repeat(10));
  });

  it("reads requests stored by an older Tailgate", () => {
    const bodies = Array.from({ length: 40 }, (_, index) => `${index}`);
    const [block] = encodeBlocks(encodeRecords(bodies.map((body) => ({ body }))));
    for (const format of [1, 2]) {
      const bytes = olderFormat(Buffer.from(block!.bytes), format, bodies.length);
      const batch = decodeBlocks([{ firstSequence: 1, appendedAtMs: 0, bytes }]);
      const found = bodies.map((_, index) => batch.record(index).body);
      expect([found, soundTexts(batch).length]).toEqual([bodies, bodies.length]);
    }
  });
});

/**
 * The same block in an older format, if all its envelopes are stored: without the length of the rules; format 1 has four
 * cells per record and the records in order.
 */
function olderFormat(block: Buffer, format: number, records: number): Buffer<ArrayBuffer> {
  const head = Buffer.from(block.subarray(0, 24));
  head.writeInt32LE(format);
  const bytes = format === 1 ? 16 : 20;
  const cells = Array.from({ length: records }, (_, index) =>
    block.subarray(28 + 20 * index, 28 + 20 * index + bytes),
  );
  return Buffer.concat([head, ...cells, block.subarray(28 + 20 * records)]);
}

function throughJson(one: JsonRequest): JsonRequest {
  return JSON.parse(toJson(one).toString()) as JsonRequest;
}
