import { undecodable } from "./findings.ts";
import { ProtobufReader, ProtobufWriter } from "./protobuf.ts";
import { ScannedRecord } from "./scanned-record.ts";
import {
  PART_BYTES_MAX,
  REQUEST_RECORDS_MAX,
  tooManyRecords,
  STEP_BYTES,
  type Steps,
} from "./request-limits.ts";
import { REQUEST, RESOURCE_LOGS, SCOPE_LOGS, LOG_RECORD } from "./schema.ts";

const { resourceLogs: REQUEST_RESOURCE_LOGS } = REQUEST.tags;
const {
  instrumentationLibraryLogs: LEGACY_LOGS,
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

/** For a first guess at the number of records. */
const RECORD_BYTES_TYPICAL = 192;

/** The tag and the eight bytes of a time. */
const TIME_FIELD_BYTES = 9;

const NANOS_OF_MILLI = 1_000_000n;
const WORD_MASK = 0xffff_ffffn;

/** One record is read at a time, without interruption. */
const fields = new ScannedRecord();

/** More records than this are sorted by radix instead of by comparison. */
const COMPARED_RECORDS_MAX = 4096;
const TIME_DIGITS = 4;
const DIGIT_VALUES = 1 << 16;

export interface IndexOptions {
  /** If false, a record that starts with its time is assumed to have no second one, which saves reading it. */
  readonly isExact: boolean;
  /** True for a request from a sender: its parts are limited in size, and legacy records migrated. */
  readonly isReceived?: boolean;
  /** The memory of an index that is no longer in use; it is reused if it is large enough. */
  readonly memory?: Int32Array | undefined;
}

/**
 * Says where the records are in an ExportLogsServiceRequest. It is made in one pass over the bytes, before any record is
 * decoded: records are put in order of time, and a resource or a scope may come after its records. If a field is repeated,
 * the last one counts.
 */
export class RequestIndex {
  readonly reader: ProtobufReader;
  /** The number of records. */
  length = 0;
  /** Start and end of each resource and scope; both 0 if it is absent. */
  readonly resources: number[] = [];
  readonly scopes: number[] = [];
  /** Start and end of the ResourceLogs and ScopeLogs that contain them, at the same offsets. */
  readonly resourceLogs: number[] = [];
  readonly scopeLogs: number[] = [];
  /** The number of unknown fields, apart from those in a record, a resource or a scope. */
  unknownFields = 0;
  /** True if there is a resource or a scope that another one supersedes, or records in a deprecated field beside others. */
  #hasSuperseded = false;
  /** True if a ResourceLogs has records in the deprecated field only. */
  #hasLegacyLogs = false;
  /** True if the times are surely those that {@link ScannedRecord} reads. */
  readonly isExact: boolean;
  #columns: Int32Array;
  #inOrder = true;
  /** The time for records without any; set when the first of them is found. */
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
    const index = new RequestIndex(body, options);
    yield* index.#request(body.length);
    // Stored requests were migrated when they were received.
    if (!index.#hasLegacyLogs || options.isReceived !== true) return index;
    return yield* RequestIndex.inSteps(migratedRequest(body), options);
  }

  /** Whether there are bytes around the records that are stored with them, and that nobody reads. */
  get hasUnread(): boolean {
    return this.#hasSuperseded || this.unknownFields > 0;
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

  /** Returns the records in order of time, stably; undefined if they already are in that order. */
  order(): Uint32Array | undefined {
    if (this.#inOrder) return undefined;
    const records = Uint32Array.from({ length: this.length }, (_, record) => record);
    if (this.length > COMPARED_RECORDS_MAX) return this.#radixSorted(records);
    return records.sort((one, other) => this.#compareTimes(one, other));
  }

  /** Sorts by the digits of the times, the lowest first, which is much faster for many records. */
  #radixSorted(records: Uint32Array<ArrayBuffer>): Uint32Array {
    let from = records;
    let to = new Uint32Array(records.length);
    for (let digit = 0; digit < TIME_DIGITS; digit++) {
      const ends = new Uint32Array(DIGIT_VALUES + 1);
      for (let record = 0; record < from.length; record++) ends[this.#digit(record, digit) + 1]!++;
      for (let value = 0; value < DIGIT_VALUES; value++) ends[value + 1]! += ends[value]!;
      for (const record of from) {
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
    let hasLegacyLogs = false;
    while (reader.position < end) {
      const tag = reader.field(end);
      switch (tag) {
        case RESOURCE_LOGS_RESOURCE:
          if (this.resources[resource + 1] !== 0) this.#hasSuperseded = true;
          this.resources[resource] = reader.start;
          this.resources[resource + 1] = reader.end;
          this.#checkPart(reader.start, reader.end);
          break;
        case RESOURCE_LOGS_SCOPE_LOGS:
          yield* this.#scopeLogs(reader.start, reader.end, resource);
          break;
        case LEGACY_LOGS:
          hasLegacyLogs = true;
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
    if (!hasLegacyLogs) return;
    if (this.scopes.length === firstScope) this.#hasLegacyLogs = true;
    else this.#hasSuperseded = true;
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
          if (this.scopes[scope + 1] !== 0) this.#hasSuperseded = true;
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
    if (!this.#isReceived || end - start <= PART_BYTES_MAX) return;
    throw undecodable(
      `byte ${start}`,
      `a record, a resource or a scope has more than ${PART_BYTES_MAX} bytes`,
    );
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

  /** Reads the time at the start of a record, where nearly all have it; returns false if there is none. */
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
 * Migrates a request of a sender from before opentelemetry-proto 0.15, as the OpenTelemetry Collector does: if a
 * ResourceLogs has no scope logs, those of the deprecated field take their place. All other fields stay as they are.
 * @throws TailgateError OTLP_UNDECODABLE
 */
function migratedRequest(request: Uint8Array): Uint8Array {
  const reader = new ProtobufReader(request);
  const writer = new ProtobufWriter();
  while (reader.position < request.length) {
    const start = reader.position;
    const tag = reader.field(request.length);
    if (tag !== REQUEST_RESOURCE_LOGS) {
      reader.ignore(tag, request.length, 0);
      writer.raw(request.subarray(start, reader.position));
      continue;
    }
    const after = reader.position;
    writer.bytes(tag, migratedResourceLogs(reader, reader.start, reader.end));
    reader.position = after;
  }
  return writer.take();
}

function migratedResourceLogs(reader: ProtobufReader, start: number, end: number): Uint8Array {
  const { bytes } = reader;
  const writer = new ProtobufWriter();
  reader.position = start;
  while (reader.position < end) {
    const from = reader.position;
    const tag = reader.field(end);
    if (tag === RESOURCE_LOGS_SCOPE_LOGS) return bytes.subarray(start, end);
    if (tag === LEGACY_LOGS) {
      writer.bytes(RESOURCE_LOGS_SCOPE_LOGS, bytes.subarray(reader.start, reader.end));
      continue;
    }
    reader.ignore(tag, end, 0);
    writer.raw(bytes.subarray(from, reader.position));
  }
  return writer.take();
}

/** How many fields a request may have around its records, mostly resources and scopes. */
const REQUEST_PARTS_MAX = 1 << 18;

/** Counts the fields around the records of a request. */
export class PartBudget {
  #parts = 0;

  /** @throws TailgateError OTLP_UNDECODABLE if there are too many. */
  add(position: number): void {
    if (++this.#parts <= REQUEST_PARTS_MAX) return;
    throw undecodable(
      `byte ${position}`,
      `there are more than ${REQUEST_PARTS_MAX} resources and scopes`,
    );
  }
}

/** Does the work without interruption. */
export function runToEnd<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
