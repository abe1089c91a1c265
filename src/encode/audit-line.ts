import { createHash } from "node:crypto";

/** Names that the audit file speaks for: metadata of such a name appears as `extra_<name>`. */
const RESERVED = new Set(["timestamp", "level", "event", "logger", "seq", "hash"]);

const EVENT_TYPE = "event_type";

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const RENAMED = bytesOf('"extra_');
const HEADS = {
  timestamp: bytesOf('{"timestamp":'),
  level: bytesOf(',"level":'),
  message: bytesOf(',"event":'),
  logger: bytesOf(',"logger":'),
  action: bytesOf(',"event_type":'),
};
const SEPARATOR = bytesOf(",");
const COLON = bytesOf(":");
const END = bytesOf("}");

/** One member of an object: its key with the quotes, and its value. */
interface Member {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Where there is no event before: what the first event's hash is made over. */
export const NO_HASH = "0".repeat(64);

/**
 * The line of the audit file for an envelope's `data`, without its line feed: timestamp, level, event, logger,
 * event_type, then the metadata in its order. The values are the envelope's own bytes, never read as numbers or texts
 * and written again.
 */
export function auditLine(data: Uint8Array): Uint8Array {
  return Buffer.concat([...openLine(data), END]);
}

/** The same with the event's sequence and its hash as last members. */
export function sealedAuditLine(data: Uint8Array, sequence: number, hash: string): Uint8Array {
  return Buffer.concat([...hashedPart(data, sequence), bytesOf(`,"hash":"${hash}"}`)]);
}

/**
 * An event's hash: SHA-256, in hex, over the hash of the event before, as its 64 digits, and the event's own line up
 * to `,"hash":`. So whoever has two lines can check the second one with any tool.
 */
export function auditHash(previous: string, data: Uint8Array, sequence: number): string {
  const hash = createHash("sha256").update(previous);
  for (const part of hashedPart(data, sequence)) hash.update(part);
  return hash.digest("hex");
}

function hashedPart(data: Uint8Array, sequence: number): Uint8Array[] {
  return [...openLine(data), bytesOf(`,"seq":${sequence}`)];
}

/** The line without its closing brace, in parts. */
function openLine(data: Uint8Array): Uint8Array[] {
  const fields = new Map(membersOf(data).map((member) => [nameOf(member.key), member.value]));
  const parts: Uint8Array[] = [];
  for (const [name, head] of Object.entries(HEADS)) {
    const value = fields.get(name);
    if (value) parts.push(head, value);
  }
  const metadata = fields.get("metadata");
  if (metadata) parts.push(...flattened(metadata, fields.has("action")));
  return parts;
}

/** Of members that would have the same name the last one counts. */
function flattened(metadata: Uint8Array, hasEventType: boolean): Uint8Array[] {
  const members = new Map<string, Uint8Array[]>();
  for (const { key, value } of membersOf(metadata)) {
    const name = nameOf(key);
    const isReserved = RESERVED.has(name) || (hasEventType && name === EVENT_TYPE);
    const publicName = isReserved ? `extra_${name}` : name;
    const publicKey = isReserved ? [RENAMED, key.subarray(1)] : [key];
    members.delete(publicName);
    members.set(publicName, [SEPARATOR, ...publicKey, COLON, value]);
  }
  return [...members.values()].flat();
}

/** The members of an object in compact JSON, as the envelope's encoder writes it. */
function membersOf(object: Uint8Array): Member[] {
  const members: Member[] = [];
  for (let position = 1; object[position] === QUOTE;) {
    const colon = endOfString(object, position);
    const end = endOfValue(object, colon + 1);
    members.push({ key: object.subarray(position, colon), value: object.subarray(colon + 1, end) });
    position = end + 1;
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
function nameOf(key: Uint8Array): string {
  return JSON.parse(Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString()) as string;
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}
