import { isUtf8 } from "node:buffer";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import type { EncodedRecord } from "./encode.ts";
import { undecodable } from "./findings.ts";
import { ProtobufReader, ProtobufWriter } from "./protobuf.ts";
import {
  ANY_VALUE,
  FIXED32,
  FIXED64,
  LENGTH,
  LOG_RECORD,
  RESOURCE_LOGS,
  SCOPE_LOGS,
  VARINT,
  WIRE_TYPE_BITS,
  type Field,
  type Message,
} from "./schema.ts";

/** The highest bit of each byte of a word: 0 in ASCII. */
const HIGH_BITS = 0x80808080 | 0;

const EMPTY: Uint8Array = new Uint8Array();

/** One message is repaired at a time, without interruption. */
const writer = new ProtobufWriter();

/**
 * Repairs records before they are exported. The gateway accepts some mistakes of senders that a strict decoder answers by
 * rejecting the whole request: text that is not UTF-8 (proto3), ids of a wrong length, a known field with a wrong type.
 * The journal stores records as they came. Records that are exported together mostly share their resource and scope,
 * so those of the previous record are remembered.
 */
export class RecordRepair {
  readonly #scan = new Scan();
  #resource = EMPTY;
  #repairedResource: Uint8Array = EMPTY;
  #scope = EMPTY;
  #repairedScope: Uint8Array = EMPTY;

  /**
   * Returns the given object itself if nothing in it is wrong.
   * @throws TailgateError OTLP_UNDECODABLE if it is not protobuf.
   */
  repair(encoded: EncodedRecord): EncodedRecord {
    const { resource, scope, record } = encoded;
    if (resource !== this.#resource) {
      this.#repairedResource = this.#repaired(resource, RESOURCE_LOGS);
      this.#resource = resource;
    }
    if (scope !== this.#scope) {
      this.#repairedScope = this.#repaired(scope, SCOPE_LOGS);
      this.#scope = scope;
    }
    const repairedRecord = this.#repaired(record, LOG_RECORD);
    const isSound =
      repairedRecord === record &&
      this.#repairedResource === resource &&
      this.#repairedScope === scope;
    if (isSound) return encoded;
    return { resource: this.#repairedResource, scope: this.#repairedScope, record: repairedRecord };
  }

  #repaired(bytes: Uint8Array, message: Message): Uint8Array {
    if (this.#scan.isSound(bytes, message)) return bytes;
    writer.begin();
    writeRepaired(new ProtobufReader(bytes), bytes.length, message, 0);
    return writer.take();
  }
}

/** Checks in one pass over the bytes, which are nearly always sound, whether anything needs a repair. */
class Scan {
  #bytes: Uint8Array = EMPTY;
  #position = 0;
  /** Covers the whole buffer, which most messages share; this one starts at `#start` in it. */
  #view = new DataView(EMPTY.buffer);
  #start = 0;

  isSound(bytes: Uint8Array, message: Message): boolean {
    if (bytes.buffer !== this.#view.buffer) this.#view = new DataView(bytes.buffer);
    this.#start = bytes.byteOffset;
    this.#bytes = bytes;
    this.#position = 0;
    return this.#isMessage(message, bytes.length, 0);
  }

  #isMessage(message: Message, end: number, depth: number): boolean {
    const isRecord = message === LOG_RECORD;
    while (this.#position < end) {
      const tag = this.#varint(end);
      if (tag <= WIRE_TYPE_BITS) throw this.#cutOff();
      const wireType = tag & WIRE_TYPE_BITS;
      const field = message.byNumber[tag >>> 3];
      if (field !== undefined && field.wireType !== wireType) return false;
      if (wireType === LENGTH) {
        const stop = this.#varint(end) + this.#position;
        if (stop > end) throw this.#cutOff();
        // The intake checked the types within a record's values, so if all bytes are ASCII, so are the strings.
        const isAscii = isRecord && field?.idBytes === 0 && this.#isAscii(this.#position, stop);
        if (field === undefined || isAscii) this.#position = stop;
        else if (!this.#isField(message, field, stop, depth)) return false;
      } else this.#skip(wireType, end);
    }
    return true;
  }

  #isAscii(start: number, end: number): boolean {
    const view = this.#view;
    const stop = this.#start + end;
    let position = this.#start + start;
    for (const last = stop - 4; position <= last; position += 4) {
      if ((view.getInt32(position, true) & HIGH_BITS) !== 0) return false;
    }
    for (; position < stop; position++) if (view.getUint8(position) >= 0x80) return false;
    return true;
  }

  #isField(holder: Message, field: Field, stop: number, depth: number): boolean {
    const { message } = field;
    if (message !== undefined) {
      const inner = holder === ANY_VALUE ? depth + 1 : depth;
      return inner <= DEPTH_MAX && this.#isMessage(message, stop, inner);
    }
    const start = this.#position;
    this.#position = stop;
    if (field.kind === "string") return isUtf8Text(this.#bytes, start, stop);
    return field.idBytes === 0 || isId(this.#bytes, start, stop, field.idBytes);
  }

  #skip(wireType: number, end: number): void {
    if (wireType === VARINT) this.#varint(end);
    else if (wireType === FIXED64) this.#position += 8;
    else if (wireType === FIXED32) this.#position += 4;
    else throw this.#cutOff();
    if (this.#position > end) throw this.#cutOff();
  }

  /** Tags and lengths are exact; the value of a larger number is not, and is not used. */
  #varint(end: number): number {
    const bytes = this.#bytes;
    let value = 0;
    for (let factor = 1; this.#position < end; factor *= 0x80) {
      const byte = bytes[this.#position++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw this.#cutOff();
  }

  #cutOff(): Error {
    const { length } = this.#bytes;
    return undecodable(`byte ${this.#position} of ${length}`, "a field is cut off or unknown");
  }
}

function isUtf8Text(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    if (bytes[index]! >= 0x80) return isUtf8(bytes.subarray(index, end));
  }
  return true;
}

/** An empty id stands for an absent one. */
function isId(bytes: Uint8Array, start: number, end: number, length: number): boolean {
  if (start === end) return true;
  if (end - start !== length) return false;
  for (let index = start; index < end; index++) if (bytes[index] !== 0) return true;
  return false;
}

/** Writes the message up to `end`, with what is wrong in it replaced or left out. If an id is repeated, the last one counts. */
function writeRepaired(reader: ProtobufReader, end: number, message: Message, depth: number): void {
  const ids = new Map<number, Uint8Array>();
  while (reader.position < end) {
    const start = reader.position;
    const tag = reader.tag(end);
    const field = message.byNumber[tag >>> 3];
    const wireType = tag & WIRE_TYPE_BITS;
    if (wireType !== LENGTH || field === undefined) {
      reader.skip(tag, end, 0);
      if (field === undefined || field.wireType === wireType) {
        writer.raw(reader.bytes.subarray(start, reader.position));
      }
      continue;
    }
    const stop = reader.length(end);
    const content = reader.bytes.subarray(reader.position, stop);
    const inner = message === ANY_VALUE ? depth + 1 : depth;
    if (field.idBytes > 0) ids.set(tag, content);
    else if (field.message !== undefined && inner > DEPTH_MAX) {
      writer.string(ANY_VALUE.tags.stringValue, DEPTH_TEXT);
    } else if (field.message !== undefined) {
      const opened = writer.open(tag);
      writeRepaired(reader, stop, field.message, inner);
      writer.close(opened);
    } else if (field.kind === "string") writer.string(tag, content.toString());
    else if (field.wireType === LENGTH) writer.bytes(tag, content);
    reader.position = stop;
  }
  for (const [tag, id] of ids) {
    const { idBytes } = message.byNumber[tag >>> 3]!;
    if (id.length > 0 && isId(id, 0, id.length, idBytes)) writer.bytes(tag, id);
  }
}
