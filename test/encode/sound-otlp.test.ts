import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeOtlpJson, decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import type { RecordBatch } from "../harness/records.ts";
import { RecordRepair } from "../../src/otlp/repair.ts";
import { batchOf } from "tailgate/testing";
import { JournalDirectory, pagesOf } from "../journal/journal-directory.ts";
import { jsonRequest, toProtobuf, type JsonRequest } from "./generated-request.ts";
import { BytesRequest, strictlyDecoded } from "./strict-request.ts";

function batchesOf(request: Uint8Array): RecordBatch[] {
  const open = new BatchBuilder();
  encodeOtlpProtobuf(request, open, 0);
  return open.take();
}

/** Texts as they may arrive: UTF-8, or any bytes. */
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }).map((valid) => Buffer.from(valid)),
  fc.uint8Array({ maxLength: 12 }),
  fc
    .tuple(fc.string({ maxLength: 150 }), fc.uint8Array({ maxLength: 3 }))
    .map(([valid, bytes]) => Buffer.concat([Buffer.from(valid), bytes])),
);

const id = (length: number) =>
  fc.oneof(
    fc.uint8Array({ minLength: length, maxLength: length }),
    fc.uint8Array({ maxLength: 2 * length }),
    fc.constant(new Uint8Array(length)),
  );

const { value, member } = fc.letrec<{ value: object; member: object }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    text.map((stringValue) => ({ stringValue })),
    fc.uint8Array({ maxLength: 5 }).map((bytesValue) => ({ bytesValue })),
    fc.integer().map((intValue) => ({ intValue })),
    fc.boolean().map((boolValue) => ({ boolValue })),
    fc.double().map((doubleValue) => ({ doubleValue })),
    fc.array(tie("value"), { maxLength: 3 }).map((values) => ({ arrayValue: { values } })),
    fc.array(tie("member"), { maxLength: 3 }).map((values) => ({ kvlistValue: { values } })),
  ),
  member: fc.record({ key: text, value: tie("value") }, { requiredKeys: [] }),
}));

const attributes = fc.array(member, { maxLength: 4 });

const record = fc.record(
  {
    timeUnixNano: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    severityNumber: fc.integer({ min: 0, max: 24 }),
    severityText: text,
    body: value,
    attributes,
    droppedAttributesCount: fc.integer({ min: 0, max: 300 }),
    flags: fc.integer({ min: 0, max: 255 }),
    traceId: id(16),
    spanId: id(8),
    eventName: text,
  },
  { requiredKeys: ["timeUnixNano"] },
);

const damagedRequest = fc
  .array(
    fc.record({
      resource: fc.record({ attributes, droppedAttributesCount: fc.constant(3) }),
      schemaUrl: text,
      scopeLogs: fc.array(
        fc.record({
          scope: fc.record({ name: text, version: text, attributes }),
          schemaUrl: text,
          logRecords: fc.array(record, { maxLength: 4 }),
        }),
        { maxLength: 3 },
      ),
    }),
    { maxLength: 3 },
  )
  .map((resourceLogs) => BytesRequest.encode(BytesRequest.fromObject({ resourceLogs })).finish());

describe("exported OTLP", () => {
  test("is accepted by strict decoders, with the same texts as everywhere, for any input", () => {
    fc.assert(
      fc.property(damagedRequest, (request) => {
        const records = decodeOtlpProtobuf(request);
        const batches = batchesOf(request);
        const exported = Buffer.concat(batches.map((batch) => batch.otlp({})));
        expect(strictlyDecoded(exported)).toBe(records.length);
        expect(decodeOtlpProtobuf(exported)).toEqual(records);
        expect(batches.flatMap((batch) => decodeOtlpJson(batch.otlpJson({})))).toEqual(records);
        for (const batch of batches) strictlyDecoded(batch.from(1).otlp({}));
      }),
      { numRuns: 300 },
    );
  });

  test("is byte for byte as it arrived if it is valid", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const repair = new RecordRepair();
        for (const batch of batchesOf(toProtobuf(withoutOddIds(request)))) {
          for (let index = 0; index < batch.length; index++) {
            const pieces = batch.encodedRecord(index);
            expect(repair.repair(pieces)).toBe(pieces);
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  test("drops known fields of another type, and retains unknown ones", () => {
    // dropped_attributes_count as a text, flags as a varint, field 200 as a text, field 15 as a
    // fixed32.
    const odd = [0x3a, 1, 0x61, 0x40, 1, 0xc2, 0x0c, 2, 0xff, 0xfe, 0x7d, 1, 2, 3, 4];
    const kept = [0xc2, 0x0c, 2, 0xff, 0xfe, 0x7d, 1, 2, 3, 4];
    const empty = Buffer.alloc(0);
    const pieces = { resource: empty, scope: empty, record: Buffer.from(odd) };
    expect([...new RecordRepair().repair(pieces).record]).toEqual(kept);
    // The same for a resource: an attribute with an ASCII key, and the count as a text.
    const attribute = [0x0a, 3, 0x0a, 1, 0x6b];
    const resource = Buffer.from([0x0a, 8, ...attribute, 0x12, 1, 0x61]);
    const sound = new RecordRepair().repair({ ...pieces, resource });
    expect([...sound.resource]).toEqual([0x0a, 5, ...attribute]);
  });

  test("has the last of duplicate ids if that is valid", () => {
    const ids = (...given: number[][]): Buffer =>
      Buffer.concat(given.map((bytes) => Buffer.from([0x52, bytes.length, ...bytes])));
    const one = [1, 2, 3, 4, 5, 6, 7, 8];
    const empty = Buffer.alloc(0);
    const soundId = (given: Buffer): number[] => [
      ...new RecordRepair().repair({ resource: empty, scope: empty, record: given }).record,
    ];
    expect(soundId(ids([9], one))).toEqual([...ids(one)]);
    expect(soundId(ids(one, [9]))).toEqual([]);
    expect(soundId(ids(one, []))).toEqual([...ids(one, [])]);
  });

  test("is built from the envelope if the record itself is invalid protobuf", () => {
    const batch = batchOf([{ body: "a" }, { body: "b" }]) as RecordBatch;
    const origin = {
      recordBytes: 1,
      record: () => expect.fail("It was decoded."),
      resourceAttributes: () => ({}),
      scopeAttributes: () => ({}),
      otlp: () => ({ ...batch.encodedRecord(0), record: Buffer.from([0x2a, 0x05, 1]) }),
    };
    batch.replaceOrigins(0, (index) => (index === 0 ? { origin, index } : undefined));
    const records = decodeOtlpProtobuf(batch.otlp({}));
    expect(records.map(({ body }) => body)).toEqual(["a", "b"]);
    expect(records[0]!.attributes.has("tailgate.rebuilt_from_envelope")).toBe(true);
  });

  test("is cut at the nesting limit if the invalid part is beyond it", () => {
    let inner: Buffer = Buffer.from([0x0a, 1, 0xff]);
    const field = (tag: number, content: Buffer): Buffer => {
      const { length } = content;
      const head = length < 0x80 ? [tag, length] : [tag, (length & 0x7f) | 0x80, length >> 7];
      return Buffer.concat([Buffer.from(head), content]);
    };
    for (let depth = 0; depth < 150; depth++) inner = field(0x2a, field(0x0a, inner));
    const nested = field(0x2a, inner);
    const empty = Buffer.alloc(0);
    const sound = Buffer.from(
      new RecordRepair().repair({ resource: empty, scope: empty, record: nested }).record,
    );
    expect(sound.toString()).toContain("[nested deeper than 100 levels]");
    expect(sound.includes(Buffer.from([0x0a, 1, 0xff]))).toBe(false);
  });

  test("is valid for records stored as they arrived", async () => {
    const requests = ["01-hex-ids.pb", "01-hex-ids-one.pb", "02-invalid-utf8.pb"].map((name) =>
      readFileSync(new URL(`../fixtures/cases/${name}`, import.meta.url)),
    );
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    for (const request of requests) {
      expect(() => strictlyDecoded(request)).toThrow(/traceId|not valid/);
      await Promise.all(batchesOf(request).map((batch) => journal.append(batch)));
    }
    await directory.close(journal);
    let records = 0;
    for (const { records: batch } of await pagesOf(await directory.open())) {
      records += strictlyDecoded(batch!.otlp({}));
      expect(() => strictlyDecoded(batch!.otlp())).toThrow(/traceId|not valid/);
    }
    expect(records).toBe(1002);
  });
});

function withoutOddIds({ resourceLogs }: JsonRequest): JsonRequest {
  const isValid = (given: string | undefined, length: number): boolean =>
    given?.length === length && !/^0*$/.test(given);
  const scopes = resourceLogs.flatMap(({ scopeLogs }) => scopeLogs);
  for (const logRecord of scopes.flatMap(({ logRecords }) => logRecords)) {
    if (!isValid(logRecord.traceId, 32)) delete logRecord.traceId;
    if (!isValid(logRecord.spanId, 16)) delete logRecord.spanId;
  }
  return { resourceLogs };
}
