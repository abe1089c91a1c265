/** What an attribute's name makes of it, and the bytes that it is written as: worked out once for each name. */

import { tellsCallSite } from "./call-site.ts";

/** Fields that the gateway speaks for: a caller's attribute of that name appears under a {@link freeName}. */
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

export const RENAME_PREFIX = "extra_";

/** pino's name for an error, which is a map. */
export const ERR = "err";

/**
 * The name that an attribute gets whose own name the gateway speaks for: `extra_<name>`, with the prefix repeated until
 * no other attribute has that name. It is added to the names that are taken.
 */
export function freeName(name: string, taken: Set<string>): string {
  let free = RENAME_PREFIX + name;
  while (taken.has(free)) free = RENAME_PREFIX + free;
  taken.add(free);
  return free;
}

/** The kinds of names, as bits. */
const ORDINARY_NAME = 0;
export const RESERVED_NAME = 1;
/** It tells the call site, and is no extra. */
export const CODE_NAME = 2;
/** {@link ERR}. */
export const ERR_NAME = 4;
/** It has lone surrogates, so that another name may be the same in JSON. */
export const ILL_FORMED_NAME = 8;

export interface AttributeName {
  readonly text: string;
  readonly kind: number;
  /** `,"name":` in UTF-8. */
  readonly member: JsonPiece;
}

/** More names than programs have; beyond it the memory starts anew. */
const NAMES_MAX = 4096;
/** A longer name is not worth to be remembered. */
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

/** The engine copies what becomes the name of a property: a piece of a long text would keep all of that in memory. */
function ownText(name: string): string {
  return Object.keys({ [name]: undefined })[0]!;
}

function describe(name: string): AttributeName {
  return {
    text: name,
    kind: kindOf(name),
    member: jsonPiece(`,${JSON.stringify(name.toWellFormed())}:`),
  };
}

export function kindOf(name: string): number {
  if (tellsCallSite(name)) return CODE_NAME;
  if (RESERVED.has(name)) return RESERVED_NAME;
  if (name === ERR) return ERR_NAME;
  return name.isWellFormed() ? ORDINARY_NAME : illFormed();
}

let hasMetIllFormed = false;

function illFormed(): number {
  hasMetIllFormed = true;
  return ILL_FORMED_NAME;
}

/** Whether this process has met a name with lone surrogates: nearly none ever does, and need not look for them. */
export function metIllFormedName(): boolean {
  return hasMetIllFormed;
}

/** Bytes that are written again and again, as words: of few bytes these take half the time to copy. */
export interface JsonPiece {
  readonly words: Int32Array;
  /** How many bytes of the words count. */
  readonly length: number;
}

export const WORD_BYTES = 4;

export function jsonPiece(text: string): JsonPiece {
  const length = Buffer.byteLength(text);
  const words = new Int32Array(Math.ceil(length / WORD_BYTES));
  const padded = Buffer.alloc(WORD_BYTES * words.length);
  padded.write(text);
  // A name may have megabytes: a plain loop takes milliseconds for it, Int32Array.from a hundred.
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

/** The attributes of an exception (semantic conventions, "Exceptions in logs"), and pino's names for them. */
const EXCEPTION_FIELDS: ReadonlyMap<string, string> = new Map([
  ["type", "exception.type"],
  ["message", "exception.message"],
  ["stack", "exception.stacktrace"],
]);

const EXCEPTION_NAMES = new Set(EXCEPTION_FIELDS.values());

/**
 * Returns the attributes under the names that they appear with: no two names are the same in JSON. `skipped` is the
 * place of one that is left out, -1 for none. Reserved names are those of a system log's own fields.
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
  return isSystemLog ? renamed(attributes) : columnsOf(attributes);
}

function renamed(attributes: ReadonlyMap<string, unknown>): AttributeColumns {
  const taken = new Set(attributes.keys());
  const names = new Map<string, unknown>();
  for (const [key, value] of attributes) {
    names.set(RESERVED.has(key) ? freeName(key, taken) : key, value);
  }
  return columnsOf(names);
}

function columnsOf(attributes: ReadonlyMap<string, unknown>): AttributeColumns {
  return { keys: [...attributes.keys()], values: [...attributes.values()] };
}

/**
 * Returns pino's error as the attributes of an exception, and under its own name what else it holds; undefined for
 * another value, or if the record has attributes of an exception already.
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
