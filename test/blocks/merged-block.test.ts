/** Records that were encoded as a merged block and read again: byte by byte what they were. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeBlocks } from "../../src/batch/block.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { BlockEncoder } from "../../src/blocks/block-encoder.ts";
import { DamagedChunkError } from "../../src/blocks/block-view.ts";
import type { EncodedBlock } from "../../src/blocks/encoded-block.ts";
import { openBlock, type MergedBlock } from "../../src/blocks/merged-block.ts";
import { envelopeRules, rulesText } from "../../src/envelope/rules.ts";
import { buildRequest } from "../../src/otlp/encode.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import type { EnvelopeType } from "../../src/wire/envelope.ts";
import { RecordGenerator } from "../bench/search/generator.ts";
import { asBlockRecords, type BlockRecord } from "./block-records.ts";
import { alikeRequest, jsonRequest, reordered, toProtobuf } from "../encode/generated-request.ts";

const RULES = rulesText(envelopeRules());
const MS_MICROS = 1_000;

interface Expected extends BlockRecord {
  readonly bytes: Buffer;
}

/** The records of requests by type, as the merge worker gets them. */
function recordsOf(requests: Iterable<Uint8Array>): Record<EnvelopeType, Expected[]> {
  const records: Record<EnvelopeType, Expected[]> = { system_log: [], audit_log: [] };
  let sequence = 41;
  for (const request of requests) {
    const builder = new BatchBuilder();
    encodeOtlpProtobuf(request, builder, 0);
    for (const batch of builder.take()) {
      for (let index = 0; index < batch.length; index++) {
        sequence++;
        records[batch.type(index)].push(expectedOf(batch, index, sequence));
      }
    }
  }
  return records;
}

function expectedOf(batch: RecordBatch, index: number, sequence: number): Expected {
  const isAudit = batch.type(index) === "audit_log";
  const timestamp = batch.timestamp(index);
  const bytes = Buffer.from(batch.bytes(index));
  // As of a record without a time, which the rules do not make again.
  const isKept = isAudit || batch.rules(index) === undefined;
  return {
    sequence,
    appendedAtMs: 1_700_000_000_000 + (sequence >> 2),
    rank: batch.rank(index),
    logger: batch.logger(index),
    otlp: batch.encodedRecord(index),
    timeMicros: Date.parse(timestamp) * MS_MICROS + Number(timestamp.slice(23, 26)),
    envelope: isKept ? bytes : undefined,
    hash: isAudit ? sequence.toString(16).padStart(64, "0") : undefined,
    bytes,
  };
}

function encode(type: EnvelopeType, records: readonly BlockRecord[]): EncodedBlock {
  const encoder = new BlockEncoder(type, RULES);
  encoder.add(asBlockRecords(records));
  return encoder.finish();
}

function open(
  type: EnvelopeType,
  block: EncodedBlock,
  isDamaged: (chunk: number) => boolean = () => false,
): MergedBlock {
  const header = { type, rules: block.rules };
  return openBlock(header, block.directory, (chunk) => {
    if (isDamaged(chunk)) throw new DamagedChunkError(`chunk ${chunk}`);
    return block.chunks[chunk]!;
  });
}

function expectSame(
  view: MergedBlock,
  indexes: readonly number[],
  expected: readonly Expected[],
): void {
  const batch = decodeBlocks([view.read(indexes)]);
  expect(batch.length).toBe(indexes.length);
  for (const [position, index] of indexes.entries()) {
    const { bytes, otlp, ...record } = expected[index]!;
    expect(batch.sequence(position)).toBe(record.sequence);
    expect(batch.appendedAt(position)).toBe(record.appendedAtMs);
    expect(batch.rank(position)).toBe(record.rank);
    expect(batch.logger(position)).toBe(record.logger);
    expect(Buffer.compare(batch.bytes(position), bytes)).toBe(0);
    const read = batch.encodedRecord(position);
    expect(Buffer.from(read.record).toString("hex")).toBe(Buffer.from(otlp.record).toString("hex"));
    expect(Buffer.compare(read.resource, otlp.resource)).toBe(0);
    expect(Buffer.compare(read.scope, otlp.scope)).toBe(0);
    if (record.hash !== undefined) expect(batch.hash(position)).toBe(record.hash);
    expect(view.times[index]).toBe(record.timeMicros);
    expect(view.sequences[index]).toBe(record.sequence);
  }
}

function expectRoundTrip(records: Record<EnvelopeType, Expected[]>, step = 1): void {
  for (const type of ["system_log", "audit_log"] as const) {
    const expected = records[type];
    if (expected.length === 0) continue;
    const view = open(type, encode(type, expected));
    const all = expected.map((_, index) => index);
    expectSame(view, all, expected);
    expectSame(
      view,
      all.filter((index) => index % (step + 1) === 0),
      expected,
    );
  }
}

describe("a merged block gives each record back", () => {
  test("of realistic services", () => {
    const records = recordsOf(new RecordGenerator(6_000).requests());
    expectRoundTrip(records, 3);
    const { exceptions, length } = open("system_log", encode("system_log", records.system_log));
    expect([exceptions.length, length]).toEqual([0, records.system_log.length]);
  });

  test("whatever a request has", () => {
    const request = fc.oneof(
      jsonRequest.map(toProtobuf),
      alikeRequest.map(toProtobuf),
      // Fields in any order, and unknown ones.
      fc.tuple(jsonRequest, fc.nat(12)).map(([json, seed]) => reordered(toProtobuf(json), seed)),
    );
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 3 }), (requests) =>
        expectRoundTrip(recordsOf(requests)),
      ),
      { numRuns: 120 },
    );
  });

  test("though its bytes are not as an encoder would write them", () => {
    const { system_log: records } = recordsOf(new RecordGenerator(24).requests());
    const mutation = fc.record({
      at: fc.nat(400),
      byte: fc.integer({ min: 0, max: 255 }),
      isAdded: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(mutation, { maxLength: 3 }),
        fc.nat(records.length - 1),
        (mutations, which) => {
          const mutated = records.map((record, index): Expected => {
            // The bytes are evidence even of what no decoder understands; the envelope is then not made of them.
            const bytes = [...record.otlp.record];
            for (const { at, byte, isAdded } of index === which ? mutations : []) {
              bytes.splice(at % (bytes.length + 1), isAdded ? 0 : 1, byte);
            }
            return {
              ...record,
              envelope: record.bytes,
              otlp: { ...record.otlp, record: Buffer.from(bytes) },
            };
          });
          fc.pre(isAccepted(mutated[which]!));
          const view = open("system_log", encode("system_log", mutated));
          const indexes = mutated.map((_, index) => index).filter((index) => index !== which);
          expectSame(view, indexes, mutated);
          const request = requestOf(view, which);
          expect(request.includes(Buffer.from(mutated[which]!.otlp.record))).toBe(true);
        },
      ),
      { numRuns: 80 },
    );
  });
});

/** Whether the intake accepts the record: only such ones are stored. */
function isAccepted({ otlp }: Expected): boolean {
  try {
    encodeOtlpProtobuf(
      buildRequest(1, () => otlp),
      new BatchBuilder(),
      0,
    );
    return true;
  } catch {
    return false;
  }
}

/** The OTLP request of one record, which may be no valid one. */
function requestOf(view: MergedBlock, index: number): Buffer {
  return Buffer.from(view.read([index]).bytes);
}

describe("a damaged chunk", () => {
  const { system_log: records } = recordsOf(new RecordGenerator(4_000).requests());
  const block = encode("system_log", records);
  const all = records.map((_, index) => index);

  test("loses only the records that have values in it, and says which", () => {
    for (let chunk = 1; chunk < block.chunks.length; chunk++) {
      const view = open("system_log", block, (index) => index === chunk);
      let lost: readonly number[] = [];
      try {
        view.read(all);
      } catch (error) {
        if (!(error instanceof DamagedChunkError)) throw error;
        // What all records have, such as their times, loses all.
        lost = error.records ?? all;
      }
      const left = all.filter((index) => !lost.includes(index));
      if (left.length > 0 && lost.length > 0) expectSame(view, left.slice(0, 50), records);
    }
  });

  test("of any bytes is reported, and nothing else is thrown", () => {
    const damage = fc.record({
      chunk: fc.nat(block.chunks.length - 1),
      bytes: fc.uint8Array({ maxLength: 60 }),
    });
    fc.assert(
      fc.property(damage, ({ chunk, bytes }) => {
        const header = { type: "system_log" as const, rules: RULES };
        const view = openBlock(header, block.directory, (index) =>
          index === chunk ? bytes : block.chunks[index]!,
        );
        try {
          view.read(all.slice(0, 10));
        } catch (error) {
          const isReported = error instanceof DamagedChunkError || error instanceof RangeError;
          if (!isReported) throw error;
        }
      }),
      { numRuns: 100 },
    );
  });
});
