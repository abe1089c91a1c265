import { varintBytes } from "../otlp/protobuf.ts";
import { LOG_RECORD } from "../otlp/schema.ts";
import type { ColumnReader } from "./column-reader.ts";
import { CLOSE, ELEMENT, KEY, KEY_VALUE_VALUE, VALUE_TAGS, type NodeSpec } from "./shape.ts";
import { StreamWriter } from "./stream.ts";

const { body: BODY, attributes: ATTRIBUTE } = LOG_RECORD.tags;

/** The greatest size of a tag with a length, twice, and of the tag of a value. */
const HEADER_BYTES_MAX = 24;

/** What it takes to write the values of a node. */
interface NodeWriter {
  readonly spec: NodeSpec;
  readonly reader: ColumnReader;
  /** The tag and the size of the key, and the key; empty for what has none. */
  readonly key: Buffer;
  /** The tag of the value in AnyValue; 0 for null. */
  readonly valueTag: number;
  readonly hasSize: boolean;
  /** The tag of the outermost message around the value. */
  readonly outerTag: number;
}

/** Where the values of a node are, by record. */
export interface ValueIndex {
  /** Returns the number of the first value of a node that each record has. */
  firstValues(node: number): Uint32Array;
}

/** Writes records again, byte by byte as they were, of their shapes and values. */
export class RecordWriter {
  readonly output = new StreamWriter();
  readonly #nodes: (NodeWriter | undefined)[] = [];
  readonly #specs: readonly NodeSpec[];
  readonly #readerOf: (node: number) => ColumnReader;
  readonly #index: ValueIndex;
  readonly #firstValues: (Uint32Array | undefined)[] = [];
  /** How many values of each node the record has had. */
  readonly #used: Uint32Array;
  #touched: number[] = [];

  constructor(
    specs: readonly NodeSpec[],
    readerOf: (node: number) => ColumnReader,
    index: ValueIndex,
  ) {
    this.#specs = specs;
    this.#readerOf = readerOf;
    this.#index = index;
    this.#used = new Uint32Array(specs.length);
  }

  /** Appends a record to the output. */
  write(shape: readonly number[], record: number): void {
    for (const node of this.#touched) this.#used[node] = 0;
    this.#touched = [];
    for (let step = 0; step < shape.length;) step = this.#writeNode(shape, step, record);
  }

  /** Writes the node at that step and all in it. Returns the step after it. */
  #writeNode(shape: readonly number[], step: number, record: number): number {
    const index = shape[step]!;
    const node = (this.#nodes[index] ??= this.#prepare(index));
    const { kind } = node.spec;
    if (kind === "list" || kind === "map") return this.#writeContainer(node, shape, step, record);
    if (kind === "null" || kind === "emptyList" || kind === "emptyMap") {
      this.#writeHeader(node, 0);
      return step + 1;
    }
    const { bytes, start, end } = node.reader.payload(this.#nextValue(index, record));
    this.#writeHeader(node, end - start);
    this.output.copy(bytes, start, end);
    return step + 1;
  }

  #nextValue(node: number, record: number): number {
    const first = (this.#firstValues[node] ??= this.#index.firstValues(node));
    const used = this.#used[node]!++;
    if (used === 0) this.#touched.push(node);
    return first[record]! + used;
  }

  /** Writes the content first, because its size is not known, and moves it to the end of its header. */
  #writeContainer(
    node: NodeWriter,
    shape: readonly number[],
    step: number,
    record: number,
  ): number {
    const { output } = this;
    const start = output.length;
    const room = HEADER_BYTES_MAX + node.key.length;
    output.reserve(room);
    output.length += room;
    let next = step + 1;
    while (shape[next] !== CLOSE) next = this.#writeNode(shape, next, record);
    const size = output.length - start - room;
    output.length = start;
    this.#writeHeader(node, size);
    output.bytes.copyWithin(output.length, start + room, start + room + size);
    output.length += size;
    return next + 1;
  }

  /** Writes all that is before a value of that size. */
  #writeHeader({ spec, key, valueTag, hasSize, outerTag }: NodeWriter, size: number): void {
    const { output } = this;
    output.reserve(HEADER_BYTES_MAX + key.length);
    if (spec.wrapping === "field") {
      output.byte(spec.tag);
      if (hasSize) output.varint(size);
      return;
    }
    const sizeBytes = hasSize ? varintBytes(size) : 0;
    const inner = valueTag === 0 ? 0 : 1 + sizeBytes + size;
    output.byte(outerTag);
    if (key.length > 0) {
      output.varint(key.length + 1 + varintBytes(inner) + inner);
      output.copy(key, 0, key.length);
      output.byte(KEY_VALUE_VALUE);
    }
    output.varint(inner);
    if (valueTag === 0) return;
    output.byte(valueTag);
    if (hasSize) output.varint(size);
  }

  #prepare(index: number): NodeWriter {
    const spec = this.#specs[index]!;
    const { wrapping, kind } = spec;
    const key = new StreamWriter();
    if (wrapping === "attribute" || wrapping === "entry") {
      const bytes = Buffer.from(spec.key);
      key.byte(KEY);
      key.varint(bytes.length);
      key.copy(bytes, 0, bytes.length);
    }
    return {
      spec,
      reader: this.#readerOf(index),
      key: key.written,
      valueTag: VALUE_TAGS.get(kind) ?? 0,
      hasSize: SIZED.has(kind),
      outerTag: wrapping === "attribute" ? ATTRIBUTE : wrapping === "body" ? BODY : ELEMENT,
    };
  }
}

/** The kinds of values before which their size is written. */
const SIZED: ReadonlySet<NodeSpec["kind"]> = new Set<NodeSpec["kind"]>([
  "text",
  "bytes",
  "list",
  "map",
  "emptyList",
  "emptyMap",
]);
