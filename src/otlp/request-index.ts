import { ProtobufReader } from "./protobuf-reader.ts";
import { RecordFields } from "./record-fields.ts";
import {
  checkPart,
  PartBudget,
  REQUEST_RECORDS_MAX,
  tooManyRecords,
  runToEnd,
  STEP_BYTES,
  type Steps,
} from "./request-limits.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { REQUEST, RESOURCE_LOGS, SCOPE_LOGS, LOG_RECORD } from "./schema.ts";

const { resourceLogs: REQUEST_RESOURCE_LOGS } = REQUEST.tags;
const {
  instrumentationLibraryLogs: RESOURCE_LOGS_LIBRARY_LOGS,
  resource: RESOURCE_LOGS_RESOURCE,
  schemaUrl: RESOURCE_LOGS_SCHEMA_URL,
  scopeLogs: RESOURCE_LOGS_SCOPE_LOGS,
} = RESOURCE_LOGS.tags;
const {
  logRecords: SCOPE_LOGS_RECORDS,
  schemaUrl: SCOPE_LOGS_SCHEMA_URL,
  scope: SCOPE_LOGS_SCOPE,
} = SCOPE_LOGS.tags;
const { timeUnixNano: RECORD_TIME } = LOG_RECORD.tags;

/** The columns of a record's row. */
const START = 0;
const END = 1;
const RESOURCE_INDEX = 2;
const SCOPE_INDEX = 3;
const TIME_LOW = 4;
const TIME_HIGH = 5;
const COLUMNS = 6;

/** To take memory for about as many records as there are at once. */
const RECORD_BYTES_TYPICAL = 192;

/** The tag of a time and its eight bytes. */
const TIME_FIELD_BYTES = 9;

const NANOS_OF_MILLI = 1_000_000n;
const WORD_MASK = 0xffff_ffffn;

/** Work is done on one request at a time, and within one call. */
const fields = new RecordFields();

/** More records are not sorted by comparing them. */
const COMPARED_RECORDS_MAX = 4096;
const TIME_DIGITS = 4;
const DIGIT_VALUES = 1 << 16;

export interface IndexOptions {
  /** Unless it has to be exact, a record that starts with its time is taken to have no second one. */
  readonly isExact: boolean;
  /** Whether the sizes of its parts are limited; those of what is stored were when it came. */
  readonly isReceived?: boolean;
  /** Of a layout that nobody looks at any more: it is used again if it suffices. */
  readonly memory?: Int32Array | undefined;
}

/**
 * Where the records lie in an ExportLogsServiceRequest: one walk over the bytes, so that records can be put in order
 * of time, and come to know a resource or a scope that stands after them, before anything is made of them. Of a field
 * that is there twice the last one counts.
 */
export class RequestIndex {
  readonly reader: ProtobufReader;
  /** The number of records. */
  length = 0;
  /** Start and end of each resource and scope, 0 and 0 where it is absent. */
  readonly resources: number[] = [];
  readonly scopes: number[] = [];
  /** Start and end of the ResourceLogs and the ScopeLogs in which they stand, at the same places. */
  readonly resourceLogs: number[] = [];
  readonly scopeLogs: number[] = [];
  /** How many fields around the records are unknown, other than those inside of a resource or a scope. */
  unknownFields = 0;
  /** Whether a resource has records in the deprecated field alone. */
  #hasLibraryLogs = false;
  /** Whether the order is known to be that of what {@link RecordFields} reads. */
  readonly isExact: boolean;
  #columns: Int32Array;
  #inOrder = true;
  /** When the request came, for records without any time; worked out when the first of them is met. */
  #arrival: { readonly low: number; readonly high: number } | undefined;
  readonly #isReceived: boolean;
  readonly #budget = new PartBudget();
  #nextStep = STEP_BYTES;

  private constructor(body: Uint8Array, { isExact, isReceived = false, memory }: IndexOptions) {
    this.reader = new ProtobufReader(body);
    this.isExact = isExact;
    this.#isReceived = isReceived;
    const cells = COLUMNS * (1 + Math.ceil(body.length / RECORD_BYTES_TYPICAL));
    this.#columns = memory === undefined || memory.length < cells ? new Int32Array(cells) : memory;
  }

  /** @throws TailgateError OTLP_UNDECODABLE */
  static of(body: Uint8Array, options: IndexOptions): RequestIndex {
    return runToEnd(RequestIndex.inSteps(body, options));
  }

  /** @throws TailgateError OTLP_UNDECODABLE */
  static *inSteps(body: Uint8Array, options: IndexOptions): Steps<RequestIndex> {
    const layout = new RequestIndex(body, options);
    yield* layout.#request(body.length);
    // What is stored was migrated when it came.
    if (!layout.#hasLibraryLogs || options.isReceived !== true) return layout;
    return yield* RequestIndex.inSteps(migratedRequest(body), options);
  }

  get memory(): Int32Array {
    return this.#columns;
  }

  /** Returns where a record's LogRecord message starts. */
  start(record: number): number {
    return this.#columns[COLUMNS * record + START]!;
  }

  end(record: number): number {
    return this.#columns[COLUMNS * record + END]!;
  }

  /** Returns which of {@link resources} a record belongs to. */
  resource(record: number): number {
    return this.#columns[COLUMNS * record + RESOURCE_INDEX]!;
  }

  /** Returns which of {@link scopes} a record belongs to. */
  scope(record: number): number {
    return this.#columns[COLUMNS * record + SCOPE_INDEX]!;
  }

  /** Returns the lower half of the time by which a record is ordered: its own, else the observed one, else its arrival. */
  timeLow(record: number): number {
    return this.#columns[COLUMNS * record + TIME_LOW]!;
  }

  timeHigh(record: number): number {
    return this.#columns[COLUMNS * record + TIME_HIGH]!;
  }

  /** The records in order of time, stably; undefined where they stand in that order. */
  order(): Uint32Array | undefined {
    if (this.#inOrder) return undefined;
    const records = Uint32Array.from({ length: this.length }, (_, record) => record);
    if (this.length > COMPARED_RECORDS_MAX) return this.#sorted(records);
    return records.sort((one, other) => this.#compareTimes(one, other));
  }

  /** Sorts by the digits of the times, the lowest first: for many records much faster than comparing them. */
  #sorted(records: Uint32Array<ArrayBuffer>): Uint32Array {
    let from = records;
    let to = new Uint32Array(records.length);
    for (let digit = 0; digit < TIME_DIGITS; digit++) {
      const ends = new Uint32Array(DIGIT_VALUES + 1);
      for (let place = 0; place < from.length; place++) ends[this.#digit(place, digit) + 1]!++;
      for (let value = 0; value < DIGIT_VALUES; value++) ends[value + 1]! += ends[value]!;
      for (let place = 0; place < from.length; place++) {
        const record = from[place]!;
        to[ends[this.#digit(record, digit)]!++] = record;
      }
      [from, to] = [to, from];
    }
    return from;
  }

  #digit(record: number, digit: number): number {
    const word = digit < 2 ? this.timeLow(record) : this.timeHigh(record);
    return digit % 2 === 0 ? word & 0xffff : word >>> 16;
  }

  /** Whether enough was read for a step. */
  #isStep(): boolean {
    const { position } = this.reader;
    if (position < this.#nextStep) return false;
    this.#nextStep = position + STEP_BYTES;
    return true;
  }

  *#request(end: number): Steps<void> {
    const { reader } = this;
    while (reader.position < end) {
      const tag = reader.tag(end);
      this.#budget.add(reader.position);
      if (tag === REQUEST_RESOURCE_LOGS) yield* this.#resourceLogs(reader.length(end));
      else {
        reader.skip(tag, end, REQUEST.strictNumbers);
        this.unknownFields++;
      }
      if (this.#isStep()) yield;
    }
  }

  *#resourceLogs(end: number): Steps<void> {
    const { reader } = this;
    const resource = this.resources.length;
    this.resources.push(0, 0);
    this.resourceLogs.push(reader.position, end);
    const firstScope = this.scopes.length;
    let hasLibraryLogs = false;
    while (reader.position < end) {
      const tag = reader.field(end);
      switch (tag) {
        case RESOURCE_LOGS_RESOURCE:
          this.resources[resource] = reader.start;
          this.resources[resource + 1] = reader.end;
          this.#checkPart(reader.start, reader.end);
          break;
        case RESOURCE_LOGS_SCOPE_LOGS:
          yield* this.#scopeLogs(reader.start, reader.end, resource);
          break;
        case RESOURCE_LOGS_LIBRARY_LOGS:
          hasLibraryLogs = true;
          break;
        case RESOURCE_LOGS_SCHEMA_URL:
          break;
        default:
          reader.ignore(tag, end, RESOURCE_LOGS.strictNumbers);
          this.unknownFields++;
      }
      this.#budget.add(reader.position);
      if (this.#isStep()) yield;
    }
    if (hasLibraryLogs && this.scopes.length === firstScope) this.#hasLibraryLogs = true;
  }

  *#scopeLogs(start: number, end: number, resource: number): Steps<void> {
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
          this.#checkPart(reader.start, reader.end);
          this.#budget.add(reader.position);
          break;
        case SCOPE_LOGS_RECORDS:
          this.#record(reader.start, reader.end, resource, scope);
          break;
        case SCOPE_LOGS_SCHEMA_URL:
          this.#budget.add(reader.position);
          break;
        default:
          reader.ignore(tag, end, SCOPE_LOGS.strictNumbers);
          this.unknownFields++;
          this.#budget.add(reader.position);
      }
      if (this.#isStep()) yield;
    }
  }

  #checkPart(start: number, end: number): void {
    if (this.#isReceived) checkPart(start, end);
  }

  #record(start: number, end: number, resource: number, scope: number): void {
    this.#checkPart(start, end);
    const row = COLUMNS * this.length;
    if (row + COLUMNS > this.#columns.length) this.#grow();
    const columns = this.#columns;
    columns[row + START] = start;
    columns[row + END] = end;
    columns[row + RESOURCE_INDEX] = resource;
    columns[row + SCOPE_INDEX] = scope;
    if (!this.#readFirstTime(columns, row, start, end)) this.#readTime(columns, row, start, end);
    this.length++;
    if (this.length > REQUEST_RECORDS_MAX) throw tooManyRecords(`byte ${end}`);
    if (row > 0 && this.#compareTimes(this.length - 2, this.length - 1) > 0) this.#inOrder = false;
    this.reader.position = end;
  }

  /** Reads the time that a record starts with, as nearly all do; false where there is none. */
  #readFirstTime(columns: Int32Array, row: number, start: number, end: number): boolean {
    const { bytes, view } = this.reader;
    if (this.isExact || end - start < TIME_FIELD_BYTES || bytes[start] !== RECORD_TIME)
      return false;
    const low = view.getInt32(start + 1, true);
    const high = view.getInt32(start + 5, true);
    columns[row + TIME_LOW] = low;
    columns[row + TIME_HIGH] = high;
    return low !== 0 || high !== 0;
  }

  #readTime(columns: Int32Array, row: number, start: number, end: number): void {
    fields.read(this.reader, start, end);
    if (fields.hasTime) {
      columns[row + TIME_LOW] = fields.orderLow;
      columns[row + TIME_HIGH] = fields.orderHigh;
    } else {
      this.#arrival ??= arrivalTime();
      columns[row + TIME_LOW] = this.#arrival.low;
      columns[row + TIME_HIGH] = this.#arrival.high;
    }
  }

  #compareTimes(one: number, other: number): number {
    const high = (this.timeHigh(one) >>> 0) - (this.timeHigh(other) >>> 0);
    return high === 0 ? (this.timeLow(one) >>> 0) - (this.timeLow(other) >>> 0) : high;
  }

  #grow(): void {
    const larger = new Int32Array(2 * this.#columns.length);
    larger.set(this.#columns);
    this.#columns = larger;
  }
}

function arrivalTime(): { low: number; high: number } {
  const nanos = BigInt(Date.now()) * NANOS_OF_MILLI;
  return { low: Number(nanos & WORD_MASK), high: Number(nanos >> 32n) };
}

/**
 * Requests of senders from before opentelemetry-proto 0.15, which have their records in a field that is deprecated since.
 */

/**
 * Returns the request with the records of the deprecated field among the scope logs of each resource that has none
 * there, as the OpenTelemetry Collector migrates them. All other fields stay as they are.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function migratedRequest(request: Uint8Array): Uint8Array {
  const reader = new ProtobufReader(request);
  const pieces: Uint8Array[] = [];
  while (reader.position < request.length) {
    const start = reader.position;
    const tag = reader.field(request.length);
    if (tag !== REQUEST_RESOURCE_LOGS) {
      reader.ignore(tag, request.length, 0);
      pieces.push(request.subarray(start, reader.position));
      continue;
    }
    const after = reader.position;
    pieces.push(field(tag, migratedResourceLogs(reader, reader.start, reader.end)));
    reader.position = after;
  }
  return Buffer.concat(pieces);
}

function migratedResourceLogs(reader: ProtobufReader, start: number, end: number): Uint8Array {
  const { bytes } = reader;
  const pieces: Uint8Array[] = [];
  reader.position = start;
  while (reader.position < end) {
    const from = reader.position;
    const tag = reader.field(end);
    if (tag === RESOURCE_LOGS_SCOPE_LOGS) return bytes.subarray(start, end);
    if (tag === RESOURCE_LOGS_LIBRARY_LOGS) {
      pieces.push(field(RESOURCE_LOGS_SCOPE_LOGS, bytes.subarray(reader.start, reader.end)));
      continue;
    }
    reader.ignore(tag, end, 0);
    pieces.push(bytes.subarray(from, reader.position));
  }
  return Buffer.concat(pieces);
}

function field(tag: number, content: Uint8Array): Uint8Array {
  const writer = new ProtobufWriter();
  writer.bytes(tag, content);
  return writer.take();
}
