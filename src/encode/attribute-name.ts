/** What an attribute's name makes of it, and the bytes that it is written as: worked out once for each name. */

import { CODE_PREFIX } from "./code-attributes.ts";
import { jsonPiece, type JsonPiece } from "./json-piece.ts";

/** Fields that the gateway speaks for: a caller's attribute of that name appears as `extra_<name>`. */
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

/** The kinds of names, as bits. */
const ORDINARY_NAME = 0;
export const RESERVED_NAME = 1;
/** It tells the call site, and is no extra. */
export const CODE_NAME = 2;

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

const names = new Map<string, AttributeName>();

export function attributeName(name: string): AttributeName {
  const known = names.get(name);
  if (known !== undefined) return known;
  if (name.length > NAME_CHARS_MAX) return describe(name);
  if (names.size >= NAMES_MAX) names.clear();
  const described = describe(ownText(name));
  names.set(described.text, described);
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
  if (name.startsWith(CODE_PREFIX)) return CODE_NAME;
  return RESERVED.has(name) ? RESERVED_NAME : ORDINARY_NAME;
}
