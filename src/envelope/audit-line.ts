import { createHash } from "node:crypto";
import { freeName } from "./attributes.ts";

/** Names that the audit file speaks for. */
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

/** Mostly more than all that a line has beside what is copied of its envelope: names, the sequence and the hash. */
const FIXED_BYTES_MAX = 512;

/** Places of one member of an object: its key with the quotes, and its value. An event may have very many of them. */
interface Member {
  readonly key: number;
  readonly value: number;
  readonly end: number;
}

/** Where there is no event before: what the first event's hash is made over. */
export const NO_HASH = "0".repeat(64);

/**
 * The line of the audit file for an envelope's `data`, without its line feed: timestamp, level, event, logger,
 * event_type, then the metadata in its order. The values are the envelope's own bytes, never read as numbers or texts
 * and written again.
 */
export function auditLine(data: Uint8Array): Uint8Array {
  return openLine(data).add(END).bytes;
}

/** The same with the event's sequence and its hash as last members. */
export function sealedAuditLine(data: Uint8Array, sequence: number, hash: string): Uint8Array {
  return hashedPart(data, sequence).add(bytesOf(`,"hash":"${hash}"}`)).bytes;
}

/**
 * An event's hash: SHA-256, in hex, over the hash of the event before, as its 64 digits, and the event's own line up
 * to `,"hash":`. So whoever has two lines can check the second one with any tool.
 */
export function auditHash(previous: string, data: Uint8Array, sequence: number): string {
  return createHash("sha256")
    .update(previous)
    .update(hashedPart(data, sequence).bytes)
    .digest("hex");
}

function hashedPart(data: Uint8Array, sequence: number): Line {
  return openLine(data).add(bytesOf(`,"seq":${sequence}`));
}

/** A line that is being put together, in one piece of memory, which is larger only if names need it. */
class Line {
  #memory: Buffer;
  #length = 0;

  constructor(bytes: number) {
    this.#memory = Buffer.allocUnsafe(bytes);
  }

  get bytes(): Uint8Array {
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
 * The line without its closing brace. It throws for no bytes at all: an event that has been stored has to have its
 * line and its hash, and must not keep the events of the same commit from theirs.
 */
function openLine({ buffer, byteOffset, byteLength }: Uint8Array): Line {
  const data = Buffer.from(buffer, byteOffset, byteLength);
  const fields = new Map(membersOf(data, 0).map((member) => [nameOf(data, member), member]));
  const metadata = fields.get("metadata");
  const before = data.subarray(0, metadata?.end ?? 0);
  const members = membersOf(before, metadata?.value ?? 0);
  const line = new Line(data.length + FIXED_BYTES_MAX);
  for (const [name, head] of Object.entries(HEADS)) {
    const field = fields.get(name);
    if (field !== undefined) line.add(head).add(data.subarray(field.value, field.end));
  }
  addMetadata(line, before, members, fields.has("action"));
  return line;
}

/** A member whose name the file speaks for appears under a {@link freeName}. Of a repeated name the last one counts. */
function addMetadata(
  line: Line,
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

/** The members of the object that opens at `start`, in compact JSON, as the envelope's encoder writes it. */
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

/** The place behind the closing quote of the string that opens at `start`. */
function endOfString(json: Uint8Array, start: number): number {
  let position = start + 1;
  while (position < json.length && json[position] !== QUOTE) {
    position += json[position] === BACKSLASH ? 2 : 1;
  }
  return position + 1;
}

/** The place of the comma or the brace that follows the value at `start`. */
function endOfValue(json: Uint8Array, start: number): number {
  let depth = 0;
  let position = start;
  for (; position < json.length; position++) {
    const byte = json[position];
    if (byte === QUOTE) position = endOfString(json, position) - 1;
    else if (byte === OPEN_OBJECT || byte === OPEN_LIST) depth++;
    else if (depth === 0 && (byte === COMMA || byte === CLOSE_OBJECT)) break;
    else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) depth--;
  }
  return position;
}

/** The text of a key; escapes are read, so that no spelling of a reserved name gets by. */
function nameOf(json: Buffer, { key, value }: Member): string {
  const text = json.toString("utf8", key + 1, value - 2);
  return text.includes("\\") ? unescaped(text) : text;
}

function unescaped(text: string): string {
  try {
    return JSON.parse(`"${text}"`) as string;
  } catch {
    return text;
  }
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}
