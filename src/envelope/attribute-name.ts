/** What an attribute's name makes of it, and the bytes that it is written as: worked out once for each name. */

import { tellsCallSite } from "./code-attributes.ts";
import { jsonPiece, type JsonPiece } from "./json-piece.ts";

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
