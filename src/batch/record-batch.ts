import type { Batch, LogRecord, OtlpForm } from "../plugin/index.ts";
import {
  LEVELS,
  type Envelope,
  type EnvelopeType,
  type Level,
  type LevelRank,
} from "../wire/envelope.ts";
import { withAttribute, buildRequest, type EncodedRecord } from "../otlp/encode.ts";
import { auditLine, sealedAuditLine } from "../envelope/audit-line.ts";
import { recordOfEnvelope } from "../envelope/envelope-record.ts";
import type { JsonAttributes } from "../envelope/json-attributes.ts";
import { EVENT_KEY } from "../envelope/event-key.ts";
import type { EnvelopeRules } from "../envelope/rules.ts";
import { TIMESTAMP_LENGTH, TIMESTAMP_START } from "../envelope/prefix.ts";
import { otlpToJson } from "../otlp/to-json.ts";
import { originOfRecords, type Origin, type OriginRef } from "./origin.ts";
import {
  findOtherForms,
  findTexts,
  type EnvelopeBytes,
  type RecordFlags,
} from "../filter/text-hits.ts";
import { TrigramSet } from "../filter/trigrams.ts";
import { RecordRepair } from "../otlp/repair.ts";
import { frameHeaderBytes } from "../plugin/text-frame.ts";

/** Where `data` starts in an envelope. */
const DATA_OFFSETS = {
  system_log: '{"type":"system_log","data":'.length,
  audit_log: '{"type":"audit_log","data":'.length,
};

/** The cells of a record. A kind is the rank of its level, with the bits {@link AUDIT} and {@link REMADE}. */
const CELLS = 5;
const START = 0;
const END = 1;
const KIND = 2;
const SOURCE = 3;
const ORIGIN_INDEX = 4;

const RANK = 7;
const AUDIT = 8;
const REMADE = 16;

/** V8 allocates typed arrays of up to 64 bytes on its heap; memory outside of it costs more than such a batch. */
const INITIAL_RECORDS_MIN = 3;
/** After a burst a batch may have one record and live long: unused capacity is not accounted for. */
const INITIAL_RECORDS_MAX = 1024;

/** What consecutive records have in common. */
interface RecordSource {
  readonly logger: string;
  readonly origin: Origin;
  readonly originBytes: number;
  /** Whether the origin is replaced when the batch is stored. */
  readonly isUnsettled: boolean;
}

/** Encoded records in one piece of memory, each envelope after its frame header (frames.ts). */
export class RecordBatch implements Batch {
  /** Set when the journal appends the batch. */
  firstSequence = 0;
  appendedAtMs = 0;
  /** When each record was appended, if the batch was read from several commits; otherwise all were at `appendedAtMs`. */
  appendedTimes: Float64Array | undefined;
  /** The sequences, if the batch was read from the journal, where they need not follow one another. */
  sequences: Float64Array | undefined;
  /** Replaced only by memory in which all records have the same positions. */
  buffer: Buffer<ArrayBuffer>;
  length = 0;
  /** The number of records whose origin is replaced by `settle` (origin.ts). */
  unsettled = 0;
  /** Unused memory that nothing else accounts for. */
  unusedBytes = 0;
  /** For each record: start and end of its envelope, its kind, its source, and its index in the origin. */
  #cells: Int32Array;
  readonly #sources: RecordSource[] = [];
  /** Parsed envelopes are shared by the readers of one turn, but not retained: they are large. */
  #envelopes: WeakRef<(Envelope | undefined)[]> | undefined;
  /** Stands for the batch in {@link recent}, which does not retain it. */
  #searchOwner: object = {};
  /** Which envelopes have other forms of characters, if that was asked. */
  #otherForms: RecordFlags | undefined;
  #originBytes = 0;
  /** The hashes of audit events; most batches have none. */
  #hashes: Map<number, string> | undefined;

  /** `expected`: the initial capacity in records, within bounds; it grows as needed. */
  constructor(buffer: Buffer<ArrayBuffer>, expected = INITIAL_RECORDS_MIN) {
    const records = Math.min(Math.max(expected, INITIAL_RECORDS_MIN), INITIAL_RECORDS_MAX);
    this.buffer = buffer;
    this.#cells = new Int32Array(CELLS * records);
  }

  get byteLength(): number {
    return this.length === 0 ? 0 : this.#cell(this.length - 1, END) - this.#frameStart(0);
  }

  /** The memory that the batch uses, including its origins and its own fields, for memory limits. */
  get memoryBytes(): number {
    const { length } = this;
    if (length === 0) return 0;
    const overhead = BATCH_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES * length;
    return this.byteLength + this.#originBytes + this.unusedBytes + overhead;
  }

  add(
    start: number,
    end: number,
    rank: LevelRank,
    audit: boolean,
    logger: string,
    origin: Origin,
    originIndex: number,
    isRemade = false,
  ): void {
    const sources = this.#sources;
    let source = sources.at(-1);
    if (source?.origin !== origin || source.logger !== logger) {
      const isUnsettled = origin.isInterim === true;
      source = { logger, origin, originBytes: origin.recordBytes, isUnsettled };
      sources.push(source);
    }
    const cell = CELLS * this.length++;
    if (cell === this.#cells.length) this.#growCells(2 * this.#cells.length);
    const cells = this.#cells;
    cells[cell + START] = start;
    cells[cell + END] = end;
    cells[cell + KIND] = audit ? rank | AUDIT : isRemade ? rank | REMADE : rank;
    cells[cell + SOURCE] = sources.length - 1;
    cells[cell + ORIGIN_INDEX] = originIndex;
    this.#originBytes += source.originBytes;
    if (source.isUnsettled) this.unsettled++;
  }

  /** Replaces the origins of the records from `first` on for which `replacement` returns one. */
  replaceOrigins(first: number, replacement: (index: number) => OriginRef | undefined): void {
    const { length } = this;
    const sources = this.#sources.slice();
    const refs = Array.from({ length: length - first }, (_, offset) => replacement(first + offset));
    this.truncate(first);
    for (let index = first; index < length; index++) {
      const { logger, origin } = sources[this.#cell(index, SOURCE)]!;
      const ref = refs[index - first];
      this.add(
        this.#cell(index, START),
        this.#cell(index, END),
        this.rank(index),
        this.type(index) === "audit_log",
        logger,
        ref?.origin ?? origin,
        ref?.index ?? this.originIndex(index),
        this.#isRemade(index),
      );
    }
  }

  /** Reserves capacity for that many more records. */
  expect(records: number): void {
    const cells = CELLS * (this.length + records);
    if (cells > this.#cells.length) this.#growCells(Math.max(cells, 2 * this.#cells.length));
  }

  #growCells(cells: number): void {
    const larger = new Int32Array(cells);
    larger.set(this.#cells);
    this.#cells = larger;
  }

  #cell(index: number, cell: number): number {
    return this.#cells[CELLS * index + cell]!;
  }

  #source(index: number): RecordSource {
    return this.#sources[this.#cell(index, SOURCE)]!;
  }

  /** Removes the records from `length` on. */
  truncate(length: number): void {
    for (let index = length; index < this.length; index++) {
      const { originBytes, isUnsettled } = this.#source(index);
      this.#originBytes -= originBytes;
      if (isUnsettled) this.unsettled--;
    }
    this.#sources.length = length === 0 ? 0 : this.#cell(length - 1, SOURCE) + 1;
    this.length = length;
    // Other records may take the indexes of the removed ones.
    this.#envelopes = undefined;
    this.#searchOwner = {};
    this.#otherForms = undefined;
  }

  sequence(index: number): number {
    return this.sequences === undefined ? this.firstSequence + index : this.sequences[index]!;
  }

  appendedAt(index: number): number {
    return this.appendedTimes?.[index] ?? this.appendedAtMs;
  }

  type(index: number): EnvelopeType {
    return (this.#cell(index, KIND) & AUDIT) === 0 ? "system_log" : "audit_log";
  }

  level(index: number): Level {
    return LEVELS[this.rank(index)];
  }

  rank(index: number): LevelRank {
    return (this.#cell(index, KIND) & RANK) as LevelRank;
  }

  logger(index: number): string {
    return this.#source(index).logger;
  }

  size(index: number): number {
    return this.#cell(index, END) - this.#cell(index, START);
  }

  bytes(index: number): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(this.#cell(index, START), this.#cell(index, END));
  }

  data(index: number): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(this.dataStart(index), this.#cell(index, END) - 1);
  }

  /** Where the `data` object starts in {@link buffer}. */
  dataStart(index: number): number {
    return this.#cell(index, START) + DATA_OFFSETS[this.type(index)];
  }

  timestamp(index: number): string {
    const start = this.timestampStart(index);
    return this.buffer.toString("latin1", start, start + TIMESTAMP_LENGTH);
  }

  /** Where the timestamp's text starts in {@link buffer}. */
  timestampStart(index: number): number {
    return this.dataStart(index) + TIMESTAMP_START;
  }

  envelope(index: number): Envelope {
    let envelopes = this.#envelopes?.deref();
    if (envelopes === undefined) {
      envelopes = Array.from({ length: this.length });
      this.#envelopes = new WeakRef(envelopes);
    }
    return (envelopes[index] ??= this.#parse(index));
  }

  #parse(index: number): Envelope {
    const text = this.buffer.toString("utf8", this.#cell(index, START), this.#cell(index, END));
    try {
      return JSON.parse(text) as Envelope;
    } catch {
      return unreadableEnvelope(this, index);
    }
  }

  origin(index: number): Origin {
    return this.#source(index).origin;
  }

  /** Returns the record's index in its origin. */
  originIndex(index: number): number {
    return this.#cell(index, ORIGIN_INDEX);
  }

  /** Returns the rules that make the record's envelope of its origin; undefined if the envelope has to be stored. */
  rules(index: number): EnvelopeRules | undefined {
    return this.#isRemade(index) ? this.origin(index).rules : undefined;
  }

  #isRemade(index: number): boolean {
    return (this.#cell(index, KIND) & REMADE) !== 0;
  }

  resourceAttributes(index: number): JsonAttributes {
    try {
      return this.origin(index).resourceAttributes(this.originIndex(index));
    } catch {
      // As with `record`: an origin that cannot be read must not fail a search.
      return {};
    }
  }

  mayHaveTrigrams(index: number, trigrams: Uint32Array): boolean {
    if (trigrams.length === 0) return true;
    if (recent.owner !== this.#searchOwner) recent = searchesOf(this.#searchOwner);
    const set = (recent.sets[index] ??= new TrigramSet(
      this.buffer,
      this.#cell(index, START),
      this.#cell(index, END),
    ));
    return set.mayHave(trigrams);
  }

  mayHaveText(index: number, texts: readonly string[]): boolean {
    if (recent.owner !== this.#searchOwner) recent = searchesOf(this.#searchOwner);
    let flags = recent.texts.get(texts);
    if (flags === undefined)
      recent.texts.set(texts, (flags = findTexts(this.#envelopeBytes, texts)));
    if (flags[index] === 1) return true;
    this.#otherForms ??= findOtherForms(this.#envelopeBytes) ?? NO_FLAGS;
    return this.#otherForms[index] === 1;
  }

  get #envelopeBytes(): EnvelopeBytes {
    const { buffer, length } = this;
    const end = (index: number): number => this.#cell(index, END);
    return { buffer, length, start: this.#cell(0, START), end };
  }

  scopeAttributes(index: number): JsonAttributes {
    try {
      return this.origin(index).scopeAttributes(this.originIndex(index));
    } catch {
      return {};
    }
  }

  record(index: number): LogRecord {
    try {
      return this.origin(index).record(this.originIndex(index));
    } catch (error) {
      return recordOfEnvelope(this.envelope(index), error);
    }
  }

  /**
   * Returns the record as it came. One that its origin cannot rebuild must not fail the other records of its commit: it is
   * rebuilt from its envelope, and `onRebuilt` called.
   */
  encodedRecord(index: number, onRebuilt?: () => void): EncodedRecord {
    try {
      return this.origin(index).otlp(this.originIndex(index));
    } catch (error) {
      onRebuilt?.();
      return this.#encodeEnvelope(index, error);
    }
  }

  /** Returns the record as it is exported: valid, and with the attributes that `form` asks for. */
  #exportedRecord(
    index: number,
    repair: RecordRepair,
    { loggerAttribute, uidOf }: OtlpForm,
  ): EncodedRecord {
    const record = this.#repaired(index, repair);
    const named =
      loggerAttribute === undefined
        ? record
        : withAttribute(record, loggerAttribute, this.logger(index));
    return uidOf === undefined
      ? named
      : withAttribute(named, EVENT_KEY, uidOf(this.sequence(index)));
  }

  #repaired(index: number, repair: RecordRepair): EncodedRecord {
    try {
      return repair.repair(this.origin(index).otlp(this.originIndex(index)));
    } catch (error) {
      return this.#encodeEnvelope(index, error);
    }
  }

  #encodeEnvelope(index: number, error: unknown): EncodedRecord {
    return originOfRecords([recordOfEnvelope(this.envelope(index), error)]).otlp(0);
  }

  otlp(form?: OtlpForm): Uint8Array<ArrayBuffer> {
    return this.encodeRequest(this.length, (index) => index, form);
  }

  /** Encodes selected records as an ExportLogsServiceRequest. */
  encodeRequest(
    length: number,
    select: (index: number) => number,
    form: OtlpForm | undefined,
  ): Uint8Array<ArrayBuffer> {
    if (form === undefined) {
      return buildRequest(length, (index) => this.encodedRecord(select(index)));
    }
    const repair = new RecordRepair();
    return buildRequest(length, (index) => this.#exportedRecord(select(index), repair, form));
  }

  otlpJson(form?: OtlpForm): Uint8Array<ArrayBuffer> {
    return otlpToJson(this.otlp(form));
  }

  /** Sets the hash of an audit event. */
  seal(index: number, hash: string): void {
    this.#hashes ??= new Map();
    this.#hashes.set(index, hash);
  }

  hash(index: number): string {
    return this.#hashes?.get(index) ?? "";
  }

  auditLine(index: number): Uint8Array<ArrayBuffer> {
    const hash = this.hash(index);
    const data = this.data(index);
    return hash === "" ? auditLine(data) : sealedAuditLine(data, this.sequence(index), hash);
  }

  frames(): Uint8Array<ArrayBuffer> {
    return this.framesBetween(0, this.length);
  }

  framesBetween(first: number, end: number): Uint8Array<ArrayBuffer> {
    if (first === end) return this.buffer.subarray(0, 0);
    return this.buffer.subarray(this.#frameStart(first), this.#cell(end - 1, END));
  }

  #frameStart(index: number): number {
    return this.#cell(index, START) - frameHeaderBytes(this.size(index));
  }

  from(index: number): Batch {
    return index === 0 ? this : this.select((position) => position >= index);
  }

  select(keep: (index: number) => boolean): Batch {
    const { length } = this;
    let index = 0;
    while (index < length && keep(index)) index++;
    if (index === length) return this;
    const selected = Array.from({ length: index }, (_, position) => position);
    while (++index < length) if (keep(index)) selected.push(index);
    return new Selection(this, selected);
  }
}

/** What is known about the texts of the batch that was searched last: often many filters are matched with one batch. */
interface Searches {
  readonly owner: object;
  /** By record. */
  readonly sets: TrigramSet[];
  readonly texts: Map<readonly string[], RecordFlags>;
}

function searchesOf(owner: object): Searches {
  return { owner, sets: [], texts: new Map() };
}

let recent = searchesOf({});

const NO_FLAGS: RecordFlags = new Uint8Array();

/** Five cells of a record, perhaps a source, and the spare capacity. */
const RECORD_OVERHEAD_BYTES = 80;
/** The batch itself and the fixed part of an origin, measured with batches of one record. */
const BATCH_OVERHEAD_BYTES = 1280;

const UNREADABLE = "[The envelope of this record is damaged and cannot be read.]";

/** Returns the substitute for an envelope that is not valid JSON: a search must not fail because of one record. */
export function unreadableEnvelope(batch: RecordBatch, index: number): Envelope {
  const data = {
    timestamp: new Date(batch.appendedAt(index)).toISOString().replace("Z", "000Z"),
    level: batch.level(index),
    logger: batch.logger(index),
    message: UNREADABLE,
  };
  return batch.type(index) === "audit_log"
    ? { type: "audit_log", data }
    : { type: "system_log", data: { ...data, module: "", function: "", line: 0 } };
}

/** Selected records of a batch, in its order. */
class Selection implements Batch {
  readonly #batch: RecordBatch;
  readonly #indexes: readonly number[];

  constructor(batch: RecordBatch, indexes: readonly number[]) {
    this.#batch = batch;
    this.#indexes = indexes;
  }

  get length(): number {
    return this.#indexes.length;
  }

  get appendedAtMs(): number {
    return this.appendedAt(0);
  }

  get byteLength(): number {
    return this.#indexes.reduce((sum, index) => sum + this.#batch.size(index), 0);
  }

  sequence(index: number): number {
    return this.#batch.sequence(this.#indexes[index]!);
  }

  appendedAt(index: number): number {
    return this.#batch.appendedAt(this.#indexes[index]!);
  }

  type(index: number): EnvelopeType {
    return this.#batch.type(this.#indexes[index]!);
  }

  level(index: number): Level {
    return this.#batch.level(this.#indexes[index]!);
  }

  logger(index: number): string {
    return this.#batch.logger(this.#indexes[index]!);
  }

  size(index: number): number {
    return this.#batch.size(this.#indexes[index]!);
  }

  bytes(index: number): Uint8Array<ArrayBuffer> {
    return this.#batch.bytes(this.#indexes[index]!);
  }

  data(index: number): Uint8Array<ArrayBuffer> {
    return this.#batch.data(this.#indexes[index]!);
  }

  timestamp(index: number): string {
    return this.#batch.timestamp(this.#indexes[index]!);
  }

  envelope(index: number): Envelope {
    return this.#batch.envelope(this.#indexes[index]!);
  }

  resourceAttributes(index: number): JsonAttributes {
    return this.#batch.resourceAttributes(this.#indexes[index]!);
  }

  mayHaveTrigrams(index: number, trigrams: Uint32Array): boolean {
    return this.#batch.mayHaveTrigrams(this.#indexes[index]!, trigrams);
  }

  mayHaveText(index: number, texts: readonly string[]): boolean {
    return this.#batch.mayHaveText(this.#indexes[index]!, texts);
  }

  scopeAttributes(index: number): JsonAttributes {
    return this.#batch.scopeAttributes(this.#indexes[index]!);
  }

  record(index: number): LogRecord {
    return this.#batch.record(this.#indexes[index]!);
  }

  otlp(form?: OtlpForm): Uint8Array<ArrayBuffer> {
    return this.#batch.encodeRequest(this.length, (index) => this.#indexes[index]!, form);
  }

  otlpJson(form?: OtlpForm): Uint8Array<ArrayBuffer> {
    return otlpToJson(this.otlp(form));
  }

  hash(index: number): string {
    return this.#batch.hash(this.#indexes[index]!);
  }

  auditLine(index: number): Uint8Array<ArrayBuffer> {
    return this.#batch.auditLine(this.#indexes[index]!);
  }

  frames(): Uint8Array<ArrayBuffer> {
    const runs: Uint8Array<ArrayBuffer>[] = [];
    for (let first = 0; first < this.length;) {
      let end = first + 1;
      while (end < this.length && this.#indexes[end] === this.#indexes[end - 1]! + 1) end++;
      runs.push(this.#batch.framesBetween(this.#indexes[first]!, this.#indexes[end - 1]! + 1));
      first = end;
    }
    return runs.length === 1 ? runs[0]! : Buffer.concat(runs);
  }

  from(index: number): Batch {
    return index === 0 ? this : new Selection(this.#batch, this.#indexes.slice(index));
  }

  select(keep: (index: number) => boolean): Batch {
    const selected = this.#indexes.filter((_, index) => keep(index));
    return selected.length === this.length ? this : new Selection(this.#batch, selected);
  }
}
