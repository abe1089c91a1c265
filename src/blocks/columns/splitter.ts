/**
 * Splits LogRecord messages into shapes and values. What could not be written again as exactly the same bytes is not split:
 * unknown and repeated fields, keys that occur twice, lengths with more bytes than they need, texts that are not UTF-8.
 */

import { isUtf8 } from "node:buffer";
import { SPAN_ID_BYTES, TRACE_ID_BYTES } from "../../otlp/schema.ts";
import type { ColumnInfo, ColumnPlace } from "../block-view.ts";
import {
  ELEMENT_TAG,
  KEY_TAG,
  RECORD,
  VALUE_TAG,
  VALUE_TAGS,
  type Op,
  type OpKind,
} from "./ops.ts";
import type { ScratchMemory } from "./scratch-memory.ts";

/** The columns of values; those of the record's times, numbers and flags have the place `header`. */
export type ColumnHead = Omit<ColumnInfo, "length" | "kind"> & { readonly kind: OpKind };

const SHAPES_MAX = 2048;
const COLUMNS_MAX = 1024;
const OPS_MAX = 1 << 14;
/** Of a record. */
const SHAPE_OPS_MAX = 400;
const KEY_BYTES_MAX = 255;
const NESTING_MAX = 12;

const VARINT_BYTES_MAX = 10;
const WORD_BYTES = 4;
/** As many as a full block of typical records has. */
const VALUES_MIN = 1 << 18;
/** The bits of a word of which none is set in ASCII. */
const NOT_ASCII = 0x80808080 | 0;
const LENGTH_BYTES_MAX = 4;

/** A record that begins with the operations from the root to here. */
class Node {
  readonly parent: Node | undefined;
  readonly op: number;
  readonly tag: number;
  readonly kind: OpKind;
  readonly key: Buffer | undefined;
  /** The key but its last bytes, four bytes a word. */
  readonly keyWords: Int32Array;
  /** The list, map or record that the next operation is in, and the one around it. */
  readonly inside: Container;
  readonly depth: number;
  readonly next: Node[] = [];
  /** The index of the shape of records that end here. */
  shape = -1;
  /** True if the same key or field occurs twice. */
  readonly isRepeated: boolean;

  constructor(
    parent: Node | undefined,
    op: number,
    { tag, kind }: Pick<Op, "tag" | "kind">,
    key: Buffer | undefined,
    inside: Container,
  ) {
    this.parent = parent;
    this.op = op;
    this.tag = tag;
    this.kind = kind;
    this.key = key;
    this.keyWords = wordsOf(key);
    this.inside = inside;
    this.depth = parent === undefined ? 0 : parent.depth + 1;
    this.isRepeated = parent !== undefined && (parent.isRepeated || this.#isRepetition(parent));
  }

  #isRepetition(parent: Node): boolean {
    const { tag, key, kind } = this;
    if (kind === "close") return false;
    const around = parent.inside;
    // The elements of a list have neither keys nor fields of their own.
    if (key === undefined && around.outer !== undefined) return false;
    for (let node: Node | undefined = parent; node?.parent !== undefined; node = node.parent) {
      if (node.kind === "close" || node.parent.inside !== around || node.tag !== tag) continue;
      if (key === undefined || node.key!.equals(key)) return true;
    }
    return false;
  }
}

/** Lets frequent ones come to the front. */
function moveUp(nodes: Node[], index: number): void {
  if (index === 0) return;
  const node = nodes[index]!;
  nodes[index] = nodes[index - 1]!;
  nodes[index - 1] = node;
}

function wordsOf(key: Buffer | undefined): Int32Array {
  const length = Math.floor((key?.length ?? 0) / WORD_BYTES);
  return Int32Array.from({ length }, (_, index) => key!.readInt32LE(WORD_BYTES * index));
}

interface Container {
  readonly place: ColumnPlace;
  readonly path: readonly string[];
  readonly isListed: boolean;
  readonly outer: Container | undefined;
  readonly nesting: number;
}

const RECORD_CONTAINER: Container = {
  place: "header",
  path: [],
  isListed: false,
  outer: undefined,
  nesting: 0,
};

const FIELD_PLACES: Readonly<Record<number, ColumnPlace>> = {
  [RECORD.severityText]: "severity_text",
  [RECORD.eventName]: "event_name",
  [RECORD.traceId]: "trace_id",
  [RECORD.spanId]: "span_id",
};

export class Splitter {
  readonly ops: Op[] = [];
  readonly columns: ColumnHead[] = [];
  /** For each shape its operations. */
  readonly shapes: number[][] = [];
  /** The start and the end of each value in the bytes that the records were split from. */
  starts: Uint32Array;
  ends: Uint32Array;
  length = 0;
  readonly #memory: ScratchMemory;
  readonly #root = new Node(undefined, -1, { tag: 0, kind: "close" }, undefined, RECORD_CONTAINER);
  readonly #opIndexes = new Map<string, number>();
  readonly #columnIndexes = new Map<string, number>();
  #nodes = 0;
  #node = this.#root;
  #bytes: Buffer = Buffer.alloc(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** The start of the message of which {@link #message} has read the length. */
  #start = 0;

  constructor(memory: ScratchMemory) {
    this.#memory = memory;
    this.starts = memory.uint32(VALUES_MIN);
    this.ends = memory.uint32(VALUES_MIN);
  }

  /** Returns the shape of a record and adds its values; returns -1 and adds none if it has no shape. */
  split(bytes: Buffer, start: number, end: number): number {
    const { length } = this;
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    this.#node = this.#root;
    const shape = this.#record(start, end) ? this.#shapeOf(this.#node) : -1;
    if (shape < 0) this.length = length;
    return shape;
  }

  #shapeOf(node: Node): number {
    if (node.isRepeated) return -1;
    if (node.shape < 0 && this.shapes.length < SHAPES_MAX) {
      node.shape = this.shapes.length;
      const ops: number[] = [];
      for (let at = node; at.parent !== undefined; at = at.parent) ops.push(at.op);
      this.shapes.push(ops.toReversed());
    }
    return node.shape;
  }

  #record(start: number, end: number): boolean {
    for (let position = start; position < end;) {
      const tag = this.#bytes[position++]!;
      let next: number;
      switch (tag) {
        case RECORD.attributes:
          next = this.#knownAttribute(position, end);
          if (next >= 0) break;
          next = this.#message(position, end);
          if (next < 0 || !this.#keyValue(tag, this.#start, next)) return false;
          break;
        case RECORD.body:
          next = this.#message(position, end);
          if (next < 0 || !this.#value(tag, 0, 0, this.#start, next)) return false;
          break;
        case RECORD.timeUnixNano:
        case RECORD.observedTimeUnixNano:
          next = this.#fixed(tag, "time", position, position + 8, end);
          break;
        case RECORD.severityNumber:
        case RECORD.droppedAttributesCount:
          next = this.#varint(position, end);
          if (next >= 0) next = this.#fixed(tag, "varint", position, next, end);
          break;
        case RECORD.flags:
          next = this.#fixed(tag, "fixed32", position, position + 4, end);
          break;
        case RECORD.traceId:
        case RECORD.spanId:
          next = this.#id(tag, position, end);
          break;
        case RECORD.severityText:
        case RECORD.eventName:
          next = this.#message(position, end);
          // What is empty is as good as absent.
          if (next <= this.#start || !this.#isText(this.#start, next)) return false;
          if (!this.#add(tag, 0, 0, "field", this.#start, next)) return false;
          break;
        default:
          return false;
      }
      if (next < 0) return false;
      position = next;
    }
    return true;
  }

  #id(tag: number, position: number, end: number): number {
    const next = this.#message(position, end);
    const bytes = tag === RECORD.traceId ? TRACE_ID_BYTES : SPAN_ID_BYTES;
    if (next < 0 || next - this.#start !== bytes) return -1;
    return this.#add(tag, 0, 0, "id", this.#start, next) ? next : -1;
  }

  #fixed(tag: number, kind: OpKind, start: number, next: number, end: number): number {
    return next <= end && this.#add(tag, 0, 0, kind, start, next) ? next : -1;
  }

  /** Returns the end of the message whose length is at `position`, or -1. */
  #message(position: number, end: number): number {
    const bytes = this.#bytes;
    if (position >= end) return -1;
    let length = bytes[position]!;
    let start = position + 1;
    if (length >= 0x80) {
      length &= 0x7f;
      for (let shift = 7; ; shift += 7) {
        if (start >= end || start - position >= LENGTH_BYTES_MAX) return -1;
        const byte = bytes[start++]!;
        length += (byte & 0x7f) << shift;
        if (byte < 0x80) {
          // One byte less would do.
          if (byte === 0) return -1;
          break;
        }
      }
    }
    this.#start = start;
    return start + length <= end ? start + length : -1;
  }

  /** Returns the end of the varint at `position`, or -1. */
  #varint(position: number, end: number): number {
    for (let at = position; at < end && at < position + VARINT_BYTES_MAX; at++) {
      if (this.#bytes[at]! < 0x80) return at + 1;
    }
    return -1;
  }

  /**
   * Splits an attribute that is short and has come here before, as nearly all have. Returns its end; -1 if it is another one,
   * and has to be read field by field.
   */
  #knownAttribute(position: number, end: number): number {
    const bytes = this.#bytes;
    const { next: known } = this.#node;
    const next = position + 1 + bytes[position]!;
    if (next > end || next - position > 0x80 || bytes[position + 1] !== KEY_TAG) return -1;
    const keyLength = bytes[position + 2]!;
    const keyStart = position + 3;
    const keyEnd = keyStart + keyLength;
    if (keyEnd + 3 > next) return -1;
    if (bytes[keyEnd] !== VALUE_TAG || keyEnd + 2 + bytes[keyEnd + 1]! !== next) return -1;
    for (let index = 0; index < known.length; index++) {
      const node = known[index]!;
      if (node.tag !== RECORD.attributes || node.key?.length !== keyLength) continue;
      if (!this.#isKey(node, keyStart)) continue;
      const start = this.#knownValue(node.kind, keyEnd + 2, next);
      if (start < 0) continue;
      moveUp(known, index);
      this.#node = node;
      this.#push(start, next);
      return next;
    }
    return -1;
  }

  /** Returns where the data of an AnyValue starts that has only this value; -1 if it is not of that kind. */
  #knownValue(kind: OpKind, start: number, end: number): number {
    const tag = this.#bytes[start];
    const data = start + 1;
    switch (kind) {
      case "text":
        if (tag !== VALUE_TAGS.text || data + 1 + this.#bytes[data]! !== end) return -1;
        return this.#isText(data + 1, end) ? data + 1 : -1;
      case "int":
        return tag === VALUE_TAGS.int && this.#varint(data, end) === end ? data : -1;
      case "double":
        return tag === VALUE_TAGS.double && data + 8 === end ? data : -1;
      default:
        return -1;
    }
  }

  #isKey({ key, keyWords }: Node, start: number): boolean {
    const view = this.#view;
    let at = start;
    for (let index = 0; index < keyWords.length; index++, at += WORD_BYTES) {
      if (view.getInt32(at, true) !== keyWords[index]) return false;
    }
    for (let index = WORD_BYTES * keyWords.length; index < key!.length; index++) {
      if (this.#bytes[at++] !== key![index]) return false;
    }
    return true;
  }

  #isText(start: number, end: number): boolean {
    const view = this.#view;
    let at = start;
    while (at + WORD_BYTES <= end && (view.getInt32(at, true) & NOT_ASCII) === 0) at += WORD_BYTES;
    for (; at < end; at++) {
      if (this.#bytes[at]! >= 0x80) return isUtf8(this.#bytes.subarray(at, end));
    }
    return true;
  }

  #keyValue(tag: number, start: number, end: number): boolean {
    const bytes = this.#bytes;
    if (start >= end || bytes[start] !== KEY_TAG) return false;
    const keyEnd = this.#message(start + 1, end);
    const keyStart = this.#start;
    if (keyEnd <= keyStart || keyEnd >= end || bytes[keyEnd] !== VALUE_TAG) return false;
    if (this.#message(keyEnd + 1, end) !== end) return false;
    return this.#value(tag, keyStart, keyEnd, this.#start, end);
  }

  /** Splits an AnyValue. */
  #value(tag: number, keyStart: number, keyEnd: number, start: number, end: number): boolean {
    if (start === end) return this.#add(tag, keyStart, keyEnd, "null", start, end);
    const position = start + 1;
    switch (this.#bytes[start]) {
      case VALUE_TAGS.text:
        return (
          this.#message(position, end) === end &&
          this.#isText(this.#start, end) &&
          this.#add(tag, keyStart, keyEnd, "text", this.#start, end)
        );
      case VALUE_TAGS.int:
        return (
          this.#varint(position, end) === end &&
          this.#add(tag, keyStart, keyEnd, "int", position, end)
        );
      case VALUE_TAGS.double:
        return position + 8 === end && this.#add(tag, keyStart, keyEnd, "double", position, end);
      case VALUE_TAGS.bool:
        return (
          position + 1 === end &&
          this.#bytes[position]! <= 1 &&
          this.#add(tag, keyStart, keyEnd, "bool", position, end)
        );
      case VALUE_TAGS.bytes:
        return (
          this.#message(position, end) === end &&
          this.#add(tag, keyStart, keyEnd, "bytes", this.#start, end)
        );
      case VALUE_TAGS.list:
        return this.#message(position, end) === end && this.#list(tag, keyStart, keyEnd, end);
      case VALUE_TAGS.map:
        return this.#message(position, end) === end && this.#map(tag, keyStart, keyEnd, end);
      default:
        return false;
    }
  }

  #list(tag: number, keyStart: number, keyEnd: number, end: number): boolean {
    let position = this.#start;
    if (position === end) return this.#add(tag, keyStart, keyEnd, "emptyList", end, end);
    if (!this.#step(tag, keyStart, keyEnd, "list")) return false;
    while (position < end) {
      if (this.#bytes[position] !== ELEMENT_TAG) return false;
      const next = this.#message(position + 1, end);
      if (next < 0 || !this.#value(ELEMENT_TAG, 0, 0, this.#start, next)) return false;
      position = next;
    }
    return this.#step(0, 0, 0, "close");
  }

  #map(tag: number, keyStart: number, keyEnd: number, end: number): boolean {
    let position = this.#start;
    if (position === end) return this.#add(tag, keyStart, keyEnd, "emptyMap", end, end);
    if (!this.#step(tag, keyStart, keyEnd, "map")) return false;
    while (position < end) {
      if (this.#bytes[position] !== ELEMENT_TAG) return false;
      const next = this.#message(position + 1, end);
      if (next < 0 || !this.#keyValue(ELEMENT_TAG, this.#start, next)) return false;
      position = next;
    }
    return this.#step(0, 0, 0, "close");
  }

  /** Adds an operation with a value. */
  #add(
    tag: number,
    keyStart: number,
    keyEnd: number,
    kind: OpKind,
    start: number,
    end: number,
  ): boolean {
    const [first] = this.#node.next;
    const isFirst =
      first?.tag === tag && first.kind === kind && first.key === undefined && keyStart === keyEnd;
    if (isFirst) this.#node = first;
    else if (!this.#step(tag, keyStart, keyEnd, kind)) return false;
    this.#push(start, end);
    return true;
  }

  #push(start: number, end: number): void {
    if (this.length === this.starts.length) {
      this.starts = this.#grown(this.starts);
      this.ends = this.#grown(this.ends);
    }
    this.starts[this.length] = start;
    this.ends[this.length++] = end;
  }

  #grown(places: Uint32Array): Uint32Array {
    const larger = this.#memory.uint32(2 * places.length);
    larger.set(places);
    return larger;
  }

  /** Goes to the node of the next operation. */
  #step(tag: number, keyStart: number, keyEnd: number, kind: OpKind): boolean {
    const { next } = this.#node;
    for (let index = 0; index < next.length; index++) {
      const node = next[index]!;
      if (node.tag !== tag || node.kind !== kind || !this.#hasKey(node, keyStart, keyEnd)) continue;
      moveUp(next, index);
      this.#node = node;
      return true;
    }
    return this.#create(tag, keyStart, keyEnd, kind);
  }

  #hasKey({ key }: Node, keyStart: number, keyEnd: number): boolean {
    const length = keyEnd - keyStart;
    if (key === undefined) return length === 0;
    if (key.length !== length) return false;
    const bytes = this.#bytes;
    for (let index = length - 1; index >= 0; index--) {
      if (key[index] !== bytes[keyStart + index]) return false;
    }
    return true;
  }

  #create(tag: number, keyStart: number, keyEnd: number, kind: OpKind): boolean {
    const parent = this.#node;
    if (this.#nodes === OPS_MAX || parent.depth === SHAPE_OPS_MAX) return false;
    if (keyEnd - keyStart > KEY_BYTES_MAX) return false;
    let key: Buffer | undefined;
    if (keyEnd > keyStart) {
      if (!this.#isText(keyStart, keyEnd)) return false;
      key = Buffer.from(this.#bytes.subarray(keyStart, keyEnd));
    }
    const op = this.#opOf(tag, key?.toString(), kind, parent.inside);
    if (op < 0) return false;
    const inside = insideOf(parent.inside, this.ops[op]!);
    if (inside.nesting > NESTING_MAX) return false;
    const node = new Node(parent, op, { tag, kind }, key, inside);
    this.#nodes++;
    parent.next.push(node);
    this.#node = node;
    return true;
  }

  #opOf(tag: number, key: string | undefined, kind: OpKind, around: Container): number {
    const column = hasValues(kind) ? this.#columnOf(tag, key, kind, around) : -1;
    if (column === undefined) return -1;
    const id = `${tag} ${kind} ${column}${key === undefined ? "" : ` ${key}`}`;
    let index = this.#opIndexes.get(id);
    if (index === undefined) {
      index = this.ops.length;
      this.#opIndexes.set(id, index);
      this.ops.push({ tag, key, kind, column });
    }
    return index;
  }

  /** Returns undefined if there are too many columns. */
  #columnOf(
    tag: number,
    key: string | undefined,
    kind: OpKind,
    around: Container,
  ): number | undefined {
    const { place, path, isListed } = placeOf(tag, key, around);
    const name = path.length === 1 ? path[0]! : JSON.stringify(path);
    const id = `${place} ${kind} ${isListed} ${path.length} ${name}`;
    let index = this.#columnIndexes.get(id);
    if (index === undefined) {
      if (this.columns.length === COLUMNS_MAX) return undefined;
      index = this.columns.length;
      this.#columnIndexes.set(id, index);
      this.columns.push({ place, path, kind, isListed });
    }
    return index;
  }
}

function hasValues(kind: OpKind): boolean {
  return kind !== "list" && kind !== "map" && kind !== "close";
}

type Place = Pick<Container, "place" | "path" | "isListed">;

function placeOf(tag: number, key: string | undefined, around: Container): Place {
  if (around.outer !== undefined) {
    const { place, path, isListed } = around;
    return { place, path: key === undefined ? path : [...path, key], isListed };
  }
  if (tag === RECORD.attributes) return { place: "attribute", path: [key!], isListed: false };
  if (tag === RECORD.body) return { place: "body", path: [], isListed: false };
  const place = FIELD_PLACES[tag];
  // Others are told apart by their numbers.
  return place === undefined
    ? { place: "header", path: [String(tag >>> 3)], isListed: false }
    : { place, path: [], isListed: false };
}

/** Returns what the operation after this one is in. */
function insideOf(around: Container, { tag, key, kind }: Op): Container {
  if (kind === "close") return around.outer!;
  if (kind !== "list" && kind !== "map") return around;
  const { place, path, isListed } = placeOf(tag, key, around);
  return {
    place,
    path,
    isListed: isListed || kind === "list",
    outer: around,
    nesting: around.nesting + 1,
  };
}
