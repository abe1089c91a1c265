import { createHash } from "node:crypto";
import { freeName } from "./attributes.ts";

/** Fields that only the audit file sets. */
const RESERVED = new Set(["timestamp", "level", "event", "logger", "seq", "hash"]);

const EVENT_TYPE = "event_type";

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const HEADS = {
  timestamp: bytesOf('{"timestamp":'),
  level: bytesOf(',"level":'),
  message: bytesOf(',"event":'),
  logger: bytesOf(',"logger":'),
  action: bytesOf(',"event_type":'),
};
const SEPARATOR = bytesOf(",");
const END = bytesOf("}");

/** Usually enough for what a line has beside the bytes of its envelope: names, the sequence and the hash. */
const EXTRA_BYTES = 512;

/** The positions of an object's member: of its key with the quotes, and of its value. */
interface Member {
  readonly key: number;
  readonly value: number;
  readonly end: number;
}

/** The predecessor's hash for the first event. */
export const NO_HASH = "0".repeat(64);

/**
 * Returns the line of the audit file for an envelope's `data`, without its line feed: timestamp, level, event, logger,
 * event_type, then the metadata in its order. The values are copied from the envelope, never parsed and written again.
 */
export function auditLine(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return openLine(data).add(END).bytes;
}

/** Returns the same with the event's sequence and its hash as the last members. */
export function sealedAuditLine(
  data: Uint8Array,
  sequence: number,
  hash: string,
): Uint8Array<ArrayBuffer> {
  return hashedPart(data, sequence).add(bytesOf(`,"hash":"${hash}"}`)).bytes;
}

/**
 * Returns an event's hash: SHA-256, in hex, of the previous event's hash, as its 64 digits, followed by the event's own
 * line up to `,"hash":`. So with two lines, any tool can verify the second one.
 */
export function auditHash(previous: string, data: Uint8Array, sequence: number): string {
  return createHash("sha256")
    .update(previous)
    .update(hashedPart(data, sequence).bytes)
    .digest("hex");
}

function hashedPart(data: Uint8Array, sequence: number): LineBuilder {
  return openLine(data).add(bytesOf(`,"seq":${sequence}`));
}

/** Builds a line in one piece of memory, which grows only if names need it. */
class LineBuilder {
  #memory: Buffer<ArrayBuffer>;
  #length = 0;

  constructor(bytes: number) {
    this.#memory = Buffer.allocUnsafe(bytes);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#memory.subarray(0, this.#length);
  }

  add(bytes: Uint8Array): this {
    const end = this.#length + bytes.length;
    if (end > this.#memory.length) {
      this.#memory = Buffer.concat([this.bytes, Buffer.allocUnsafe(2 * end - this.#length)]);
    }
    this.#memory.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }
}

/**
 * Returns the line without its closing brace. It never throws, whatever the bytes are: a stored event must have its line
 * and its hash, and must not prevent those of other events of its commit.
 */
function openLine({ buffer, byteOffset, byteLength }: Uint8Array): LineBuilder {
  const data = Buffer.from(buffer, byteOffset, byteLength);
  const fields = new Map(membersOf(data, 0).map((member) => [nameOf(data, member), member]));
  const metadata = fields.get("metadata");
  const before = data.subarray(0, metadata?.end ?? 0);
  const members = membersOf(before, metadata?.value ?? 0);
  const line = new LineBuilder(data.length + EXTRA_BYTES);
  for (const [name, head] of Object.entries(HEADS)) {
    const field = fields.get(name);
    if (field !== undefined) line.add(head).add(data.subarray(field.value, field.end));
  }
  addMetadata(line, before, members, fields.has("action"));
  return line;
}

/** Adds the metadata. A member with a reserved name appears under a {@link freeName}; the last of a repeated name counts. */
function addMetadata(
  line: LineBuilder,
  data: Buffer,
  members: readonly Member[],
  hasEventType: boolean,
): void {
  const byName = new Map<string, Member>();
  for (const member of members) {
    const name = nameOf(data, member);
    byName.delete(name);
    byName.set(name, member);
  }
  const isReserved = (name: string): boolean =>
    RESERVED.has(name) || (hasEventType && name === EVENT_TYPE);
  const taken = new Set(byName.keys());
  for (const [name, { key, value, end }] of byName) {
    if (isReserved(name)) {
      const freed = JSON.stringify(freeName(name, taken));
      line.add(bytesOf(`,${freed}:`)).add(data.subarray(value, end));
    } else line.add(SEPARATOR).add(data.subarray(key, end));
  }
}

/** Returns the members of the object that opens at `start`, in compact JSON as the encoder writes it. */
function membersOf(json: Uint8Array, start: number): Member[] {
  const members: Member[] = [];
  for (let key = start + 1; json[key] === QUOTE;) {
    const value = endOfString(json, key) + 1;
    const end = endOfValue(json, value);
    members.push({ key, value, end });
    key = end + 1;
  }
  return members;
}

/** Returns the position after the closing quote of the string that opens at `start`. */
export function endOfString(json: Uint8Array, start: number, limit = json.length): number {
  let position = start + 1;
  while (position < limit && json[position] !== QUOTE) {
    position += json[position] === BACKSLASH ? 2 : 1;
  }
  return position + 1;
}

/** Returns the position of the comma or the bracket that follows the value at `start`, however large that is. */
export function endOfValue(json: Uint8Array, start: number): number {
  let depth = 0;
  let position = start;
  for (; position < json.length; position++) {
    const byte = json[position];
    if (byte === QUOTE) position = endOfString(json, position) - 1;
    else if (byte === OPEN_OBJECT || byte === OPEN_LIST) depth++;
    else if (depth === 0 && (byte === COMMA || byte === CLOSE_OBJECT || byte === CLOSE_LIST)) break;
    else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) depth--;
  }
  return Math.min(position, json.length);
}

/** Returns a key, unescaped, so that no spelling of a reserved name goes unnoticed. */
function nameOf(json: Buffer, { key, value }: Member): string {
  const text = json.toString("utf8", key + 1, value - 2);
  if (!text.includes("\\")) return text;
  try {
    return JSON.parse(`"${text}"`) as string;
  } catch {
    return text;
  }
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}
