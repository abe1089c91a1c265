import { isUtf8 } from "node:buffer";
import { DEPTH_MAX } from "../envelope/json-writer.ts";
import { LOG_RECORD } from "../otlp/schema.ts";
import { ColumnBuilder } from "./column-builder.ts";
import {
  CLOSE,
  ELEMENT,
  FIELDS,
  KEY,
  KEY_VALUE_VALUE,
  VALUE_KINDS,
  type NodeKind,
  type NodeSpec,
  type Wrapping,
} from "./shape.ts";

const { body: BODY, attributes: ATTRIBUTE, observedTimeUnixNano: OBSERVED } = LOG_RECORD.tags;

/** A block with more has too irregular records: further ones are stored as they are. */
const NODES_MAX = 4096;
const SHAPES_MAX = 4096;

const EMPTY = Buffer.alloc(0);

/** A key of a map, of the record's attributes, or of no map. It has a node for each type of value. */
class Entry {
  readonly key: Buffer;
  readonly nodes = new Map<NodeKind, Node>();
  /** The map in which it was seen last: keys are unique in a map. */
  lastMap = 0;
  /** The entry that followed last: most records are like the one before. */
  following: Entry | undefined;

  constructor(key: Buffer) {
    this.key = key;
  }
}

class Node {
  readonly index: number;
  readonly spec: NodeSpec;
  readonly column: ColumnBuilder;
  /** The entries of a map, by a hash of their keys, and the elements of a list. */
  readonly entries = new Map<number, Entry[]>();
  readonly element = new Entry(EMPTY);

  constructor(index: number, spec: NodeSpec) {
    this.index = index;
    this.spec = spec;
    this.column = new ColumnBuilder(spec);
  }
}

/** A shape that records of the block have. */
export interface Shape {
  /** Indexes of nodes, and {@link CLOSE}. */
  readonly nodes: readonly number[];
  /** The number of records. */
  records: number;
}

/** Splits the records of a block into shapes and columns. */
export class RecordSplitter {
  readonly shapes: Shape[] = [];
  readonly #nodes: Node[] = [];
  readonly #shapesByHash = new Map<number, number[]>();
  readonly #body = new Entry(EMPTY);
  readonly #fields = new Map<number, Entry>();
  readonly #attributes = new Map<number, Entry[]>();
  #bytes: Uint8Array = EMPTY;
  #position = 0;
  #map = 0;
  #maps = 0;
  /** The record's nodes, and for each where its value starts and ends. */
  readonly #order: number[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #firstAttribute: Entry | undefined;

  get nodes(): readonly NodeSpec[] {
    return this.#nodes.map(({ spec }) => spec);
  }

  get columns(): readonly ColumnBuilder[] {
    return this.#nodes.map(({ column }) => column);
  }

  /** Adds a record to the columns. Returns its shape; undefined, and adds nothing, if it has none. */
  add(record: Uint8Array): number | undefined {
    this.#bytes = record;
    this.#position = 0;
    this.#order.length = 0;
    this.#starts.length = 0;
    this.#ends.length = 0;
    if (!this.#readRecord(record.length) || this.#nodes.length > NODES_MAX) return undefined;
    const shape = this.#shape();
    if (shape === undefined || !this.#areStorable()) return undefined;
    let timeMicros = 0;
    for (let step = 0; step < this.#order.length; step++) {
      const index = this.#order[step]!;
      if (index === CLOSE) continue;
      const { column } = this.#nodes[index]!;
      column.add(record, this.#starts[step]!, this.#ends[step]!, shape, timeMicros);
      if (column.spec.kind === "time") timeMicros = column.lastMicros;
    }
    this.shapes[shape]!.records++;
    return shape;
  }

  /** Times beyond the range of the stream, and text with invalid UTF-8. */
  #areStorable(): boolean {
    for (let step = 0; step < this.#order.length; step++) {
      const index = this.#order[step]!;
      if (index === CLOSE) continue;
      const { column } = this.#nodes[index]!;
      if (!column.accepts(this.#bytes, this.#starts[step]!, this.#ends[step]!)) return false;
    }
    return true;
  }

  #shape(): number | undefined {
    const order = this.#order;
    let hash = order.length;
    for (let step = 0; step < order.length; step++) hash = (Math.imul(hash, 31) + order[step]!) | 0;
    let known = this.#shapesByHash.get(hash);
    if (known === undefined) this.#shapesByHash.set(hash, (known = []));
    for (const shape of known) {
      if (isSame(this.shapes[shape]!.nodes, order)) return shape;
    }
    if (this.shapes.length >= SHAPES_MAX) return undefined;
    known.push(this.shapes.length);
    this.shapes.push({ nodes: [...order], records: 0 });
    return this.shapes.length - 1;
  }

  #readRecord(end: number): boolean {
    this.#map = ++this.#maps;
    let previous: Entry | undefined;
    while (this.#position < end) {
      const tag = this.#bytes[this.#position++]!;
      if (tag === ATTRIBUTE) {
        const stop = this.#stop(end);
        if (stop < 0) return false;
        previous = this.#readEntry(stop, undefined, this.#attributes, "attribute", previous, 0);
        if (previous === undefined) return false;
      } else if (tag === BODY) {
        const stop = this.#stop(end);
        if (stop < 0 || !this.#once(this.#body)) return false;
        if (!this.#readValue(stop, this.#body, "body", undefined, 0)) return false;
      } else if (!this.#readField(tag, end)) return false;
    }
    return true;
  }

  #once(entry: Entry): boolean {
    if (entry.lastMap === this.#map) return false;
    entry.lastMap = this.#map;
    return true;
  }

  #readField(tag: number, end: number): boolean {
    const field = FIELDS.get(tag);
    if (field === undefined) return false;
    let entry = this.#fields.get(tag);
    if (entry === undefined) this.#fields.set(tag, (entry = new Entry(EMPTY)));
    if (!this.#once(entry)) return false;
    const { kind, width } = field;
    // The observed time is stored as the difference to the time, which therefore comes first.
    if (kind === "time" && this.#fields.get(OBSERVED)?.lastMap === this.#map) return false;
    const node = this.#node(entry, kind, "field", tag, undefined);
    if (kind === "text" || kind === "bytes") {
      const stop = this.#stop(end);
      if (stop < 0 || (width !== undefined && stop - this.#position !== width)) return false;
      return this.#leaf(node, stop);
    }
    return this.#scalar(node, kind, end);
  }

  /** Reads a value of a type without a length. */
  #scalar(node: Node, kind: NodeKind, end: number): boolean {
    const start = this.#position;
    let stop = start;
    if (kind === "time" || kind === "observed" || kind === "double") stop += 8;
    else if (kind === "fixed32") stop += 4;
    else {
      const bytes = this.#bytes;
      while (stop < end && bytes[stop]! >= 0x80) stop++;
      stop++;
      if (stop - start > 10) return false;
      if (kind === "bool" && (stop - start !== 1 || bytes[start]! > 1)) return false;
    }
    return stop <= end && this.#leaf(node, stop);
  }

  #leaf({ index }: Node, stop: number): boolean {
    this.#order.push(index);
    this.#starts.push(this.#position);
    this.#ends.push(stop);
    this.#position = stop;
    return true;
  }

  /** Reads an AnyValue that ends at `stop`: one value at most, and nothing else. */
  #readValue(
    stop: number,
    entry: Entry,
    wrapping: Wrapping,
    parent: Node | undefined,
    depth: number,
  ): boolean {
    if (this.#position === stop)
      return this.#leaf(this.#node(entry, "null", wrapping, 0, parent), stop);
    const kind = VALUE_KINDS.get(this.#bytes[this.#position++]!);
    if (kind === undefined || depth > DEPTH_MAX) return false;
    if (kind === "bool" || kind === "int" || kind === "double") {
      return (
        this.#scalar(this.#node(entry, kind, wrapping, 0, parent), kind, stop) &&
        this.#position === stop
      );
    }
    if (this.#stop(stop) !== stop) return false;
    if (kind === "text" || kind === "bytes") {
      return this.#leaf(this.#node(entry, kind, wrapping, 0, parent), stop);
    }
    if (this.#position === stop) {
      const empty = kind === "list" ? "emptyList" : "emptyMap";
      return this.#leaf(this.#node(entry, empty, wrapping, 0, parent), stop);
    }
    const node = this.#node(entry, kind, wrapping, 0, parent);
    this.#leaf(node, this.#position);
    const isRead =
      kind === "list" ? this.#readList(stop, node, depth) : this.#readMap(stop, node, depth);
    this.#order.push(CLOSE);
    this.#starts.push(0);
    this.#ends.push(0);
    return isRead;
  }

  #readList(stop: number, node: Node, depth: number): boolean {
    while (this.#position < stop) {
      if (this.#bytes[this.#position++] !== ELEMENT) return false;
      const elementStop = this.#stop(stop);
      if (elementStop < 0) return false;
      if (!this.#readValue(elementStop, node.element, "element", node, depth + 1)) return false;
    }
    return true;
  }

  #readMap(stop: number, node: Node, depth: number): boolean {
    const outer = this.#map;
    this.#map = ++this.#maps;
    let previous: Entry | undefined;
    while (this.#position < stop) {
      if (this.#bytes[this.#position++] !== ELEMENT) return false;
      const entryStop = this.#stop(stop);
      if (entryStop < 0) return false;
      previous = this.#readEntry(entryStop, node, node.entries, "entry", previous, depth + 1);
      if (previous === undefined) return false;
    }
    this.#map = outer;
    return true;
  }

  /** Reads a KeyValue that ends at `stop`: a key, then a value. Returns its entry; undefined if it is not canonical. */
  #readEntry(
    stop: number,
    parent: Node | undefined,
    entries: Map<number, Entry[]>,
    wrapping: Wrapping,
    previous: Entry | undefined,
    depth: number,
  ): Entry | undefined {
    if (this.#position >= stop || this.#bytes[this.#position++] !== KEY) return undefined;
    const keyStop = this.#stop(stop);
    if (keyStop < 0) return undefined;
    const entry = this.#entry(entries, keyStop, previous, parent);
    if (entry === undefined || !this.#once(entry)) return undefined;
    this.#position = keyStop;
    if (this.#position >= stop || this.#bytes[this.#position++] !== KEY_VALUE_VALUE)
      return undefined;
    if (this.#stop(stop) !== stop) return undefined;
    return this.#readValue(stop, entry, wrapping, parent, depth) ? entry : undefined;
  }

  /** Finds or adds the entry with the key that ends at `stop`; undefined if the key is not valid UTF-8. */
  #entry(
    entries: Map<number, Entry[]>,
    stop: number,
    previous: Entry | undefined,
    parent: Node | undefined,
  ): Entry | undefined {
    const guess =
      previous === undefined && parent === undefined ? this.#firstAttribute : previous?.following;
    if (guess !== undefined && this.#isKey(guess.key, stop)) return guess;
    let hash = stop - this.#position;
    for (let at = this.#position; at < stop; at++)
      hash = (Math.imul(hash, 31) + this.#bytes[at]!) | 0;
    let found = entries.get(hash);
    if (found === undefined) entries.set(hash, (found = []));
    let entry = found.find(({ key }) => this.#isKey(key, stop));
    if (entry === undefined) {
      const key = Buffer.from(this.#bytes.subarray(this.#position, stop));
      if (!isUtf8(key)) return undefined;
      found.push((entry = new Entry(key)));
    }
    if (previous !== undefined) previous.following = entry;
    else if (parent === undefined) this.#firstAttribute = entry;
    return entry;
  }

  #isKey(key: Buffer, stop: number): boolean {
    const start = this.#position;
    if (stop - start !== key.length) return false;
    for (let index = 0; index < key.length; index++) {
      if (key[index] !== this.#bytes[start + index]) return false;
    }
    return true;
  }

  #node(
    entry: Entry,
    kind: NodeKind,
    wrapping: Wrapping,
    tag: number,
    parent: Node | undefined,
  ): Node {
    let node = entry.nodes.get(kind);
    if (node === undefined) {
      const spec = { wrapping, kind, tag, key: entry.key.toString(), parent: parent?.index ?? -1 };
      node = new Node(this.#nodes.length, spec);
      entry.nodes.set(kind, node);
      this.#nodes.push(node);
    }
    return node;
  }

  /** Reads a length. Returns where what it is the length of ends; -1 if it is beyond `end` or has needless bytes. */
  #stop(end: number): number {
    const bytes = this.#bytes;
    let byte = bytes[this.#position++]!;
    if (byte < 0x80) return this.#position + byte <= end ? this.#position + byte : -1;
    let length = byte & 0x7f;
    for (let factor = 0x80; factor <= 2 ** 28; factor *= 0x80) {
      byte = bytes[this.#position++]!;
      if (byte < 0x80) {
        length += byte * factor;
        return byte !== 0 && this.#position + length <= end ? this.#position + length : -1;
      }
      length += (byte & 0x7f) * factor;
    }
    return -1;
  }
}

function isSame(one: readonly number[], other: readonly number[]): boolean {
  if (one.length !== other.length) return false;
  for (let index = 0; index < one.length; index++) if (one[index] !== other[index]) return false;
  return true;
}
