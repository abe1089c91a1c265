import type { LogRecord } from "../plugin/index.ts";
import { RESOURCE_LOGS_SCOPE_LOGS, SCOPE_LOGS_RECORDS } from "../otlp/fields.ts";
import { encodeLogRecord, buildRequest, type EncodedRecord } from "../otlp/encode.ts";
import { ProtobufDecoder } from "../otlp/decode.ts";
import type { Origin } from "./record-batch.ts";
import { END, RequestIndex, RESOURCE, SCOPE, START } from "../otlp/request-index.ts";

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
        layout.at(index, RESOURCE),
        layout,
        layout.resourceLogs,
        RESOURCE_LOGS_SCOPE_LOGS,
      ),
      scope: piece(scopes, layout.at(index, SCOPE), layout, layout.scopeLogs, SCOPE_LOGS_RECORDS),
      record: bytes.subarray(layout.at(index, START), layout.at(index, END)),
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
