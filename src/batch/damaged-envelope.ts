/**
 * Envelopes that cannot be read. An older Tailgate copied parts of envelopes from a wrong place when one of more than
 * 65 535 bytes stood before them in its request; rows of the journal hold such envelopes until retention.
 */

import { isUtf8 } from "node:buffer";
import type { Envelope } from "../wire/envelope.ts";
import { EnvelopeEncoder, NO_SECONDS, partsOfRecord } from "../envelope/encoder.ts";
import { BatchBuilder } from "./batch-builder.ts";
import { frameHeaderBytes } from "./frames.ts";
import { unreadableEnvelope, type RecordBatch } from "./record-batch.ts";

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

/** Records whose envelopes were copied had up to 64 KiB: with their logger none is larger than this. */
const DAMAGED_BYTES_MAX = 1 << 20;

const SECOND_MS = 1000;

/** The places of the records whose envelopes are damaged. */
export function findDamaged(batch: RecordBatch): number[] {
  const damaged: number[] = [];
  for (let index = 0; index < batch.length; index++) {
    if (!isSound(batch, index)) damaged.push(index);
  }
  return damaged;
}

function isSound(batch: RecordBatch, index: number): boolean {
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

/** The batch with these envelopes made anew from the OpenTelemetry records, which are stored beside them and are whole. */
export function repair(batch: RecordBatch, damaged: readonly number[]): RecordBatch {
  const envelopes = new Map(damaged.map((index) => [index, encodedAgain(batch, index)]));
  const bytesOf = (index: number): Uint8Array => envelopes.get(index) ?? batch.bytes(index);
  let bytes = 0;
  for (let index = 0; index < batch.length; index++) {
    const { length } = bytesOf(index);
    bytes += frameHeaderBytes(length) + length;
  }
  // With memory for all of them they are one batch.
  const open = new BatchBuilder(undefined, bytes);
  for (let index = 0; index < batch.length; index++) {
    open.begin();
    open.writer.raw(bytesOf(index));
    const isAudit = batch.type(index) === "audit_log";
    const [origin, place] = [batch.origin(index), batch.originIndex(index)];
    open.commit(batch.rank(index), isAudit, batch.logger(index), origin, place);
  }
  const [made] = open.take();
  for (let index = 0; index < batch.length; index++) {
    if (batch.hash(index) !== "") made!.seal(index, batch.hash(index));
  }
  return Object.assign(made!, {
    firstSequence: batch.firstSequence,
    appendedAtMs: batch.appendedAtMs,
    appendedTimes: batch.appendedTimes,
    sequences: batch.sequences,
  });
}

function encodedAgain(batch: RecordBatch, index: number): Uint8Array {
  try {
    const parts = partsOfRecord(batch.origin(index).record(batch.originIndex(index)));
    if (parts.seconds === NO_SECONDS)
      parts.seconds = Math.floor(batch.appendedAt(index) / SECOND_MS);
    const open = new BatchBuilder();
    new EnvelopeEncoder(open, 0).encode(parts, batch.origin(index), batch.originIndex(index));
    const [encoded] = open.take();
    if (encoded?.type(0) === batch.type(index)) return encoded.bytes(0);
  } catch {
    // The record is damaged, too.
  }
  return Buffer.from(JSON.stringify(unreadableEnvelope(batch, index)));
}
