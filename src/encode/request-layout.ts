import {
  RECORD_ATTRIBUTES,
  RECORD_BODY,
  RECORD_EVENT_NAME,
  RECORD_FIELDS,
  RECORD_FLAGS,
  RECORD_OBSERVED_TIME,
  RECORD_SEVERITY_NUMBER,
  RECORD_SEVERITY_TEXT,
  RECORD_SPAN_ID,
  RECORD_TIME,
  RECORD_TRACE_ID,
  REQUEST_FIELDS,
  REQUEST_RESOURCE_LOGS,
  RESOURCE_LOGS_FIELDS,
  RESOURCE_LOGS_RESOURCE,
  RESOURCE_LOGS_SCOPE_LOGS,
  SCOPE_LOGS_FIELDS,
  SCOPE_LOGS_RECORDS,
  SCOPE_LOGS_SCOPE,
} from "./otlp-fields.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { checkRecordCount } from "./request-limits.ts";

/** The columns of a record. Places are byte offsets; a pair of start and end is 0, 0 where the field is absent. */
export const END = 0;
export const RESOURCE = 1;
export const SCOPE = 2;
export const TIME_LOW = 3;
export const TIME_HIGH = 4;
export const OBSERVED_LOW = 5;
export const OBSERVED_HIGH = 6;
export const SEVERITY = 7;
export const SEVERITY_TEXT_START = 8;
export const SEVERITY_TEXT_END = 9;
export const BODY_START = 10;
export const BODY_END = 11;
/** The tag of the first attribute; other fields may stand between attributes. */
export const ATTRIBUTES_START = 12;
export const EVENT_NAME_START = 13;
export const EVENT_NAME_END = 14;
/** Starts of the ids; 0 where they are absent, of another length or all zero. */
export const TRACE_ID = 15;
export const SPAN_ID = 16;
export const FLAGS = 17;
/** The time that the record is put in order by: its own, else the observed one, else the request's arrival. */
export const ORDER_LOW = 18;
export const ORDER_HIGH = 19;
/** Where the LogRecord message starts, which ends at {@link END}. */
export const START = 20;
const COLUMNS = 21;

export const TRACE_ID_BYTES = 16;
export const SPAN_ID_BYTES = 8;

/** To take memory for about as many records as there are at once. */
const RECORD_BYTES_TYPICAL = 192;

const NANOS_OF_MILLI = 1_000_000n;
const WORD_MASK = 0xffff_ffffn;

/**
 * Where everything lies in an ExportLogsServiceRequest: one walk over the bytes that reads no more than the records'
 * own fields, so that records can be put in order of time, and come to know a resource or a scope that stands after
 * them, before anything is made of them. Of a field that is there twice the last one counts.
 */
export class RequestLayout {
  readonly reader: ProtobufReader;
  /** The number of records. */
  length = 0;
  /** Start and end of each resource and scope, 0 and 0 where it is absent. */
  readonly resources: number[] = [];
  readonly scopes: number[] = [];
  /** Start and end of the ResourceLogs and the ScopeLogs in which they stand, at the same places. */
  readonly resourceLogs: number[] = [];
  readonly scopeLogs: number[] = [];
  #columns: Int32Array;
  #inOrder = true;
  /** When the request came, for records without any time; worked out when the first of them is met. */
  #arrival: { readonly low: number; readonly high: number } | undefined;

  /** @throws TailgateError OTLP_UNDECODABLE */
  constructor(body: Uint8Array) {
    this.reader = new ProtobufReader(body);
    this.#columns = new Int32Array(COLUMNS * (1 + Math.ceil(body.length / RECORD_BYTES_TYPICAL)));
    this.#request(body.length);
  }

  /** What stands in a record's column. */
  at(record: number, column: number): number {
    return this.#columns[COLUMNS * record + column]!;
  }

  /** The records in order of time, stably; undefined where they stand in that order. */
  order(): Uint32Array | undefined {
    if (this.#inOrder) return undefined;
    const records = Uint32Array.from({ length: this.length }, (_, record) => record);
    return records.sort((one, other) => this.#compareTimes(one, other));
  }

  #request(end: number): void {
    const { reader } = this;
    while (reader.position < end) {
      const tag = reader.tag(end);
      if (tag === REQUEST_RESOURCE_LOGS) this.#resourceLogs(reader.length(end));
      else reader.skip(tag, end, REQUEST_FIELDS);
    }
  }

  #resourceLogs(end: number): void {
    const { reader } = this;
    const resource = this.resources.length;
    this.resources.push(0, 0);
    this.resourceLogs.push(reader.position, end);
    while (reader.position < end) {
      const tag = reader.field(end);
      switch (tag) {
        case RESOURCE_LOGS_RESOURCE:
          this.resources[resource] = reader.start;
          this.resources[resource + 1] = reader.end;
          break;
        case RESOURCE_LOGS_SCOPE_LOGS:
          this.#scopeLogs(reader.start, reader.end, resource);
          break;
        default:
          reader.ignore(tag, end, RESOURCE_LOGS_FIELDS);
      }
    }
  }

  #scopeLogs(start: number, end: number, resource: number): void {
    const { reader } = this;
    reader.position = start;
    const scope = this.scopes.length;
    this.scopes.push(0, 0);
    this.scopeLogs.push(start, end);
    while (reader.position < end) {
      const tag = reader.field(end);
      switch (tag) {
        case SCOPE_LOGS_SCOPE:
          this.scopes[scope] = reader.start;
          this.scopes[scope + 1] = reader.end;
          break;
        case SCOPE_LOGS_RECORDS:
          this.#record(reader.start, reader.end, resource, scope);
          break;
        default:
          reader.ignore(tag, end, SCOPE_LOGS_FIELDS);
      }
    }
  }

  #record(start: number, end: number, resource: number, scope: number): void {
    this.reader.position = start;
    const row = COLUMNS * this.length;
    if (row + COLUMNS > this.#columns.length) this.#grow();
    const columns = this.#columns;
    columns[row + START] = start;
    columns[row + END] = end;
    columns[row + RESOURCE] = resource;
    columns[row + SCOPE] = scope;
    this.#fields(end, columns, row);
    this.#orderTime(columns, row);
    this.length++;
    checkRecordCount(() => `byte ${this.reader.position}`, this.length);
    if (this.length > 1 && this.#compareTimes(this.length - 2, this.length - 1) > 0) {
      this.#inOrder = false;
    }
  }

  #fields(end: number, columns: Int32Array, row: number): void {
    const { reader } = this;
    while (reader.position < end) {
      const start = reader.position;
      const tag = reader.field(end);
      switch (tag) {
        case RECORD_TIME:
          reader.fixed64(end);
          columns[row + TIME_LOW] = reader.low;
          columns[row + TIME_HIGH] = reader.high;
          break;
        case RECORD_OBSERVED_TIME:
          reader.fixed64(end);
          columns[row + OBSERVED_LOW] = reader.low;
          columns[row + OBSERVED_HIGH] = reader.high;
          break;
        case RECORD_SEVERITY_NUMBER:
          reader.varint(end);
          columns[row + SEVERITY] = reader.low;
          break;
        case RECORD_SEVERITY_TEXT:
          columns[row + SEVERITY_TEXT_START] = reader.start;
          columns[row + SEVERITY_TEXT_END] = reader.end;
          break;
        case RECORD_BODY:
          columns[row + BODY_START] = reader.start;
          columns[row + BODY_END] = reader.end;
          break;
        case RECORD_ATTRIBUTES:
          if (columns[row + ATTRIBUTES_START] === 0) columns[row + ATTRIBUTES_START] = start;
          break;
        case RECORD_FLAGS:
          columns[row + FLAGS] = reader.fixed32(end);
          break;
        case RECORD_TRACE_ID:
          columns[row + TRACE_ID] = this.#validId(TRACE_ID_BYTES);
          break;
        case RECORD_SPAN_ID:
          columns[row + SPAN_ID] = this.#validId(SPAN_ID_BYTES);
          break;
        case RECORD_EVENT_NAME:
          columns[row + EVENT_NAME_START] = reader.start;
          columns[row + EVENT_NAME_END] = reader.end;
          break;
        default:
          reader.ignore(tag, end, RECORD_FIELDS);
      }
    }
  }

  /** Where the id starts that was read; 0 for one that the specification has as invalid. */
  #validId(length: number): number {
    const { bytes, start, end } = this.reader;
    return end - start === length && !isAllZero(bytes, start, end) ? start : 0;
  }

  #orderTime(columns: Int32Array, row: number): void {
    const column = hasTime(columns, row + TIME_LOW) ? TIME_LOW : OBSERVED_LOW;
    if (hasTime(columns, row + column)) {
      columns[row + ORDER_LOW] = columns[row + column]!;
      columns[row + ORDER_HIGH] = columns[row + column + 1]!;
    } else {
      this.#arrival ??= arrivalTime();
      columns[row + ORDER_LOW] = this.#arrival.low;
      columns[row + ORDER_HIGH] = this.#arrival.high;
    }
  }

  #compareTimes(one: number, other: number): number {
    const high = (this.at(one, ORDER_HIGH) >>> 0) - (this.at(other, ORDER_HIGH) >>> 0);
    return high === 0 ? (this.at(one, ORDER_LOW) >>> 0) - (this.at(other, ORDER_LOW) >>> 0) : high;
  }

  #grow(): void {
    const larger = new Int32Array(2 * this.#columns.length);
    larger.set(this.#columns);
    this.#columns = larger;
  }
}

function hasTime(columns: Int32Array, low: number): boolean {
  return columns[low] !== 0 || columns[low + 1] !== 0;
}

function isAllZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    if (bytes[index] !== 0) return false;
  }
  return true;
}

function arrivalTime(): { low: number; high: number } {
  const nanos = BigInt(Date.now()) * NANOS_OF_MILLI;
  return { low: Number(nanos & WORD_MASK), high: Number(nanos >> 32n) };
}
