/**
 * Repairs envelopes that an older version of Tailgate has damaged: if one of more than 65,535 bytes came before them in
 * a request, it copied parts of them from a wrong place. Journals contain such envelopes until they expire.
 */

import { isUtf8 } from "node:buffer";
import type { Envelope } from "../wire/envelope.ts";
import { EnvelopeEncoder, NO_SECONDS, partsOfRecord } from "../envelope/encoder.ts";
import { BatchBuilder } from "./batch-builder.ts";
import { frameHeaderBytes } from "../plugin/text-frame.ts";
import { unreadableEnvelope, type RecordBatch } from "./record-batch.ts";

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

/** The copied records had up to 64 KiB: including the logger, none of their envelopes is larger than this. */
const DAMAGED_BYTES_MAX = 1 << 20;

const SECOND_MS = 1000;

/** Returns the indexes of the records whose envelopes are damaged. */
export function findDamaged(batch: RecordBatch): number[] {
  const damaged: number[] = [];
  for (let index = 0; index < batch.length; index++) {
    if (!isIntact(batch, index)) damaged.push(index);
  }
  return damaged;
}

function isIntact(batch: RecordBatch, index: number): boolean {
  if (batch.size(index) > DAMAGED_BYTES_MAX) return true;
  const bytes = batch.bytes(index);
  if (!isUtf8(bytes)) return false;
  try {
    const { type, data } = JSON.parse(Buffer.from(bytes).toString()) as Envelope;
    return type === batch.type(index) && TIMESTAMP.test(data.timestamp);
  } catch {
    return false;
  }
}

/** Returns the batch with these envelopes rebuilt from the OpenTelemetry records, which are stored beside them intact. */
export function repair(batch: RecordBatch, damaged: readonly number[]): RecordBatch {
  const envelopes = new Map(damaged.map((index) => [index, encodeAgain(batch, index)]));
  const bytesOf = (index: number): Uint8Array => envelopes.get(index) ?? batch.bytes(index);
  let bytes = 0;
  for (let index = 0; index < batch.length; index++) {
    const { length } = bytesOf(index);
    bytes += frameHeaderBytes(length) + length;
  }
  // With memory for all of them they are one batch.
  const builder = new BatchBuilder(undefined, bytes);
  for (let index = 0; index < batch.length; index++) {
    builder.begin();
    builder.writer.raw(bytesOf(index));
    const isAudit = batch.type(index) === "audit_log";
    const [origin, originIndex] = [batch.origin(index), batch.originIndex(index)];
    builder.commit(batch.rank(index), isAudit, batch.logger(index), origin, originIndex);
  }
  const [rebuilt] = builder.take();
  for (let index = 0; index < batch.length; index++) {
    if (batch.hash(index) !== "") rebuilt!.seal(index, batch.hash(index));
  }
  return Object.assign(rebuilt!, {
    firstSequence: batch.firstSequence,
    appendedAtMs: batch.appendedAtMs,
    appendedTimes: batch.appendedTimes,
    sequences: batch.sequences,
  });
}

function encodeAgain(batch: RecordBatch, index: number): Uint8Array {
  try {
    const parts = partsOfRecord(batch.origin(index).record(batch.originIndex(index)));
    if (parts.seconds === NO_SECONDS)
      parts.seconds = Math.floor(batch.appendedAt(index) / SECOND_MS);
    const builder = new BatchBuilder();
    new EnvelopeEncoder(builder, 0).encode(parts, batch.origin(index), batch.originIndex(index));
    const [encoded] = builder.take();
    if (encoded?.type(0) === batch.type(index)) return encoded.bytes(0);
  } catch {
    // The OpenTelemetry record is damaged, too.
  }
  return Buffer.from(JSON.stringify(unreadableEnvelope(batch, index)));
}
