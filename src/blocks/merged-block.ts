import type { StoredBlock } from "../batch/block.ts";
import { completeBlock } from "../batch/complete-block.ts";
import { renderFrames, rulesOf, type EnvelopeRules } from "../envelope/rules.ts";
import { varintBytes, putVarint } from "../otlp/protobuf.ts";
import { REQUEST, RESOURCE_LOGS, SCOPE_LOGS } from "../otlp/schema.ts";
import { frameHeaderBytes, writeFrameHeader } from "../plugin/text-frame.ts";
import type { EnvelopeType } from "../wire/envelope.ts";
import {
  DamagedChunkError,
  type BlockDirectory,
  type BlockView,
  type Column,
  type ColumnInfo,
} from "./block-view.ts";
import { ColumnReader } from "./column-reader.ts";
import {
  decodeDirectory,
  FIXED_STREAMS,
  STREAMS,
  StreamSource,
  type StoredDirectory,
} from "./layout.ts";
import { RecordWriter } from "./record-writer.ts";
import { CLOSE, columnInfoOf, type NodeSpec } from "./shape.ts";
import { StreamReader, StreamWriter, unpackNumbers } from "./stream.ts";

/** A block as the history finds it. */
export interface BlockHeader {
  readonly type: EnvelopeType;
  /** The sequence of the first record. */
  readonly from: number;
  /** The rules by which envelopes are made, as `rulesText` returns them. */
  readonly rules: string;
}

/**
 * Opens a block. `directory` and what `readChunk` returns are as they were encoded; `readChunk` throws DamagedChunkError if a
 * chunk is not.
 * @throws DamagedChunkError, RangeError if the rules are those of a newer Tailgate.
 */
export function openBlock(
  header: BlockHeader,
  directory: Uint8Array,
  readChunk: (index: number) => Uint8Array,
): MergedBlock {
  const stored = decodeDirectory(directory);
  return new MergedBlock(header, stored, new StreamSource(stored.layout, readChunk));
}

/** Reads the streams of a block. */
interface Streams {
  read(stream: number): Buffer;
}

/** Bytes of which each record has one of some distinct ones. */
interface SharedBytes {
  readonly of: Uint8Array | Uint16Array;
  readonly distinct: readonly Uint8Array[];
}

export class MergedBlock implements BlockView {
  readonly type: EnvelopeType;
  readonly length: number;
  readonly directory: BlockDirectory;
  readonly columns: readonly ColumnInfo[];
  readonly #header: BlockHeader;
  readonly #rules: EnvelopeRules;
  readonly #layout: StoredDirectory["layout"];
  readonly #streams: Streams;
  readonly #nodes: readonly NodeSpec[];
  /** The node of each column. */
  readonly #columnNodes: readonly number[];
  /** The first stream of each node. */
  readonly #firstStreams: readonly number[];
  /** For each node, how many of its values a record of each shape has; made for the nodes that are needed. */
  readonly #valuesByShape = new Map<number, Uint32Array>();
  readonly #readers: (ColumnReader | undefined)[] = [];
  readonly #recordsOfNodes: (Uint16Array | undefined)[] = [];
  readonly #cache = new Map<string, unknown>();

  constructor(header: BlockHeader, { layout, directory }: StoredDirectory, streams: Streams) {
    this.#header = header;
    this.type = header.type;
    this.#rules = rulesOf(header.rules);
    this.length = layout.length;
    this.directory = directory;
    this.#layout = layout;
    this.#streams = streams;
    this.#nodes = layout.nodes.map(([wrapping, kind, tag, key, parent]) => ({
      wrapping,
      kind,
      tag,
      key,
      parent,
    }));
    let stream: number = FIXED_STREAMS;
    this.#firstStreams = layout.columns.map(([, , , count]) => {
      stream += count;
      return stream - count;
    });
    const infos = this.#nodes.map((_, node) =>
      columnInfoOf(this.#nodes, node, layout.columns[node]![1]),
    );
    this.#columnNodes = infos.flatMap((info, node) => (info === undefined ? [] : [node]));
    this.columns = infos.filter((info) => info !== undefined);
  }

  get resourceMembers(): readonly string[] {
    return this.#rules.resourceAttributes;
  }

  /** Computes something once. */
  #once<Value>(name: string, compute: () => Value): Value {
    if (!this.#cache.has(name)) this.#cache.set(name, compute());
    return this.#cache.get(name) as Value;
  }

  get sequences(): Float64Array {
    return this.#once("sequences", () => {
      const reader = new StreamReader(this.#streams.read(STREAMS.sequences));
      const sequences = new Float64Array(this.length);
      let sequence = this.#header.from - 1;
      for (let index = 0; index < this.length; index++) {
        sequences[index] = sequence += reader.varint() + 1;
      }
      return sequences;
    });
  }

  /** When the records were appended, in milliseconds since 1970. */
  get appendedTimes(): Float64Array {
    return this.#once("appended", () => {
      const reader = new StreamReader(this.#streams.read(STREAMS.appended));
      let time = 0;
      return Float64Array.from({ length: this.length }, () => (time += reader.signed()));
    });
  }

  get ranks(): Uint8Array {
    return this.#once("ranks", () => this.#codes(STREAMS.ranks, 0) as Uint8Array);
  }

  get loggers(): Uint8Array | Uint16Array {
    return this.#once("loggers", () => this.#codes(STREAMS.loggers, this.directory.loggers.length));
  }

  get #shapes(): Uint8Array | Uint16Array {
    return this.#once("shapes", () => this.#codes(STREAMS.shapes, this.#layout.shapes.length));
  }

  #codes(stream: number, max: number): Uint8Array | Uint16Array {
    const codes = unpackNumbers(this.#streams.read(stream), max);
    if (codes.length !== this.length) throw new DamagedChunkError("a block has too few records");
    return codes;
  }

  get times(): Float64Array {
    return this.#once("times", () => {
      const times = this.#headerTimes().slice();
      const observed = this.#nodes.findIndex(({ kind }) => kind === "observed");
      if (observed >= 0) {
        const { numbers } = this.#reader(observed);
        const records = this.#recordsOf(observed);
        for (const [value, record] of records.entries()) {
          if (times[record] === 0) times[record] = numbers[value]!;
        }
      }
      const odd = new StreamReader(this.#streams.read(STREAMS.times));
      while (odd.position < odd.bytes.length) times[odd.varint()] = odd.varint();
      return times;
    });
  }

  /** The times of the records, in microseconds; 0 for those without. */
  #headerTimes(): Float64Array {
    return this.#once("headerTimes", () => {
      const times = new Float64Array(this.length);
      const node = this.#nodes.findIndex(({ kind }) => kind === "time");
      if (node < 0) return times;
      const { numbers } = this.#reader(node);
      for (const [value, record] of this.#recordsOf(node).entries())
        times[record] = numbers[value]!;
      return times;
    });
  }

  get resources(): SharedBytes {
    return this.#once("resources", () =>
      this.#shared(STREAMS.resources, STREAMS.distinctResources, this.#layout.resources),
    );
  }

  get scopes(): SharedBytes {
    return this.#once("scopes", () =>
      this.#shared(STREAMS.scopes, STREAMS.distinctScopes, this.#layout.scopes),
    );
  }

  #shared(codes: number, distinct: number, count: number): SharedBytes {
    const bytes = this.#streams.read(distinct);
    const reader = new StreamReader(bytes);
    return {
      of: this.#codes(codes, count),
      distinct: Array.from({ length: count }, () => {
        const size = reader.varint();
        reader.position += size;
        return bytes.subarray(reader.position - size, reader.position);
      }),
    };
  }

  get exceptions(): Uint16Array {
    return this.#once("exceptions", () => {
      const shapes = this.#shapes;
      const envelopes = this.#envelopes;
      const exceptions: number[] = [];
      for (let record = 0; record < this.length; record++) {
        if (shapes[record] === 0 || envelopes.has(record)) exceptions.push(record);
      }
      return Uint16Array.from(exceptions);
    });
  }

  /** The envelopes that are stored, by record. */
  get #envelopes(): ReadonlyMap<number, Buffer> {
    return this.#once("envelopes", () => {
      const bytes = this.#streams.read(STREAMS.envelopes);
      const reader = new StreamReader(bytes);
      const envelopes = new Map<number, Buffer>();
      for (let record = -1; reader.position < bytes.length;) {
        record += reader.varint() + 1;
        const size = reader.varint();
        reader.position += size;
        envelopes.set(record, bytes.subarray(reader.position - size, reader.position));
      }
      return envelopes;
    });
  }

  /** The bytes of the records without a shape, by record. */
  get #unshaped(): ReadonlyMap<number, Buffer> {
    return this.#once("unshaped", () => {
      const bytes = this.#streams.read(STREAMS.records);
      const reader = new StreamReader(bytes);
      const records = new Map<number, Buffer>();
      const shapes = this.#shapes;
      for (let record = shapes.indexOf(0); record >= 0; record = shapes.indexOf(0, record + 1)) {
        const size = reader.varint();
        reader.position += size;
        records.set(record, bytes.subarray(reader.position - size, reader.position));
      }
      return records;
    });
  }

  column(index: number): Column {
    return this.#reader(this.#columnNodes[index]!).toColumn(this.columns[index]!);
  }

  #reader(node: number): ColumnReader {
    let reader = this.#readers[node];
    if (reader === undefined) {
      const [form, length, distinct, count] = this.#layout.columns[node]!;
      const first = this.#firstStreams[node]!;
      const streams = Array.from({ length: count }, (_, index) =>
        this.#streams.read(first + index),
      );
      const context = () => ({
        records: this.#recordsOf(node),
        recordTimes: () => this.#headerTimes(),
      });
      reader = new ColumnReader(this.#nodes[node]!, { form, length, distinct }, streams, context);
      this.#readers[node] = reader;
    }
    return reader;
  }

  /** How many values of a node the records of each shape have. */
  #countsByShape(node: number): Uint32Array {
    let counts = this.#valuesByShape.get(node);
    if (counts === undefined) {
      counts = Uint32Array.from(this.#layout.shapes, (nodes) => {
        let count = 0;
        for (const one of nodes) if (one === node) count++;
        return count;
      });
      this.#valuesByShape.set(node, counts);
    }
    return counts;
  }

  /** Whether the values are grouped by the shapes of their records; others are in the order of the records. */
  #isGrouped(node: number): boolean {
    const { wrapping, kind } = this.#nodes[node]!;
    return wrapping === "body" && kind === "text";
  }

  /** The number of the first value that each record has. */
  #firstValues(node: number): Uint32Array {
    return this.#once(`first ${node}`, () => {
      const counts = this.#countsByShape(node);
      const shapes = this.#shapes;
      const firsts = new Uint32Array(this.length);
      if (!this.#isGrouped(node)) {
        let next = 0;
        for (let record = 0; record < this.length; record++) {
          firsts[record] = next;
          const shape = shapes[record]!;
          if (shape > 0) next += counts[shape - 1]!;
        }
        return firsts;
      }
      const next = this.#groupStarts(counts);
      for (let record = 0; record < this.length; record++) {
        const shape = shapes[record]!;
        if (shape === 0) continue;
        firsts[record] = next[shape - 1]!;
        next[shape - 1]! += counts[shape - 1]!;
      }
      return firsts;
    });
  }

  /** The number of the first value of each shape in a grouped column. */
  #groupStarts(counts: Uint32Array): Uint32Array {
    const starts = new Uint32Array(counts.length + 1);
    for (const shape of this.#shapes) if (shape > 0) starts[shape]! += counts[shape - 1]!;
    for (let shape = 1; shape < starts.length; shape++) starts[shape]! += starts[shape - 1]!;
    return starts;
  }

  /** The record of each value. */
  #recordsOf(node: number): Uint16Array {
    let records = this.#recordsOfNodes[node];
    if (records === undefined) {
      records = new Uint16Array(this.#layout.columns[node]![1]);
      const counts = this.#countsByShape(node);
      const shapes = this.#shapes;
      if (this.#isGrouped(node)) {
        const firsts = this.#firstValues(node);
        for (let record = 0; record < this.length; record++) {
          const shape = shapes[record]!;
          if (shape > 0 && counts[shape - 1]! > 0) records[firsts[record]!] = record;
        }
      } else {
        let next = 0;
        for (let record = 0; record < this.length; record++) {
          const shape = shapes[record]!;
          if (shape === 0) continue;
          for (let count = counts[shape - 1]!; count > 0; count--) records[next++] = record;
        }
      }
      this.#recordsOfNodes[node] = records;
    }
    return records;
  }

  /** @throws DamagedChunkError with the records that cannot be read; the others can. */
  read(indexes: ArrayLike<number>): StoredBlock {
    this.#checkReadable(indexes);
    const { length } = indexes;
    const { sequences, appendedTimes, ranks, loggers } = this;
    const at = (values: ArrayLike<number>): Float64Array =>
      Float64Array.from({ length }, (_, index) => values[indexes[index]!]!);
    const request = this.#request(indexes);
    const { frames, sizes } = this.#frames(request, indexes);
    const bytes = completeBlock({
      type: this.type,
      firstSequence: sequences[indexes[0]!]!,
      sequences: at(sequences),
      sizes,
      ranks: at(ranks),
      loggers: at(loggers),
      loggerNames: this.directory.loggers,
      hashes: this.#hashesOf(indexes),
      frames,
      request,
    });
    const appended = at(appendedTimes);
    return {
      firstSequence: sequences[indexes[0]!]!,
      appendedAtMs: appended[0]!,
      appendedTimes: appended,
      bytes,
    };
  }

  /** Finds out which records need a damaged chunk before any is read. */
  #checkReadable(indexes: ArrayLike<number>): void {
    const shapes = this.#shapes;
    const known = new Map<number, boolean>();
    const damaged: number[] = [];
    let cause: unknown;
    for (let position = 0; position < indexes.length; position++) {
      const record = indexes[position]!;
      const shape = shapes[record]!;
      let isReadable = known.get(shape);
      if (isReadable === undefined) {
        try {
          if (shape === 0) void this.#unshaped;
          else
            for (const node of this.#layout.shapes[shape - 1]!)
              if (node !== CLOSE) this.#reader(node);
          isReadable = true;
        } catch (error) {
          if (!(error instanceof DamagedChunkError)) throw error;
          cause = error;
          isReadable = false;
        }
        known.set(shape, isReadable);
      }
      if (!isReadable) damaged.push(record);
    }
    if (damaged.length > 0) {
      throw new DamagedChunkError(`${damaged.length} records need a damaged chunk`, {
        cause,
        records: damaged,
      });
    }
  }

  #hashesOf(indexes: ArrayLike<number>): Buffer {
    const hashes = this.#streams.read(STREAMS.hashes);
    if (hashes.length === 0) return hashes;
    return Buffer.concat(
      Array.from({ length: indexes.length }, (_, index) => {
        const start = HASH_BYTES * indexes[index]!;
        return hashes.subarray(start, start + HASH_BYTES);
      }),
    );
  }

  /** Returns an ExportLogsServiceRequest of the records in their order. */
  #request(indexes: ArrayLike<number>): Buffer<ArrayBuffer> {
    const { length } = indexes;
    const writer = this.#once(
      "writer",
      () =>
        new RecordWriter(this.#nodes, (node) => this.#reader(node), {
          firstValues: (node) => this.#firstValues(node),
        }),
    );
    const { output } = writer;
    output.length = 0;
    const ends = new Uint32Array(length);
    const shapes = this.#shapes;
    for (let index = 0; index < length; index++) {
      const record = indexes[index]!;
      const shape = shapes[record]!;
      if (shape > 0) writer.write(this.#layout.shapes[shape - 1]!, record);
      else {
        const bytes = this.#unshaped.get(record)!;
        output.copy(bytes, 0, bytes.length);
      }
      ends[index] = output.length;
    }
    return requestOf(indexes, output.written, ends, this.resources, this.scopes);
  }

  /** Returns the frames of the envelopes: those that are stored, and those that the rules make. */
  #frames(request: Uint8Array, indexes: ArrayLike<number>): { frames: Buffer; sizes: Int32Array } {
    const envelopes = this.#envelopes;
    const made: number[] = [];
    for (let index = 0; index < indexes.length; index++) {
      if (!envelopes.has(indexes[index]!)) made.push(index);
    }
    const rendered = renderFrames(request, made, this.#rules);
    if (made.length === indexes.length) return { frames: rendered.bytes, sizes: rendered.sizes };
    const sizes = new Int32Array(indexes.length);
    const frames = new StreamWriter();
    let next = 0;
    let position = 0;
    for (let index = 0; index < indexes.length; index++) {
      const envelope = envelopes.get(indexes[index]!);
      if (envelope === undefined) {
        const size = (sizes[index] = rendered.sizes[next++]!);
        const end = position + frameHeaderBytes(size) + size;
        frames.copy(rendered.bytes, position, end);
        position = end;
      } else {
        sizes[index] = envelope.length;
        frames.reserve(frameHeaderBytes(envelope.length));
        frames.length = writeFrameHeader(frames.bytes, frames.length, envelope.length);
        frames.copy(envelope, 0, envelope.length);
      }
    }
    return { frames: frames.written, sizes };
  }
}

const HASH_BYTES = 32;

/** Puts records together to a request, in which neighbors share their resource and their scope if they have the same. */
function requestOf(
  indexes: ArrayLike<number>,
  records: Buffer,
  ends: Uint32Array,
  resources: SharedBytes,
  scopes: SharedBytes,
): Buffer<ArrayBuffer> {
  const { length } = indexes;
  // Of each run of one scope: its first record, and its size; of each run of one resource the same.
  const scopeStarts: number[] = [];
  const scopeSizes: number[] = [];
  const resourceStarts: number[] = [];
  const resourceSizes: number[] = [];
  const addSize = (): void => {
    if (scopeSizes.length > 0)
      resourceSizes[resourceSizes.length - 1]! += fieldBytes(scopeSizes.at(-1)!);
  };
  for (let index = 0; index < length; index++) {
    const [resource, scope] = [resources.of[indexes[index]!]!, scopes.of[indexes[index]!]!];
    const previous = index === 0 ? -1 : indexes[index - 1]!;
    const isNewResource = index === 0 || resources.of[previous] !== resource;
    if (isNewResource || scopes.of[previous] !== scope) {
      addSize();
      if (isNewResource) {
        resourceStarts.push(scopeStarts.length);
        resourceSizes.push(resources.distinct[resource]!.length);
      }
      scopeStarts.push(index);
      scopeSizes.push(scopes.distinct[scope]!.length);
    }
    scopeSizes[scopeSizes.length - 1]! += fieldBytes(
      ends[index]! - (index === 0 ? 0 : ends[index - 1]!),
    );
  }
  addSize();
  const bytes = Buffer.allocUnsafeSlow(
    resourceSizes.reduce((sum, size) => sum + fieldBytes(size), 0),
  );
  let at = 0;
  const head = (tag: number, size: number, content: Uint8Array): void => {
    bytes[at] = tag;
    at = putVarint(bytes, at + 1, size);
    bytes.set(content, at);
    at += content.length;
  };
  let resourceRun = 0;
  for (let scopeRun = 0; scopeRun < scopeStarts.length; scopeRun++) {
    const first = scopeStarts[scopeRun]!;
    if (resourceStarts[resourceRun] === scopeRun) {
      const resource = resources.distinct[resources.of[indexes[first]!]!]!;
      head(REQUEST.tags.resourceLogs, resourceSizes[resourceRun]!, resource);
      resourceRun++;
    }
    const scope = scopes.distinct[scopes.of[indexes[first]!]!]!;
    head(RESOURCE_LOGS.tags.scopeLogs, scopeSizes[scopeRun]!, scope);
    const end = scopeStarts[scopeRun + 1] ?? length;
    for (let index = first; index < end; index++) {
      const start = index === 0 ? 0 : ends[index - 1]!;
      bytes[at] = SCOPE_LOGS.tags.logRecords;
      at = putVarint(bytes, at + 1, ends[index]! - start);
      at += records.copy(bytes, at, start, ends[index]);
    }
  }
  return bytes;
}

/** The size of a field with a length; the tags that are used here have one byte. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}
