import type { Scope, ValueMap } from "../plugin/index.ts";
import type { JsonValue } from "../wire/envelope.ts";
import { JsonWriter } from "./json-writer.ts";

/** Attributes by name, with their values as in envelopes. */
export type JsonAttributes = Readonly<Record<string, JsonValue>>;

const NONE: JsonAttributes = {};

/** Returns attributes as they would be in an envelope, to compare them with what a filter names. */
export function jsonAttributes(attributes: ValueMap): JsonAttributes {
  if (attributes.size === 0) return NONE;
  const writer = JsonWriter.scratch();
  writer.value(attributes);
  return JSON.parse(writer.text()) as JsonAttributes;
}

/** Returns what filters find below `scope.`: the attributes of a scope, and its `name` and its `version` if it has them. */
export function scopeMembers({ name, version, attributes }: Scope): JsonAttributes {
  const members = new Map(attributes);
  if (name !== "") members.set("name", name);
  if (version !== "") members.set("version", version);
  return jsonAttributes(members);
}
