import { EnvelopeEncoder, partsOfRecord } from "../envelope/encoder.ts";
import { BatchBuilder } from "../batch/batch-builder.ts";
import { originOfRecords } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { Batch, LogRecord } from "../plugin/index.ts";

/** 2025-10-13T09:27:24.339163Z. */
const EXAMPLE_TIME_NANOS = 1_760_347_644_339_163_000n;

/**
 * Returns a record with the given members. The others are those of an INFO "hello" of `orchestrator.server`, at a fixed
 * time in 2025. If only `severityText` is given, `severityNumber` is 0, so that the level follows from the text.
 */
export function recordOf(given: Partial<LogRecord>): LogRecord {
  return {
    timestamp: EXAMPLE_TIME_NANOS,
    observedTimestamp: EXAMPLE_TIME_NANOS,
    severityNumber: given.severityText === undefined ? 9 : 0,
    severityText: "INFO",
    body: "hello",
    eventName: "",
    attributes: new Map(),
    traceId: "",
    spanId: "",
    flags: 0,
    resource: null,
    scope: { name: "orchestrator.server", version: "", attributes: new Map() },
    ...given,
  };
}

/** Where a batch of {@link batchOf} is in the journal. */
export interface BatchOptions {
  /** The sequence number of the first record; the others follow without gaps. Default 1. */
  readonly firstSequence?: number;
  /** When the batch was appended, in milliseconds since 1970. Default: now. */
  readonly appendedAtMs?: number;
}

/**
 * Returns a batch as an exporter gets it, of records that {@link recordOf} completes. System logs of all levels are
 * included, and audit events from INFO up.
 * @throws RangeError if no record is left.
 */
export function batchOf(given: readonly Partial<LogRecord>[], options: BatchOptions = {}): Batch {
  const records = given.map(recordOf);
  const batches = batchesOf(records);
  const bytes = batches.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const [batch] = batches.length > 1 ? batchesOf(records, ENCODING_ROOM * bytes) : batches;
  if (!batch) throw new RangeError("A batch needs at least one record that is not filtered.");
  batch.firstSequence = options.firstSequence ?? 1;
  batch.appendedAtMs = options.appendedAtMs ?? Date.now();
  return batch;
}

/** The most memory that an envelope needs while it is written, in bytes for each of its bytes. */
const ENCODING_ROOM = 8;

function batchesOf(records: readonly LogRecord[], slabBytes?: number): RecordBatch[] {
  const open = new BatchBuilder(undefined, slabBytes);
  const encoder = new EnvelopeEncoder(open, 0);
  const origin = originOfRecords(records);
  for (const [index, record] of records.entries()) {
    encoder.encode(partsOfRecord(record), origin, index);
  }
  return open.take();
}
