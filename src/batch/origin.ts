/**
 * What batches keep of the records that they were encoded from. Memory is bounded by counting bytes, so that nothing is
 * kept whose size nobody knows, and nothing large for the sake of a few records.
 */

import type { EnvelopeType } from "../wire/envelope.ts";
import type { LogRecord } from "../plugin/index.ts";
import type { Steps } from "../otlp/request-limits.ts";
import { RESOURCE_LOGS, SCOPE_LOGS } from "../otlp/schema.ts";
import { encodeLogRecord, buildRequest, type EncodedRecord } from "../otlp/encode.ts";
import { ProtobufDecoder } from "../otlp/decode.ts";
import { RequestIndex } from "../otlp/request-index.ts";
import type { RecordBatch } from "./record-batch.ts";

/** Where a record came from, to rebuild it for those who want OpenTelemetry and not the envelope. */
export interface Origin {
  /** Rebuilds the record whose place among its origin's records is `index`. */
  record(index: number): LogRecord;
  /** The same record as pieces of an ExportLogsServiceRequest. */
  otlp(index: number): EncodedRecord;
  /** How much memory it holds for each record, beside the envelope. */
  readonly recordBytes: number;
  /** True if a batch keeps it only until it is settled: records that are objects, or one record with a request of its own. */
  readonly isInterim?: boolean;
  /** True for records of this process: they have no resource. */
  readonly isOwn?: boolean;
  /** All of its records as the ExportLogsServiceRequest that they came in, where they came in one. */
  readonly request?: Uint8Array;
  /** How many these are. */
  readonly records?: number;
}

/** A record of an origin: its place among that origin's records. */
export interface OriginRef {
  readonly origin: Origin;
  readonly index: number;
}

/** Where everything lies in a request, with the pieces that its records share. */
interface Places {
  readonly layout: RequestIndex;
  readonly resources: Map<number, Uint8Array>;
  readonly scopes: Map<number, Uint8Array>;
}

/**
 * Keeps a request's bytes and rebuilds records from them. The places of the records are worked out again when they
 * are asked for, and kept only until the garbage collector wants the memory.
 */
export class ProtobufOrigin implements Origin {
  readonly recordBytes: number;
  readonly records: number;
  readonly request: Uint8Array;
  #places: WeakRef<Places> | undefined;

  /** `records`: how many there are in the request; `kept`: for how many of them it stays in memory. */
  constructor(body: Uint8Array, records: number, kept = records) {
    this.request = body;
    this.records = records;
    this.recordBytes = Math.ceil(body.length / Math.max(kept, 1));
  }

  /** The record whose place in the request, as it was sent, is `index`. */
  record(index: number): LogRecord {
    // A decoder for each record, so that records share nothing that a plugin could change.
    return new ProtobufDecoder(this.#located().layout).record(index);
  }

  /** The record's own bytes, as they were sent. */
  otlp(index: number): EncodedRecord {
    const { layout, resources, scopes } = this.#located();
    const { bytes } = layout.reader;
    return {
      resource: piece(
        resources,
        layout.resource(index),
        layout,
        layout.resourceLogs,
        RESOURCE_LOGS.tags.scopeLogs,
      ),
      scope: piece(
        scopes,
        layout.scope(index),
        layout,
        layout.scopeLogs,
        SCOPE_LOGS.tags.logRecords,
      ),
      record: bytes.subarray(layout.start(index), layout.end(index)),
    };
  }

  #located(): Places {
    let places = this.#places?.deref();
    if (places === undefined) {
      const layout = RequestIndex.of(this.request, { isExact: false });
      places = { layout, resources: new Map(), scopes: new Map() };
      this.#places = new WeakRef(places);
    }
    return places;
  }
}

/** All fields of a message but those with the tag, as one piece. */
function piece(
  known: Map<number, Uint8Array>,
  place: number,
  { reader }: RequestIndex,
  messages: readonly number[],
  leftOut: number,
): Uint8Array {
  const found = known.get(place);
  if (found !== undefined) return found;
  const end = messages[place + 1]!;
  const fields: Uint8Array[] = [];
  reader.position = messages[place]!;
  while (reader.position < end) {
    const start = reader.position;
    const tag = reader.tag(end);
    reader.skip(tag, end, 0);
    if (tag !== leftOut) fields.push(reader.bytes.subarray(start, reader.position));
  }
  const bytes = fields.length === 1 ? fields[0]! : Buffer.concat(fields);
  known.set(place, bytes);
  return bytes;
}

/** What one of them takes in memory beside the request. */
const ORIGIN_BYTES = 512;

/**
 * Keeps records of plugins as the request that they would have come in: a plugin may change its objects later, and what
 * an object holds that is no OTLP must not come up when a commit is made of it and others.
 */
export class RecordOrigin implements Origin {
  readonly #request: ProtobufOrigin;

  constructor(records: readonly LogRecord[]) {
    const request = buildRequest(records.length, (index) => encodeLogRecord(records[index]!));
    this.#request = new ProtobufOrigin(request, records.length);
  }

  /** A request for each record would take more memory than the records. */
  get isInterim(): boolean {
    return this.#request.records === 1;
  }

  get recordBytes(): number {
    return this.#request.recordBytes + ORIGIN_BYTES;
  }

  get records(): number {
    return this.#request.records;
  }

  get request(): Uint8Array {
    return this.#request.request;
  }

  record(index: number): LogRecord {
    return this.#request.record(index);
  }

  otlp(index: number): EncodedRecord {
    return this.#request.otlp(index);
  }
}

/**
 * Replaces records that are objects, or have a request each, by one request, as they are stored. Only the garbage
 * collector knows how much memory objects hold, and a short text may be a slice of a long one that it keeps alive.
 */
export function settle(batch: RecordBatch): void {
  if (batch.unsettled === 0) return;
  const places = new Map<number, OriginRef>();
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
  places: Map<number, OriginRef>,
): void {
  const indexes: number[] = [];
  for (let index = 0; index < batch.length; index++) {
    const origin = batch.origin(index);
    const isAlike = batch.type(index) === type && (origin.isOwn === true) === isOwn;
    if (origin.isInterim === true && isAlike) indexes.push(index);
  }
  if (indexes.length === 0) return;
  const request = buildRequest(indexes.length, (place) => batch.encodedRecord(indexes[place]!));
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
