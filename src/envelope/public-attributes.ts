/** The names and values with which a record's attributes appear in its envelope, where these are not simply its own. */

import { ERR, freeName, RESERVED } from "./attribute-name.ts";

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
