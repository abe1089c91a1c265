/** How attributes appear in envelopes: their names, and the members that replace some of them. */

import { tellsCallSite } from "./call-site.ts";

/** Fields of system logs that only the gateway sets: an attribute with such a name appears under a {@link freeName}. */
export const RESERVED = new Set([
  "timestamp",
  "level",
  "logger",
  "message",
  "module",
  "function",
  "line",
  "id",
  "type",
]);

/** The member of an audit event's metadata that names its sender. */
export const INGESTED_BY = "ingested_by";

/** The same as {@link RESERVED} for the metadata of audit events. */
const RESERVED_IN_AUDIT = new Set([INGESTED_BY]);

export const RENAME_PREFIX = "extra_";

/** The attribute in which pino logs an error, as a map. */
export const ERR = "err";

/**
 * Returns the name for an attribute with a reserved name: `extra_<name>`, with the prefix repeated until no other
 * attribute has that name. The name is added to `taken`.
 */
export function freeName(name: string, taken: Set<string>): string {
  let free = RENAME_PREFIX + name;
  while (taken.has(free)) free = RENAME_PREFIX + free;
  taken.add(free);
  return free;
}

/** Kinds of names, as bits. */
const ORDINARY_NAME = 0;
export const RESERVED_NAME = 1;
/** It tells the call site, and is not an extra. */
export const CODE_NAME = 2;
/** {@link ERR}. */
export const ERR_NAME = 4;
/** It has lone surrogates, so another name may be the same in JSON. */
export const ILL_FORMED_NAME = 8;
/** It is reserved in audit events. */
export const AUDIT_RESERVED_NAME = 16;

/** What follows from an attribute's name; computed once for each name. */
export interface AttributeName {
  readonly text: string;
  readonly kind: number;
  /** `,"name":` in UTF-8. */
  readonly member: JsonWords;
}

/** More names than programs use. Beyond that, the cache is cleared. */
const NAMES_MAX = 4096;
/** Longer names are not cached. */
const NAME_CHARS_MAX = 64;

const knownNames = new Map<string, AttributeName>();

export function attributeName(name: string): AttributeName {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  if (name.length > NAME_CHARS_MAX) return describe(name);
  if (knownNames.size >= NAMES_MAX) knownNames.clear();
  const described = describe(ownText(name));
  knownNames.set(described.text, described);
  return described;
}

/** Returns a copy, which V8 makes of property names: a slice of a long string would keep all of it in memory. */
function ownText(name: string): string {
  return Object.keys({ [name]: undefined })[0]!;
}

function describe(name: string): AttributeName {
  return {
    text: name,
    kind: kindOf(name),
    member: toWords(`,${JSON.stringify(name.toWellFormed())}:`),
  };
}

export function kindOf(name: string): number {
  if (tellsCallSite(name)) return CODE_NAME;
  if (RESERVED.has(name)) return RESERVED_NAME;
  if (RESERVED_IN_AUDIT.has(name)) return AUDIT_RESERVED_NAME;
  if (name === ERR) return ERR_NAME;
  return name.isWellFormed() ? ORDINARY_NAME : illFormed();
}

let hasMetIllFormed = false;

function illFormed(): number {
  hasMetIllFormed = true;
  return ILL_FORMED_NAME;
}

/** Whether a name with lone surrogates has occurred in this process. If not, as nearly always, no check is needed. */
export function metIllFormedName(): boolean {
  return hasMetIllFormed;
}

/** Bytes that are written often, as words: copying few bytes as words takes half the time. */
export interface JsonWords {
  readonly words: Int32Array;
  /** The number of bytes that count. */
  readonly length: number;
}

export const WORD_BYTES = 4;

function toWords(text: string): JsonWords {
  const length = Buffer.byteLength(text);
  const words = new Int32Array(Math.ceil(length / WORD_BYTES));
  const padded = Buffer.alloc(WORD_BYTES * words.length);
  padded.write(text);
  // A name may have megabytes: a plain loop takes milliseconds for that, Int32Array.from a hundred.
  for (let index = 0; index < words.length; index++) {
    words[index] = padded.readInt32LE(WORD_BYTES * index);
  }
  return { words, length };
}

/** Attributes as two columns. An undefined value does not count. */
export interface AttributeColumns {
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
}

/** The attributes of an exception (semantic conventions, "Exceptions in logs"), by pino's names for them. */
const EXCEPTION_FIELDS: ReadonlyMap<string, string> = new Map([
  ["type", "exception.type"],
  ["message", "exception.message"],
  ["stack", "exception.stacktrace"],
]);

const EXCEPTION_NAMES = new Set(EXCEPTION_FIELDS.values());

/**
 * Returns the attributes under the names with which they appear in an envelope: no two names are the same in JSON.
 * `skipped` is the index of one that is left out, -1 for none. System logs and audit events have different reserved names.
 */
export function publicAttributes(
  { keys, values }: AttributeColumns,
  skipped: number,
  isSystemLog: boolean,
): AttributeColumns {
  const attributes = new Map<string, unknown>();
  for (const [index, key] of keys.entries()) {
    const value = values[index];
    if (value === undefined || index === skipped) continue;
    const members = key === ERR ? exceptionMembers(value, keys) : undefined;
    if (members === undefined) attributes.set(key.toWellFormed(), value);
    else for (const [name, inner] of members) attributes.set(name, inner);
  }
  return renamed(attributes, isSystemLog ? RESERVED : RESERVED_IN_AUDIT);
}

function renamed(
  attributes: ReadonlyMap<string, unknown>,
  reserved: ReadonlySet<string>,
): AttributeColumns {
  const taken = new Set(attributes.keys());
  const names = new Map<string, unknown>();
  for (const [key, value] of attributes) {
    names.set(reserved.has(key) ? freeName(key, taken) : key, value);
  }
  return { keys: [...names.keys()], values: [...names.values()] };
}

/**
 * Returns pino's error as the attributes of an exception, and the rest of it under its own name; undefined for another
 * value, or if the record already has attributes of an exception.
 */
function exceptionMembers(
  value: unknown,
  keys: readonly string[],
): ReadonlyMap<string, unknown> | undefined {
  const fields = fieldsOf(value);
  const isError = typeof fields?.get("type") === "string" && hasText(fields);
  if (!isError || keys.some((key) => EXCEPTION_NAMES.has(key))) return undefined;
  const members = new Map<string, unknown>();
  const rest = new Map(fields);
  for (const [field, name] of EXCEPTION_FIELDS) {
    if (!fields.has(field)) continue;
    members.set(name, fields.get(field));
    rest.delete(field);
  }
  if (rest.size > 0) members.set(ERR, rest);
  return members;
}

function hasText(fields: ReadonlyMap<string, unknown>): boolean {
  return typeof fields.get("message") === "string" || typeof fields.get("stack") === "string";
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  if (value instanceof Map) return value as ReadonlyMap<string, unknown>;
  const isLiteral =
    typeof value === "object" &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype;
  return isLiteral ? new Map(Object.entries(value)) : undefined;
}
