import type { LogRecord, Resource, Scope, Value, ValueMap } from "../plugin/index.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import { tooManyValues, PART_VALUES_MAX, type Steps } from "./request-limits.ts";
import { runToEnd, RequestIndex } from "./request-index.ts";
import type { ProtobufReader } from "./protobuf.ts";
import { keyBytes, type AttributeIndex } from "./attribute-index.ts";
import { ScannedRecord } from "./scanned-record.ts";
import type { RequestFindings } from "./findings.ts";
import { jsonToProtobuf } from "./from-json.ts";
import {
  RESOURCE,
  SCOPE,
  LOG_RECORD,
  KEY_VALUE,
  ANY_VALUE,
  ARRAY_VALUE,
  SPAN_ID_BYTES,
  TRACE_ID_BYTES,
} from "./schema.ts";

const { attributes: RESOURCE_ATTRIBUTES } = RESOURCE.tags;
const { attributes: SCOPE_ATTRIBUTES, name: SCOPE_NAME, version: SCOPE_VERSION } = SCOPE.tags;
const { attributes: RECORD_ATTRIBUTES } = LOG_RECORD.tags;
const { key: KEY_VALUE_KEY, value: KEY_VALUE_VALUE } = KEY_VALUE.tags;
const {
  arrayValue: VALUE_ARRAY,
  boolValue: VALUE_BOOL,
  bytesValue: VALUE_BYTES,
  doubleValue: VALUE_DOUBLE,
  intValue: VALUE_INT,
  kvlistValue: VALUE_KEY_VALUES,
  stringValue: VALUE_STRING,
} = ANY_VALUE.tags;
const { values: LIST_VALUES } = ARRAY_VALUE.tags;

/** A step ends after this many records. Decoding takes longer than encoding. */
const STEP_RECORDS = 64;

/**
 * Returns the records of an ExportLogsServiceRequest in protobuf, in order of time, stably. What the sender should know
 * about them is added to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function decodeOtlpProtobuf(body: Uint8Array, findings?: RequestFindings): LogRecord[] {
  return runToEnd(decodeOtlpProtobufInSteps(body, findings));
}

/** Does the same in steps. */
function* decodeOtlpProtobufInSteps(
  body: Uint8Array,
  findings?: RequestFindings,
): Steps<LogRecord[]> {
  const index = yield* RequestIndex.inSteps(body, { isExact: true, isReceived: true });
  findings?.checkUnknown(index);
  const fields = new ScannedRecord();
  const decoder = new ProtobufDecoder(index, PART_VALUES_MAX);
  const order = index.order();
  const records: LogRecord[] = [];
  for (let position = 0; position < index.length; position++) {
    const record = order?.[position] ?? position;
    fields.read(index.reader, index.start(record), index.end(record));
    if (fields.invalidIdEnd !== 0) findings?.invalidIdAt(fields.invalidIdEnd);
    records.push(decoder.recordOf(record, fields));
    if (position % STEP_RECORDS === 0) yield;
  }
  return records;
}

/**
 * Returns the records of an ExportLogsServiceRequest in JSON, in order of time, stably. With `findings`, a wrong value only
 * rejects the records that it belongs to.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function decodeOtlpJson(body: Uint8Array, findings?: RequestFindings): LogRecord[] {
  return runToEnd(decodeOtlpJsonInSteps(body, findings));
}

/** Does the same in steps. */
function* decodeOtlpJsonInSteps(body: Uint8Array, findings?: RequestFindings): Steps<LogRecord[]> {
  return yield* decodeOtlpProtobufInSteps(yield* jsonToProtobuf(body, findings));
}

/** The trace flags of W3C; the other bits are reserved. */
const FLAGS_MASK = 0xff;

/**
 * Decodes records from a request, for plugins and for what the fast encoder does not handle. If a key is repeated, the last
 * value counts; what is not UTF-8 becomes U+FFFD. All methods throw TailgateError OTLP_UNDECODABLE.
 */
export class ProtobufDecoder {
  readonly #index: RequestIndex;
  readonly #reader: ProtobufReader;
  readonly #resources = new Map<number, Resource>();
  readonly #scopes = new Map<number, Scope>();
  readonly #valuesMax: number;
  /** Counts within the record, the resource or the scope that is being read. They differ: a key may have no value. */
  #values = 0;
  #keys = 0;

  /** `valuesMax` limits the values of a record, a resource or a scope, including those in lists and maps. */
  constructor(index: RequestIndex, valuesMax = Infinity) {
    this.#index = index;
    this.#valuesMax = valuesMax;
    this.#reader = index.reader;
  }

  record(index: number): LogRecord {
    const fields = new ScannedRecord();
    fields.read(this.#reader, this.#index.start(index), this.#index.end(index));
    return this.recordOf(index, fields);
  }

  /** Decodes a record whose fields have been read. */
  recordOf(index: number, fields: ScannedRecord): LogRecord {
    this.#startPart();
    return {
      timestamp: uint64(fields.timeLow, fields.timeHigh),
      observedTimestamp: uint64(fields.observedLow, fields.observedHigh),
      severityNumber: fields.severity,
      severityText: this.text(fields.severityTextStart, fields.severityTextEnd),
      body: this.#valueBetween(fields.bodyStart, fields.bodyEnd),
      eventName: this.text(fields.eventNameStart, fields.eventNameEnd),
      attributes: this.#recordAttributes(fields.attributesStart, fields.attributesEnd),
      traceId: this.#id(fields.traceId, TRACE_ID_BYTES),
      spanId: this.#id(fields.spanId, SPAN_ID_BYTES),
      flags: fields.flags & FLAGS_MASK,
      resource: this.resource(this.#index.resource(index)),
      scope: this.scope(this.#index.scope(index)),
    };
  }

  /** Returns the body of a record whose fields have been read. */
  bodyOf({ bodyStart, bodyEnd }: ScannedRecord): Value {
    this.#startPart();
    return this.#valueBetween(bodyStart, bodyEnd);
  }

  /** Whether a record whose fields have been read has a body that is a text, or none. */
  isTextBody({ bodyStart, bodyEnd }: ScannedRecord): boolean {
    if (bodyStart === bodyEnd) return true;
    const reader = this.#reader;
    reader.position = bodyStart;
    return reader.tag(bodyEnd) === VALUE_STRING && reader.length(bodyEnd) === bodyEnd;
  }

  /** Returns one attribute of a record whose fields have been read and indexed; undefined if it does not have it. */
  attributeOf(fields: ScannedRecord, index: AttributeIndex, name: string): Value | undefined {
    const key = keyBytes(name);
    const found = key && index.find(key);
    this.#startPart();
    if (found === undefined) {
      return this.#recordAttributes(fields.attributesStart, fields.attributesEnd).get(name);
    }
    if (found < 0) return undefined;
    const attributes: ValueMap = new Map();
    this.#reader.position = index.start(found);
    this.#keyValue(index.end(found), attributes, 0);
    return attributes.get(name);
  }

  /** Returns the names of the attributes of a record whose fields have been read, each once. */
  attributeNamesOf({ attributesStart: start, attributesEnd: end }: ScannedRecord): string[] {
    const names = new Set<string>();
    if (start === 0) return [];
    const reader = this.#reader;
    reader.position = start;
    while (reader.position < end) {
      const tag = reader.field(end);
      if (tag === RECORD_ATTRIBUTES) names.add(this.#keyBetween(reader.start, reader.position));
      else reader.ignore(tag, end, 0);
    }
    return [...names];
  }

  /** Returns the key of a KeyValue; if it is repeated, the last one. */
  #keyBetween(start: number, end: number): string {
    const reader = this.#reader;
    let key = "";
    reader.position = start;
    while (reader.position < end) {
      const tag = reader.field(end);
      if (tag === KEY_VALUE_KEY) key = this.text(reader.start, reader.end);
      else reader.ignore(tag, end, 0);
    }
    return key;
  }

  /** Returns a text of the request. */
  text(start: number, end: number): string {
    return this.#reader.bytes.toString("utf8", start, end);
  }

  /** Returns the resource at that offset in the index, the same object on each call. */
  resource(offset: number): Resource {
    return cached(this.#resources, offset, () => this.#readResource(offset));
  }

  /** Returns the scope at that offset in the index, the same object on each call. */
  scope(offset: number): Scope {
    return cached(this.#scopes, offset, () => this.#readScope(offset));
  }

  #countValue(): void {
    if (++this.#values > this.#valuesMax) throw tooManyValues(`byte ${this.#reader.position}`);
  }

  #startPart(): void {
    this.#values = 0;
    this.#keys = 0;
  }

  #readResource(offset: number): Resource {
    this.#startPart();
    const attributes: ValueMap = new Map();
    const reader = this.#reader;
    const end = this.#index.resources[offset + 1]!;
    reader.position = this.#index.resources[offset]!;
    while (reader.position < end) {
      const tag = reader.tag(end);
      if (tag === RESOURCE_ATTRIBUTES) this.#keyValue(reader.length(end), attributes, 0);
      else reader.skip(tag, end, RESOURCE.strictNumbers);
    }
    return { attributes };
  }

  #readScope(offset: number): Scope {
    this.#startPart();
    const scope = { name: "", version: "", attributes: new Map<string, Value>() };
    const reader = this.#reader;
    const end = this.#index.scopes[offset + 1]!;
    reader.position = this.#index.scopes[offset]!;
    while (reader.position < end) {
      const tag = reader.tag(end);
      switch (tag) {
        case SCOPE_NAME:
          scope.name = this.#string(end);
          break;
        case SCOPE_VERSION:
          scope.version = this.#string(end);
          break;
        case SCOPE_ATTRIBUTES:
          this.#keyValue(reader.length(end), scope.attributes, 0);
          break;
        default:
          reader.skip(tag, end, SCOPE.strictNumbers);
      }
    }
    return scope;
  }

  #recordAttributes(start: number, end: number): ValueMap {
    const attributes: ValueMap = new Map();
    if (start === 0) return attributes;
    const reader = this.#reader;
    reader.position = start;
    while (reader.position < end) {
      const tag = reader.tag(end);
      // The other fields were checked when the record was read.
      if (tag === RECORD_ATTRIBUTES) this.#keyValue(reader.length(end), attributes, 0);
      else reader.skip(tag, end, 0);
    }
    return attributes;
  }

  #keyValue(end: number, into: ValueMap, depth: number): void {
    const reader = this.#reader;
    if (++this.#keys > this.#valuesMax) throw tooManyValues(`byte ${reader.position}`);
    let key = "";
    let value: Value = null;
    while (reader.position < end) {
      const tag = reader.tag(end);
      switch (tag) {
        case KEY_VALUE_KEY:
          key = this.#string(end);
          break;
        case KEY_VALUE_VALUE:
          value = this.#value(reader.length(end), depth);
          break;
        default:
          reader.skip(tag, end, KEY_VALUE.strictNumbers);
      }
    }
    into.set(key, value);
  }

  #valueBetween(start: number, end: number): Value {
    this.#reader.position = start;
    return this.#value(end, 0);
  }

  /** Reads an AnyValue that is nested in `depth` lists and maps. */
  #value(end: number, depth: number): Value {
    const reader = this.#reader;
    this.#countValue();
    let value: Value = null;
    while (reader.position < end) {
      if (value !== null) this.#countValue();
      const tag = reader.tag(end);
      switch (tag) {
        case VALUE_STRING:
          value = this.#string(end);
          break;
        case VALUE_BOOL:
          reader.varint(end);
          value = reader.low !== 0 || reader.high !== 0;
          break;
        case VALUE_INT:
          reader.varint(end);
          value = reader.int64();
          break;
        case VALUE_DOUBLE:
          value = reader.double(end);
          break;
        case VALUE_ARRAY:
          value = this.#list(reader.length(end), depth);
          break;
        case VALUE_KEY_VALUES:
          value = this.#map(reader.length(end), depth);
          break;
        case VALUE_BYTES:
          value = Uint8Array.from(reader.content(end));
          break;
        default:
          reader.skip(tag, end, ANY_VALUE.strictNumbers);
      }
    }
    return value;
  }

  #list(end: number, depth: number): Value {
    if (depth >= DEPTH_MAX) return this.#tooDeep(end);
    const list: Value[] = [];
    while (this.#nextEntry(end)) list.push(this.#value(this.#reader.length(end), depth + 1));
    return list;
  }

  #map(end: number, depth: number): Value {
    if (depth >= DEPTH_MAX) return this.#tooDeep(end);
    const map: ValueMap = new Map();
    while (this.#nextEntry(end)) this.#keyValue(this.#reader.length(end), map, depth + 1);
    return map;
  }

  /** Advances to the length of the next entry of a list or a map; returns false at the end. */
  #nextEntry(end: number): boolean {
    const reader = this.#reader;
    while (reader.position < end) {
      const tag = reader.tag(end);
      if (tag === LIST_VALUES) return true;
      reader.skip(tag, end, ARRAY_VALUE.strictNumbers);
    }
    return false;
  }

  #tooDeep(end: number): string {
    this.#reader.position = end;
    return DEPTH_TEXT;
  }

  #string(end: number): string {
    const stop = this.#reader.length(end);
    const text = this.text(this.#reader.position, stop);
    this.#reader.position = stop;
    return text;
  }

  /** Returns an id as lower-case hex; "" if it starts at 0, which stands for an absent one. */
  #id(start: number, length: number): string {
    return start === 0 ? "" : this.#reader.bytes.toString("hex", start, start + length);
  }
}

function uint64(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

function cached<T>(cache: Map<number, T>, offset: number, make: () => T): T {
  let known = cache.get(offset);
  if (known === undefined) {
    known = make();
    cache.set(offset, known);
  }
  return known;
}
