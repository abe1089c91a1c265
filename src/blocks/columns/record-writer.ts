import { putVarint, varintBytes } from "../../otlp/protobuf.ts";
import { WORD_BYTES } from "../../envelope/attributes.ts";
import { Fragments, putWords } from "./fragments.ts";
import { KEY_TAG, VALUE_TAG, VALUE_TAGS, type Op, type OpKind } from "./ops.ts";
import { copy, type DecodedValues } from "./values.ts";

/** Kinds of values that have a length, and those that have not. */
const LENGTH_KINDS: ReadonlySet<OpKind> = new Set(["text", "bytes", "field", "id"]);
const EMPTY_KINDS: ReadonlySet<OpKind> = new Set(["emptyList", "emptyMap"]);

/** An operation, with all bytes that are the same for each record. */
interface PreparedOp {
  readonly kind: OpKind;
  readonly column: number;
  readonly tag: number;
  /** The tag, the length and the bytes of the key, and the tag of its value. */
  readonly key: Buffer;
  /** The tag of the value in its AnyValue; -1 for a field of the record and for null. */
  readonly valueTag: number;
  readonly hasLength: boolean;
  readonly isEmpty: boolean;
  /** The fields with the distinct values of the column. */
  fragments: Fragments | undefined;
}

/** An upper bound for tags and lengths of an operation, beside its key and its value. */
const OP_BYTES = 40;

/** Writes records of one block again from their shapes and values. */
export class RecordWriter {
  bytes = Buffer.allocUnsafeSlow(1 << 16);
  #view = viewOf(this.bytes);
  length = 0;
  readonly #ops: readonly PreparedOp[];
  /** The starts of the open messages, of which each has one byte for its length. */
  readonly #open: number[] = [];

  constructor(ops: readonly Op[]) {
    this.#ops = ops.map(prepare);
  }

  /**
   * Writes a record. `slots` has for each operation with a value the index of the value in its column. `columns` are the
   * values of columns.
   */
  write(
    ops: readonly number[],
    slots: Int32Array,
    record: number,
    columns: readonly (DecodedValues | undefined)[],
  ): void {
    let slot = 0;
    for (let index = 0; index < ops.length; index++) {
      const op = this.#ops[ops[index]!]!;
      if (op.column >= 0) this.#value(op, columns[op.column]!, slots[slot++]! + record);
      else if (op.kind === "close") this.#close();
      else this.#container(op);
    }
  }

  #value(op: PreparedOp, values: DecodedValues, item: number): void {
    const { codes, distinct } = values;
    if (codes === undefined) return this.#field(op, values, item);
    op.fragments ??= new Fragments(distinct, (value) => this.#fragment(op, values, value));
    const { fragments } = op;
    const value = codes[item]!;
    const start = fragments.startOf(value);
    const bytes = fragments.lengths[value]!;
    this.reserve(bytes + WORD_BYTES);
    putWords(this.#view, this.length, fragments.words, start, bytes);
    this.length += bytes;
  }

  /** Returns a field, which is then not written. */
  #fragment(op: PreparedOp, values: DecodedValues, value: number): Uint8Array {
    const start = this.length;
    this.#field(op, values, value);
    const fragment = this.bytes.subarray(start, this.length);
    this.length = start;
    return fragment;
  }

  #field(op: PreparedOp, { data, offsets, separator }: DecodedValues, value: number): void {
    const start = offsets[value]!;
    const end = offsets[value + 1]! - separator;
    const size = end - start;
    this.reserve(size + op.key.length + OP_BYTES);
    const { bytes } = this;
    let position = this.length;
    bytes[position++] = op.tag;
    if (op.kind === "field" || op.kind === "id") {
      position = putVarint(bytes, position, size);
    } else if (op.valueTag >= 0 || op.kind === "null") {
      const lengthBytes = op.hasLength ? (size < 0x80 ? 1 : varintBytes(size)) : op.isEmpty ? 1 : 0;
      const inner = op.valueTag >= 0 ? 1 + lengthBytes + size : 0;
      if (op.key.length > 0) {
        const outer = op.key.length + (inner < 0x80 ? 1 : varintBytes(inner)) + inner;
        position = putVarint(bytes, position, outer);
        position = copy(op.key, 0, op.key.length, bytes, position);
      }
      position = putVarint(bytes, position, inner);
      if (op.valueTag >= 0) bytes[position++] = op.valueTag;
      if (lengthBytes > 0) position = putVarint(bytes, position, size);
    }
    this.length = copy(data, start, end, bytes, position);
  }

  #container(op: PreparedOp): void {
    this.reserve(op.key.length + OP_BYTES);
    const { bytes } = this;
    bytes[this.length++] = op.tag;
    if (op.key.length > 0) {
      this.#open.push(this.length++);
      this.length = copy(op.key, 0, op.key.length, bytes, this.length);
    } else this.#open.push(-1);
    this.#open.push(this.length++);
    bytes[this.length++] = op.valueTag;
    this.#open.push(this.length++);
  }

  #close(): void {
    for (let messages = 0; messages < 3; messages++) {
      const start = this.#open.pop()!;
      if (start >= 0) this.patch(start, 1);
    }
  }

  /** Writes the length of a message that starts after `reserved` bytes at `start`, and ends here. */
  patch(start: number, reserved: number): void {
    const size = this.length - start - reserved;
    const needed = varintBytes(size);
    if (needed !== reserved) {
      this.reserve(needed);
      this.bytes.copyWithin(start + needed, start + reserved, this.length);
      this.length += needed - reserved;
    }
    putVarint(this.bytes, start, size);
  }

  /** Makes room for that many bytes more. */
  reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * needed);
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
    this.#view = viewOf(larger);
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function prepare({ tag, key, kind, column }: Op): PreparedOp {
  return {
    kind,
    column,
    tag,
    key: key === undefined ? Buffer.alloc(0) : keyBytes(Buffer.from(key)),
    valueTag: VALUE_TAGS[kind] ?? -1,
    hasLength: LENGTH_KINDS.has(kind),
    isEmpty: EMPTY_KINDS.has(kind),
    fragments: undefined,
  };
}

function keyBytes(key: Buffer): Buffer {
  const head = Buffer.alloc(1 + varintBytes(key.length));
  head[0] = KEY_TAG;
  putVarint(head, 1, key.length);
  return Buffer.concat([head, key, Buffer.from([VALUE_TAG])]);
}
