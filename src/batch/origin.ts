/**
 * What a batch retains of the records that it was encoded from. Memory is bounded by counting bytes, so nothing of
 * unknown size is retained, and nothing large for the sake of a few records.
 */

import type { EnvelopeType } from "../wire/envelope.ts";
import type { LogRecord } from "../plugin/index.ts";
import { jsonAttributes, scopeMembers, type JsonAttributes } from "../envelope/json-attributes.ts";
import type { EnvelopeRules } from "../envelope/rules.ts";
import type { Steps } from "../otlp/request-limits.ts";
import {
  buildRequest,
  encodeLogRecord,
  RequestBuilder,
  type EncodedRecord,
  type RequestPart,
} from "../otlp/encode.ts";
import { ProtobufDecoder } from "../otlp/decode.ts";
import { RequestIndex } from "../otlp/request-index.ts";
import { RequestParts } from "../otlp/request-parts.ts";
import type { RecordBatch } from "./record-batch.ts";

/** The source of a batch's records, from which they can be rebuilt. */
export interface Origin {
  /** Rebuilds a record. `index` counts the records of this origin. */
  record(index: number): LogRecord;
  /** Returns the attributes of a record's resource; records that share it get the same object. */
  resourceAttributes(index: number): JsonAttributes;
  /** Returns the name, the version and the attributes of a record's scope; records that share it get the same object. */
  scopeAttributes(index: number): JsonAttributes;
  /** Returns the same record as parts of an ExportLogsServiceRequest. */
  otlp(index: number): EncodedRecord;
  /** The memory that it uses for each record, beside the envelope. */
  readonly recordBytes: number;
  /** True if it is replaced when the batch is stored: records that are objects, or one record with its own request. */
  readonly isInterim?: boolean;
  /** True for records of this process: they have no resource. */
  readonly isOwn?: boolean;
  /** All of its records as the ExportLogsServiceRequest that they came in, if they came in one. */
  readonly request?: Uint8Array;
  /** The number of records in {@link request}. */
  readonly records?: number;
  /**
   * Returns those of its records that have a position, in the order of the request, as a request. Undefined if they have to
   * be asked for one by one.
   */
  part?(positions: Int32Array): RequestPart | undefined;
  /** The rules that make the envelopes of its records (batches say which ones) of {@link request}. */
  readonly rules?: EnvelopeRules | undefined;
}

/** A record of an origin. */
export interface OriginRef {
  readonly origin: Origin;
  readonly index: number;
}

/** The index of a request, with the parts that its records share. */
interface IndexedRequest {
  readonly requestIndex: RequestIndex;
  readonly parts: RequestParts;
  readonly attributes: Map<number, JsonAttributes>;
  readonly scopeAttributes: Map<number, JsonAttributes>;
}

interface OriginOptions extends Pick<Origin, "isOwn" | "isInterim" | "rules"> {
  /** The number of records that are in batches; default: all. */
  readonly accepted?: number;
  /** The memory that it uses beside the request. */
  readonly extraBytes?: number;
}

/**
 * Retains a request's bytes and rebuilds records from them. The request is indexed again when records are asked for, and
 * the index is retained only until the garbage collector needs the memory.
 */
export class ProtobufOrigin implements Origin {
  readonly recordBytes: number;
  readonly records: number;
  readonly request: Uint8Array;
  readonly isOwn: boolean;
  readonly isInterim: boolean;
  readonly rules: EnvelopeRules | undefined;
  #indexed: WeakRef<IndexedRequest> | undefined;

  /** `records`: the number of records in the request. */
  constructor(
    request: Uint8Array,
    records: number,
    {
      accepted = records,
      isOwn = false,
      isInterim = false,
      extraBytes = 0,
      rules,
    }: OriginOptions = {},
  ) {
    this.request = request;
    this.records = records;
    this.isOwn = isOwn;
    this.isInterim = isInterim;
    this.rules = rules;
    this.recordBytes = extraBytes + Math.ceil(request.length / Math.max(accepted, 1));
  }

  record(index: number): LogRecord {
    // A decoder for each record, so that records share nothing that a plugin could change.
    const record = new ProtobufDecoder(this.#index().requestIndex).record(index);
    return this.isOwn ? { ...record, resource: null } : record;
  }

  resourceAttributes(index: number): JsonAttributes {
    const { requestIndex, attributes } = this.#index();
    const offset = requestIndex.resource(index);
    let found = attributes.get(offset);
    if (found === undefined) {
      found = jsonAttributes(new ProtobufDecoder(requestIndex).resource(offset).attributes);
      attributes.set(offset, found);
    }
    return found;
  }

  scopeAttributes(index: number): JsonAttributes {
    const { requestIndex, scopeAttributes } = this.#index();
    const offset = requestIndex.scope(index);
    let found = scopeAttributes.get(offset);
    if (found === undefined) {
      found = scopeMembers(new ProtobufDecoder(requestIndex).scope(offset));
      scopeAttributes.set(offset, found);
    }
    return found;
  }

  /** Returns the record's own bytes, as they were sent. */
  otlp(index: number): EncodedRecord {
    const { requestIndex, parts } = this.#index();
    const { bytes } = requestIndex.reader;
    return {
      resource: parts.resource(requestIndex.resource(index)),
      scope: parts.scope(requestIndex.scope(index)),
      record: bytes.subarray(requestIndex.start(index), requestIndex.end(index)),
    };
  }

  part(positions: Int32Array): RequestPart | undefined {
    try {
      const { requestIndex, parts } = this.#index();
      return RequestBuilder.ofSelected(
        requestIndex,
        (record) => positions[record]! >= 0,
        (resource) => parts.resource(resource),
        (scope) => parts.scope(scope),
      );
    } catch {
      // Then it is known which of the records cannot be rebuilt.
      return undefined;
    }
  }

  #index(): IndexedRequest {
    let indexed = this.#indexed?.deref();
    if (indexed === undefined) {
      const requestIndex = RequestIndex.of(this.request, { isExact: false });
      indexed = {
        requestIndex,
        parts: new RequestParts(requestIndex),
        attributes: new Map(),
        scopeAttributes: new Map(),
      };
      this.#indexed = new WeakRef(indexed);
    }
    return indexed;
  }
}

/** The memory that the origin of a plugin's records uses beside the request. */
const ORIGIN_BYTES = 512;

/**
 * Retains records of plugins as the request that they would have come in. A plugin may change its objects later, and
 * what cannot be encoded must fail here and not in a commit that contains other records, too.
 */
export function originOfRecords(records: readonly LogRecord[]): ProtobufOrigin {
  const { length } = records;
  const request = buildRequest(length, (index) => encodeLogRecord(records[index]!));
  // A request for each record would use more memory than the records.
  return new ProtobufOrigin(request, length, { isInterim: length === 1, extraBytes: ORIGIN_BYTES });
}

/** Retains one encoded record; `isOwn` if this process has logged it. */
export function originOfEncoded(record: EncodedRecord, isOwn: boolean): ProtobufOrigin {
  const request = buildRequest(1, () => record);
  return new ProtobufOrigin(request, 1, { isOwn, isInterim: true, extraBytes: ORIGIN_BYTES });
}

/**
 * Replaces the interim origins of a batch by one request for each type, as they are stored. Only the garbage collector
 * knows how much memory objects use, and a short string may be a slice of a long one that it keeps alive.
 */
export function settle(batch: RecordBatch): void {
  if (batch.unsettled === 0) return;
  const settled = new Map<number, OriginRef>();
  for (const type of ["system_log", "audit_log"] as const) {
    for (const isOwn of [true, false]) settleGroup(batch, type, isOwn, settled);
  }
  batch.replaceOrigins(0, (index) => settled.get(index));
}

function settleGroup(
  batch: RecordBatch,
  type: EnvelopeType,
  isOwn: boolean,
  settled: Map<number, OriginRef>,
): void {
  const indexes: number[] = [];
  for (let index = 0; index < batch.length; index++) {
    const origin = batch.origin(index);
    const isInGroup = batch.type(index) === type && (origin.isOwn === true) === isOwn;
    if (origin.isInterim === true && isInGroup) indexes.push(index);
  }
  if (indexes.length === 0) return;
  const request = buildRequest(indexes.length, (item) => batch.encodedRecord(indexes[item]!));
  const origin = new ProtobufOrigin(request, indexes.length, { isOwn });
  for (const [item, index] of indexes.entries()) settled.set(index, { origin, index: item });
}

/** The records of a batch from `first` on. */
export interface BatchEnd {
  readonly batch: RecordBatch;
  readonly first: number;
}

/**
 * Accounts for a request of which only these records were accepted: `acceptedBytes` of it. If the request is much larger
 * than that, it is replaced by a request of the accepted records.
 */
export function* retainAccepted(
  ends: readonly BatchEnd[],
  request: ProtobufOrigin,
  acceptedBytes: number,
): Steps<void> {
  const accepted = ends.reduce((sum, { batch, first }) => sum + batch.length - first, 0);
  if (accepted === 0 || accepted === request.records) return;
  if (2 * acceptedBytes < request.request.length) {
    yield* copyAccepted(ends, request);
    return;
  }
  const origin = new ProtobufOrigin(request.request, request.records, {
    accepted,
    rules: request.rules,
  });
  for (const { batch, first } of ends) {
    batch.replaceOrigins(first, (index) => ({ origin, index: batch.originIndex(index) }));
    yield;
  }
}

function* copyAccepted(ends: readonly BatchEnd[], request: ProtobufOrigin): Steps<void> {
  const records: EncodedRecord[] = [];
  for (const { batch, first } of ends) {
    for (let index = first; index < batch.length; index++) {
      records.push(request.otlp(batch.originIndex(index)));
    }
    yield;
  }
  const copy = buildRequest(records.length, (index) => records[index]!);
  const origin = new ProtobufOrigin(copy, records.length, { rules: request.rules });
  let next = 0;
  for (const { batch, first } of ends) {
    const start = next - first;
    next += batch.length - first;
    batch.replaceOrigins(first, (index) => ({ origin, index: start + index }));
    yield;
  }
}
