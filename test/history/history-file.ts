/** A history.db of realistic records, in small blocks. */

import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { BlockEncoder } from "../../src/blocks/block-encoder.ts";
import type { EncodedBlock } from "../../src/blocks/encoded-block.ts";
import { envelopeRules, rulesText } from "../../src/envelope/rules.ts";
import type { HistoryDatabase } from "../../src/history/database.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../src/wire/envelope.ts";
import { asBlockRecords } from "../blocks/block-records.ts";
import { RecordGenerator } from "../bench/search/generator.ts";

const RULES = rulesText(envelopeRules());

export interface StoredRecord {
  readonly batch: RecordBatch;
  readonly index: number;
  readonly sequence: number;
  readonly type: EnvelopeType;
  readonly timeMicros: number;
}

/** Returns realistic records with consecutive sequences from 1 on. */
export function realisticRecords(count: number): StoredRecord[] {
  const records: StoredRecord[] = [];
  for (const request of new RecordGenerator(count).requests()) {
    const builder = new BatchBuilder();
    encodeOtlpProtobuf(request, builder, 0);
    for (const batch of builder.take()) {
      batch.firstSequence = records.length + 1;
      for (let index = 0; index < batch.length; index++) {
        const timestamp = batch.timestamp(index);
        records.push({
          batch,
          index,
          sequence: records.length + 1,
          type: batch.type(index),
          timeMicros: Date.parse(timestamp) * 1000 + Number(timestamp.slice(23, 26)),
        });
      }
    }
  }
  return records;
}

/** Encodes records of one type as a block. */
export function encodeRecords(
  type: EnvelopeType,
  records: readonly StoredRecord[],
): { readonly type: EnvelopeType; readonly block: EncodedBlock } {
  const encoder = new BlockEncoder(type, RULES);
  const isAudit = type === "audit_log";
  const list = records.map(({ batch, index, sequence, timeMicros }) => {
    const isKept = isAudit || batch.rules(index) === undefined;
    return {
      sequence,
      appendedAtMs: Math.floor(timeMicros / 1000),
      rank: batch.rank(index),
      logger: batch.logger(index),
      otlp: batch.encodedRecord(index),
      timeMicros,
      envelope: isKept ? Buffer.from(batch.bytes(index)) : undefined,
      hash: isAudit ? sequence.toString(16).padStart(64, "0") : undefined,
    };
  });
  encoder.add(asBlockRecords(list));
  return { type, block: encoder.finish() };
}

/** Stores records in blocks of `blockRecords`; returns the ids of the blocks. */
export function storeRecords(
  database: HistoryDatabase,
  records: readonly StoredRecord[],
  blockRecords: number,
): number[] {
  const blocks = ENVELOPE_TYPES.flatMap((type) => {
    const ofType = records.filter((record) => record.type === type);
    const starts = ofType.keys().filter((index) => index % blockRecords === 0);
    return [...starts].map((start) =>
      encodeRecords(type, ofType.slice(start, start + blockRecords)),
    );
  });
  return database.commit({ blocks, replaced: [], gaps: [], merged: records.at(-1)!.sequence });
}
