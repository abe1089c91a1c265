import type { LogRecord, Resource, Scope, Value, ValueMap } from "tailgate/plugin";
import type { Actions } from "./actions.ts";
import { isCardInteger } from "./cards.ts";
import { formatJson, looksLikeJson, parseJson } from "./json-text.ts";
import type { KeyGlobs } from "./key-globs.ts";
import { isIdentifier, KEYS_RULE } from "./rules.ts";
import type { ScannedText, TextRedaction } from "./text-redaction.ts";

export interface RedactionParts {
  readonly texts: TextRedaction;
  readonly keys: KeyGlobs;
  readonly actions: Actions;
  /** Whether integers may be card numbers. */
  readonly findsCards: boolean;
}

const NAMES = ["name", "key", "header", "Name", "Key"];
const VALUES = ["value", "Value"];

const DASH = "-";

const PASSES_MAX = 4;

/** Removes secrets from decoded records. What contains none stays the same object. */
export class RecordRedaction {
  readonly #texts: TextRedaction;
  readonly #keys: KeyGlobs;
  readonly #actions: Actions;
  readonly #findsCards: boolean;
  readonly #resources = new WeakMap<Resource, Resource>();
  readonly #scopes = new WeakMap<Scope, Scope>();

  constructor({ texts, keys, actions, findsCards }: RedactionParts) {
    this.#texts = texts;
    this.#keys = keys;
    this.#actions = actions;
    this.#findsCards = findsCards;
  }

  /** Modifies the record, but not its resource and its scope, which other records share. */
  record(record: LogRecord): LogRecord {
    record.body = this.#value(record.body, []);
    record.eventName = this.#text(record.eventName);
    record.severityText = this.#text(record.severityText);
    record.attributes = this.#map(record.attributes, [], isIdentifier);
    if (record.resource !== null) record.resource = this.#resource(record.resource);
    record.scope = this.#scope(record.scope);
    return record;
  }

  #resource(resource: Resource): Resource {
    const known = this.#resources.get(resource);
    if (known !== undefined) return known;
    const attributes = this.#map(resource.attributes, []);
    const redacted = attributes === resource.attributes ? resource : { ...resource, attributes };
    this.#resources.set(resource, redacted);
    return redacted;
  }

  #scope(scope: Scope): Scope {
    const known = this.#scopes.get(scope);
    if (known !== undefined) return known;
    const attributes = this.#map(scope.attributes, []);
    const redacted = attributes === scope.attributes ? scope : { ...scope, attributes };
    this.#scopes.set(scope, redacted);
    return redacted;
  }

  #value(value: Value, path: readonly string[]): Value {
    if (typeof value === "string") return this.#text(value);
    if (typeof value === "number" || typeof value === "bigint") return this.#number(value);
    if (value instanceof Map) return this.#map(value, path);
    if (Array.isArray(value)) return this.#list(value, path);
    return value instanceof Uint8Array ? this.#texts.bytes(value) : value;
  }

  /** What takes the place of one secret may make another one visible, so that the result is searched again. */
  #text(text: string): string {
    let current = text;
    for (let pass = 0; pass < PASSES_MAX && current !== ""; pass++) {
      const next = this.#textOnce(current);
      if (next === current) break;
      current = next;
    }
    return current;
  }

  #textOnce(text: string): string {
    const scanned = this.#texts.scan(text);
    if (this.#needsParsing(scanned) && looksLikeJson(text)) {
      const given = parseJson(text);
      const redacted = given === undefined ? given : this.#value(given, []);
      if (redacted !== undefined && redacted !== given) return formatJson(redacted);
      return this.#plainText(text);
    }
    return scanned.spans.length === 0 ? text : this.#texts.replaceIn(scanned);
  }

  /** A value of a configured key may be nested, a character escaped, and a number must not become a text without quotes. */
  #needsParsing({ spans, hasKey, hasEscape }: ScannedText): boolean {
    if (hasKey || hasEscape || this.#keys.isUnbounded) return true;
    return spans.some(({ rule }) => rule === "card" || this.#texts.hasCustom);
  }

  #plainText(text: string): string {
    const scanned = this.#texts.scan(text);
    return scanned.spans.length === 0 ? text : this.#texts.replaceIn(scanned);
  }

  #number(value: number | bigint): Value {
    if (this.#findsCards && isCardInteger(value)) {
      return this.#actions.replace("card", value.toString()) ?? null;
    }
    if (!this.#texts.hasCustom) return value;
    const text = value.toString();
    const redacted = this.#plainText(text);
    return redacted === text ? value : redacted;
  }

  /** `isExempt` tells which keys have values in which only configured keys matter. */
  #map(
    map: ValueMap,
    path: readonly string[],
    isExempt: (key: string) => boolean = () => false,
  ): ValueMap {
    let isChanged = false;
    const secretValue = this.#siblingOfName(map);
    const entries: [string, Value][] = [];
    for (const [key, value] of map) {
      const inner = [...path, key];
      const isSecret =
        key === secretValue || this.#keys.matches(key) || this.#keys.matchesPath(inner);
      const redacted = isSecret
        ? this.#secret(value)
        : isExempt(key) && !isNested(value)
          ? value
          : this.#value(value, inner);
      const newKey = this.#text(key);
      isChanged ||= redacted !== value || newKey !== key;
      if (redacted !== undefined) entries.push([newKey, redacted]);
    }
    return isChanged ? toMap(entries) : map;
  }

  /** Returns the key of a value that another member names as a secret: `{name: "password", value: "x"}`. */
  #siblingOfName(map: ValueMap): string | undefined {
    if (map.size < 2) return undefined;
    const value = VALUES.find((key) => map.has(key));
    if (value === undefined) return undefined;
    const isNamed = NAMES.some((key) => {
      const name = map.get(key);
      return typeof name === "string" && this.#keys.matches(name);
    });
    return isNamed ? value : undefined;
  }

  /** Returns what replaces the value of a configured key; undefined if it is removed. */
  #secret(value: Value): Value | undefined {
    if (value === null || typeof value === "boolean" || value === "") return value;
    const text = typeof value === "string" ? value : formatJson(value);
    if (this.#actions.isReplaced(KEYS_RULE, text)) return value;
    return this.#actions.replace(KEYS_RULE, text);
  }

  #list(list: Value[], path: readonly string[]): Value[] {
    const isPairs = list.length % 2 === 0 && list.every((item) => typeof item === "string");
    let isChanged = false;
    const redacted = list.map((value, index) => {
      const name = list[index - 1];
      const isSecret =
        typeof name === "string" &&
        ((isPairs && index % 2 === 1) || isFlag(name, value)) &&
        this.#keys.matches(name);
      const item = isSecret ? (this.#secret(value) ?? "") : this.#value(value, path);
      isChanged ||= item !== value;
      return item;
    });
    return isChanged ? redacted : list;
  }
}

function isNested(value: Value): boolean {
  return value instanceof Map || Array.isArray(value);
}

/** Returns whether an argument of a command line takes the next one as its value. */
function isFlag(name: string, value: Value): boolean {
  return name.startsWith(DASH) && typeof value === "string" && !value.startsWith(DASH);
}

/** Keys that have become equal are numbered, so that no value is lost. */
function toMap(entries: readonly (readonly [string, Value])[]): ValueMap {
  const map: ValueMap = new Map();
  const counts = new Map<string, number>();
  for (const [key, value] of entries) {
    let unique = key;
    while (map.has(unique)) {
      const count = (counts.get(key) ?? 1) + 1;
      counts.set(key, count);
      unique = `${key} ${count}`;
    }
    map.set(unique, value);
  }
  return map;
}
