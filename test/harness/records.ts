import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import type { RequestCounts } from "../../src/otlp/findings.ts";
import type { LevelRank } from "../../src/wire/envelope.ts";
import type { LogRecord } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";

export type { RecordBatch };

type Encode = (body: Uint8Array, open: BatchBuilder, lowest: LevelRank) => RequestCounts;

/** Encodes records as for a journal, each with its own origin. */
export function encodeRecords(given: readonly Partial<LogRecord>[]): RecordBatch[] {
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, 0);
  for (const record of given.map(recordOf)) {
    encoder.encode(partsOfRecord(record), originOfRecords([record]), 0);
  }
  return open.take();
}

/** The texts of a request's envelopes. */
export function envelopesOf(encode: Encode, body: Uint8Array, lowest: LevelRank = 0): string[] {
  const open = new BatchBuilder();
  encode(body, open, lowest);
  return takeTexts(open);
}

/** The texts of the envelopes of records that are objects. */
export function envelopesOfRecords(records: readonly LogRecord[], lowest: LevelRank = 0): string[] {
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, lowest);
  const origin = originOfRecords(records);
  for (const [index, record] of records.entries()) {
    encoder.encode(partsOfRecord(record), origin, index);
  }
  return takeTexts(open);
}

/** Takes the committed batches as texts. */
export function takeTexts(open: BatchBuilder): string[] {
  return open
    .take()
    .flatMap((batch) =>
      Array.from({ length: batch.length }, (_, index) =>
        Buffer.from(batch.bytes(index)).toString(),
      ),
    );
}

/** Takes the committed batches as rebuilt records. */
export function takeRecords(open: BatchBuilder): LogRecord[] {
  return open
    .take()
    .flatMap((batch) => Array.from({ length: batch.length }, (_, index) => batch.record(index)));
}
