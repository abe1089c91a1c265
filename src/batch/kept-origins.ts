/**
 * What batches keep of the records that they were encoded from. Memory is bounded by counting bytes, so that nothing is
 * kept whose size nobody knows, and nothing large for the sake of a few records.
 */

import type { EnvelopeType } from "../wire/envelope.ts";
import type { LogRecord } from "../plugin/index.ts";
import { buildRequest, type EncodedRecord } from "../otlp/encode.ts";
import { ProtobufOrigin } from "./protobuf-origin.ts";
import type { Steps } from "../otlp/request-limits.ts";
import type { Origin, OriginPlace, RecordBatch } from "./record-batch.ts";

/**
 * Replaces records that are objects, or have a request each, by one request, as they are stored. Only the garbage
 * collector knows how much memory objects hold, and a short text may be a slice of a long one that it keeps alive.
 */
export function settle(batch: RecordBatch): void {
  if (batch.unsettled === 0) return;
  const places = new Map<number, OriginPlace>();
  // The journal stores the two types apart, each in one piece.
  for (const type of ["system_log", "audit_log"] as const) {
    for (const isOwn of [true, false]) settleAlike(batch, { type, isOwn }, places);
  }
  batch.moveOrigins(0, (index) => places.get(index));
}

interface Kind {
  readonly type: EnvelopeType;
  readonly isOwn: boolean;
}

function settleAlike(
  batch: RecordBatch,
  { type, isOwn }: Kind,
  places: Map<number, OriginPlace>,
): void {
  const indexes: number[] = [];
  for (let index = 0; index < batch.length; index++) {
    const origin = batch.origin(index);
    const isAlike = batch.type(index) === type && (origin.isOwn === true) === isOwn;
    if (origin.isInterim === true && isAlike) indexes.push(index);
  }
  if (indexes.length === 0) return;
  const request = buildRequest(indexes.length, (place) => batch.otlpPieces(indexes[place]!));
  const origin = isOwn
    ? new OwnOrigin(request, indexes.length)
    : new ProtobufOrigin(request, indexes.length);
  for (const [place, index] of indexes.entries()) places.set(index, { origin, index: place });
}

/** Records of this process, as the request that they would have come in. */
class OwnOrigin implements Origin {
  readonly isOwn = true;
  readonly records: number;
  readonly request: Uint8Array;
  readonly recordBytes: number;
  readonly #origin: ProtobufOrigin;

  constructor(request: Uint8Array, records: number) {
    this.#origin = new ProtobufOrigin(request, records);
    this.records = records;
    this.request = request;
    this.recordBytes = this.#origin.recordBytes;
  }

  record(index: number): LogRecord {
    return { ...this.#origin.record(index), resource: null };
  }

  otlp(index: number): EncodedRecord {
    return this.#origin.otlp(index);
  }
}

/** A part of a batch: its records from `first` on. */
export interface BatchEnd {
  readonly batch: RecordBatch;
  readonly first: number;
}

/**
 * After so many bytes of a request were kept: replaces it by a request of the kept records alone where it is much larger,
 * else accounts for all of it.
 */
export function* keepOnly(
  ends: readonly BatchEnd[],
  request: ProtobufOrigin,
  bytes: number,
): Steps<void> {
  const kept = ends.reduce((sum, { batch, first }) => sum + batch.length - first, 0);
  if (kept === 0 || kept === request.records) return;
  if (2 * bytes < request.request.length) {
    yield* copyKept(ends, request);
    return;
  }
  const origin = new ProtobufOrigin(request.request, request.records, kept);
  for (const { batch, first } of ends) {
    batch.moveOrigins(first, (index) => ({ origin, index: batch.originIndex(index) }));
    yield;
  }
}

function* copyKept(ends: readonly BatchEnd[], request: ProtobufOrigin): Steps<void> {
  const pieces: EncodedRecord[] = [];
  for (const { batch, first } of ends) {
    for (let index = first; index < batch.length; index++) {
      pieces.push(request.otlp(batch.originIndex(index)));
    }
    yield;
  }
  const copy = buildRequest(pieces.length, (place) => pieces[place]!);
  const origin = new ProtobufOrigin(copy, pieces.length);
  let next = 0;
  for (const { batch, first } of ends) {
    const start = next - first;
    next += batch.length - first;
    batch.moveOrigins(first, (index) => ({ origin, index: start + index }));
    yield;
  }
}
