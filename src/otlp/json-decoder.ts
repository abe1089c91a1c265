import type { LogRecord, Resource, Scope, Value, ValueMap } from "../plugin/index.ts";
import { isInt64 } from "./encode.ts";
import { LIBRARY, LIBRARY_LOGS, LIBRARY_RECORDS, severityNumberOf } from "./json-aliases.ts";
import { JsonPath } from "./json-path.ts";
import { parseInteger } from "./json-number.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import type { RequestFindings, WrongValue } from "./findings.ts";
import { REQUEST_RECORDS_MAX, tooManyRecords } from "./request-limits.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** One record as parsed JSON, with what it shares with others. */
export interface JsonRecord {
  readonly json: JsonObject;
  readonly timestamp: bigint;
  readonly observedTimestamp: bigint;
  readonly resource: Resource;
  readonly scope: Scope;
  readonly resourceLogs: JsonObject;
  readonly scopeLogs: JsonObject;
  /** Its place: of the ResourceLogs, of the ScopeLogs in it, of the record in these. */
  readonly place: readonly [number, number, number];
}

/** The trace flags of W3C; the bits above are reserved. */
const FLAGS_MASK = 0xff;

const TRACE_ID_DIGITS = 32;
const SPAN_ID_DIGITS = 16;
/** Hex digits that are not all zero. */
const VALID_ID = /^0*[1-9a-f][0-9a-f]*$/i;
const NO_ID = /^0*$/;

/** Whole nanoseconds as nearly all write them, far from the end of 64 bits. */
const USUAL_TIME = /^\d{1,19}$/;

export const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;
const DOUBLES = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);
const DECIMAL = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

const SHOWN_CHARS_MAX = 60;

const UINT64_MAX = 2n ** 64n - 1n;

/**
 * Makes records of the parsed JSON of an ExportLogsServiceRequest (proto3's JSON mapping as OTLP has it, and as
 * languages write it, otel.md "Seen on the wire"). Null stands for absent, unknown members are ignored, lone
 * surrogates become U+FFFD. All methods throw WrongValue, with the path of what is wrong.
 */
export class JsonDecoder {
  /** Whether a 64-bit integer was a bare number too large to have kept its digits. */
  lostDigits = false;
  readonly #path = new JsonPath();
  readonly #findings: RequestFindings | undefined;
  /** The place of the first member that is unknown and may have held records. */
  #unknown: string | undefined;

  /** With `findings`, what is wrong with a part of the request costs that part alone. */
  constructor(findings?: RequestFindings) {
    this.#findings = findings;
  }

  /**
   * Finds all records, in the order sent.
   * @throws TailgateError OTLP_UNDECODABLE for too many.
   */
  locate(given: unknown): JsonRecord[] {
    const records: JsonRecord[] = [];
    this.#path.goTo();
    if (this.#findings !== undefined && Array.isArray(given)) {
      this.#findings.unrecognized(unrecognizedText(given));
      return records;
    }
    const request = this.#object(given);
    this.#lookForUnknown(request, REQUEST_NAMES);
    this.#eachSound(request, "resourceLogs", recordsOfResourceLogs, (resourceLogs, place) =>
      this.#locateIn(resourceLogs, place, records),
    );
    if (records.length === 0 && this.#unknown !== undefined) {
      const isOther = !Object.keys(request).some((name) => REQUEST_NAMES.has(name));
      const unknown = `${this.#unknown} is no field of an ExportLogsServiceRequest.`;
      this.#findings?.unrecognized(isOther ? unrecognizedText(request) : unknown);
    }
    return records;
  }

  #locateIn(resourceLogs: JsonObject, resourcePlace: number, records: JsonRecord[]): void {
    this.#lookForUnknown(resourceLogs, RESOURCE_LOGS_NAMES);
    const resource = this.#resource(resourceLogs);
    const name = scopeLogsName(resourceLogs);
    this.#eachSound(resourceLogs, name, recordsOfScopeLogs, (scopeLogs, scopePlace) => {
      this.#lookForUnknown(scopeLogs, SCOPE_LOGS_NAMES);
      const scope = this.#scope(scopeLogs);
      const shared = { resource, scope, resourceLogs, scopeLogs };
      this.#eachSound(scopeLogs, recordsName(scopeLogs), oneRecord, (json, place) => {
        const timestamp = this.#time(json, "timeUnixNano");
        const observedTimestamp = this.#time(json, "observedTimeUnixNano");
        this.#lookForContents(json);
        const at = [resourcePlace, scopePlace, place] as const;
        records.push({ json, timestamp, observedTimestamp, ...shared, place: at });
        if (records.length > REQUEST_RECORDS_MAX) throw tooManyRecords(this.#path.toString());
      });
    });
  }

  #lookForUnknown(json: JsonObject, known: ReadonlySet<string>): void {
    if (this.#findings === undefined || this.#unknown !== undefined) return;
    const unknown = Object.keys(json).find((name) => !known.has(name));
    if (unknown === undefined) return;
    this.#path.enter(unknown.slice(0, SHOWN_CHARS_MAX));
    this.#unknown = this.#path.toString();
    this.#path.leave();
  }

  /** Tells of a record that is not empty and has nothing that is known. */
  #lookForContents(json: JsonObject): void {
    const names = Object.keys(json);
    if (names.length === 0 || names.some((name) => RECORD_NAMES.has(name))) return;
    this.#findings?.emptyRecord(this.#path.toString());
  }

  /** The record of that place, which was parsed alone. */
  locateRecord(json: unknown, place: JsonRecord["place"]): JsonRecord {
    this.#goToRecord(place);
    const record = this.#object(json);
    this.#lookForContents(record);
    return {
      json: record,
      timestamp: this.#time(record, "timeUnixNano"),
      observedTimestamp: this.#time(record, "observedTimeUnixNano"),
      resource: { attributes: new Map() },
      scope: { name: "", version: "", attributes: new Map() },
      resourceLogs: {},
      scopeLogs: {},
      place,
    };
  }

  /** Throws if the resource of that ResourceLogs is wrong. */
  checkResource(resourceLogs: JsonObject, resourcePlace: number): void {
    this.#path.goTo("resourceLogs", resourcePlace);
    this.#resource(resourceLogs);
  }

  /** Throws if the scope of that ScopeLogs is wrong. */
  checkScope(scopeLogs: JsonObject, resourcePlace: number, scopePlace: number): void {
    this.#path.goTo("resourceLogs", resourcePlace, "scopeLogs", scopePlace);
    this.#scope(scopeLogs);
  }

  record(located: JsonRecord): LogRecord {
    const { json, timestamp, observedTimestamp, resource, scope, place } = located;
    this.#goToRecord(place);
    return {
      timestamp,
      observedTimestamp,
      severityNumber: this.#severityNumber(json),
      severityText: this.#text(json, "severityText"),
      body: this.#member(json, "body", 0),
      eventName: this.#text(json, "eventName"),
      attributes: this.#attributes(json, "attributes", 0),
      traceId: this.#id(json, "traceId", TRACE_ID_DIGITS),
      spanId: this.#id(json, "spanId", SPAN_ID_DIGITS),
      flags: this.#number(json, "flags") & FLAGS_MASK,
      resource,
      scope,
    };
  }

  #goToRecord([resourcePlace, scopePlace, recordPlace]: JsonRecord["place"]): void {
    this.#path.goTo(
      "resourceLogs",
      resourcePlace,
      "scopeLogs",
      scopePlace,
      "logRecords",
      recordPlace,
    );
  }

  #resource(resourceLogs: JsonObject): Resource {
    const resource = this.#optionalObject(resourceLogs, "resource");
    this.#path.enter("resource");
    const attributes = this.#attributes(resource, "attributes", 0);
    this.#path.leave();
    return { attributes };
  }

  #scope(scopeLogs: JsonObject): Scope {
    const name = isThere(scopeLogs["scope"]) ? "scope" : LIBRARY;
    const json = this.#optionalObject(scopeLogs, name);
    this.#path.enter(name);
    const scope = {
      name: this.#text(json, "name"),
      version: this.#text(json, "version"),
      attributes: this.#attributes(json, "attributes", 0),
    };
    this.#path.leave();
    return scope;
  }

  #attributes(holder: JsonObject, name: string, depth: number): ValueMap {
    const attributes: ValueMap = new Map();
    this.#each(holder, name, (pair) => {
      attributes.set(this.#text(pair, "key"), this.#member(pair, "value", depth));
    });
    return attributes;
  }

  /** Reads a member that is an AnyValue; `depth` lists and maps are around it. */
  #member(holder: JsonObject, name: string, depth: number): Value {
    const member = holder[name];
    if (member === undefined || member === null) return null;
    this.#path.enter(name);
    const value = this.#value(this.#object(member), depth);
    this.#path.leave();
    return value;
  }

  #value(json: JsonObject, depth: number): Value {
    if (isThere(json["stringValue"])) return this.#text(json, "stringValue");
    if (isThere(json["intValue"])) return this.#int64(json["intValue"]);
    if (json["doubleValue"] !== undefined) return this.#double(json["doubleValue"]);
    if (isThere(json["boolValue"])) return this.#boolean(json["boolValue"]);
    if (isThere(json["kvlistValue"])) return this.#nested(json, "kvlistValue", depth);
    if (isThere(json["arrayValue"])) return this.#nested(json, "arrayValue", depth);
    if (isThere(json["bytesValue"])) return this.#bytes(json);
    return null;
  }

  #nested(json: JsonObject, name: "kvlistValue" | "arrayValue", depth: number): Value {
    if (depth >= DEPTH_MAX) return DEPTH_TEXT;
    const holder = this.#optionalObject(json, name);
    this.#path.enter(name);
    const value =
      name === "kvlistValue"
        ? this.#attributes(holder, "values", depth + 1)
        : this.#list(holder, depth + 1);
    this.#path.leave();
    return value;
  }

  #list(holder: JsonObject, depth: number): Value[] {
    const list: Value[] = [];
    for (const [index, element] of this.#elements(holder, "values").entries()) {
      this.#path.enter("values");
      this.#path.enter(index);
      list.push(element === null ? null : this.#value(this.#object(element), depth));
      this.#path.leave();
      this.#path.leave();
    }
    return list;
  }

  /** An integer outside of int64 is the nearest double: JavaScript's SDK sends all whole numbers as integers. */
  #int64(value: unknown): Value {
    const integer = this.#integer(value);
    if (integer === undefined) throw this.#unexpected("intValue", value, "an integer");
    if (typeof integer === "number") return integer;
    const number = Number(integer);
    return isInt64(integer) && !Number.isSafeInteger(number) ? integer : number;
  }

  /** JSON has no NaN; JavaScript's SDK sends it, and the infinities, as null. */
  #double(value: unknown): number {
    if (typeof value === "number") return value;
    if (value === null) return Number.NaN;
    const double = typeof value === "string" ? doubleOf(value) : undefined;
    if (double === undefined) throw this.#unexpected("doubleValue", value, "a number");
    return double;
  }

  #boolean(value: unknown): boolean {
    if (typeof value !== "boolean") throw this.#unexpected("boolValue", value, "true or false");
    return value;
  }

  #bytes(json: JsonObject): Uint8Array {
    const text = this.#text(json, "bytesValue");
    if (!BASE64.test(text)) throw this.#unexpected("bytesValue", text, "base64");
    return Uint8Array.from(Buffer.from(text, "base64"));
  }

  #time(json: JsonObject, name: string): bigint {
    const value = json[name];
    if (!isThere(value)) return 0n;
    if (typeof value === "string" && USUAL_TIME.test(value)) return BigInt(value);
    const integer = this.#integer(value);
    const nanos = integer !== undefined && Number.isFinite(Number(integer)) ? BigInt(integer) : -1n;
    if (nanos < 0n || nanos > UINT64_MAX) {
      throw this.#unexpected(name, value, "a time in nanoseconds since 1970");
    }
    return nanos;
  }

  /** A 64-bit integer, as number where it is small; undefined for what is none. */
  #integer(value: unknown): bigint | number | undefined {
    if (typeof value === "string") return parseInteger(value);
    if (!Number.isInteger(value)) return undefined;
    if (!Number.isSafeInteger(value)) this.lostDigits = true;
    return value as number;
  }

  #severityNumber(json: JsonObject): number {
    const value = json["severityNumber"];
    const named = typeof value === "string" ? severityNumberOf(value) : undefined;
    return named ?? this.#number(json, "severityNumber");
  }

  /** A small number, 0 where it is absent. */
  #number(json: JsonObject, name: string): number {
    const value = json[name];
    if (!isThere(value)) return 0;
    const integer = typeof value === "string" ? parseInteger(value) : value;
    if (typeof integer !== "number" || !Number.isSafeInteger(integer)) {
      throw this.#unexpected(name, value, "an integer");
    }
    return integer;
  }

  #text(json: JsonObject, name: string): string {
    const value = json[name];
    if (!isThere(value)) return "";
    if (typeof value !== "string") throw this.#unexpected(name, value, "a string");
    return value.isWellFormed() ? value : value.toWellFormed();
  }

  /** An id in lower case; "" for one that the specification has as invalid. */
  #id(json: JsonObject, name: string, digits: number): string {
    const id = this.#text(json, name);
    if (id.length === digits && VALID_ID.test(id)) return id.toLowerCase();
    const isAbsent = id === "" || (id.length === digits && NO_ID.test(id));
    if (!isAbsent && this.#findings !== undefined) {
      this.#path.enter(name);
      this.#findings.invalidId(
        `${this.#path.toString()}: ${shown(id)} is not ${digits} hex digits`,
      );
      this.#path.leave();
    }
    return "";
  }

  /** Calls `read` for each object of a list. */
  #each(
    holder: JsonObject,
    name: string,
    read: (element: JsonObject, index: number) => void,
  ): void {
    const elements = this.#elements(holder, name);
    this.#path.enter(name);
    for (let index = 0; index < elements.length; index++) {
      this.#path.enter(index);
      read(this.#object(elements[index]), index);
      this.#path.leave();
    }
    this.#path.leave();
  }

  /** The same; a wrong element is rejected with all of its records. */
  #eachSound(
    holder: JsonObject,
    name: string,
    recordsOf: (element: unknown) => number,
    read: (element: JsonObject, index: number) => void,
  ): void {
    const findings = this.#findings;
    if (findings === undefined) return this.#each(holder, name, read);
    const elements = this.#elements(holder, name);
    this.#path.enter(name);
    const { depth } = this.#path;
    for (const [index, element] of elements.entries()) {
      this.#path.enter(index);
      try {
        read(this.#object(element), index);
      } catch (error) {
        findings.reject(recordsOf(element), error);
      }
      this.#path.backTo(depth);
    }
    this.#path.leave();
  }

  #elements(holder: JsonObject, name: string): readonly unknown[] {
    const list = holder[name];
    if (!isThere(list)) return [];
    if (!Array.isArray(list)) throw this.#unexpected(name, list, "an array");
    return list;
  }

  #optionalObject(holder: JsonObject, name: string): JsonObject {
    const member = holder[name];
    if (!isThere(member)) return {};
    if (!isObject(member)) throw this.#unexpected(name, member, "an object");
    return member;
  }

  #object(value: unknown): JsonObject {
    if (!isObject(value)) throw this.#path.wrongValue(`${shown(value)} is not an object`);
    return value;
  }

  #unexpected(name: string, value: unknown, expected: string): WrongValue {
    this.#path.enter(name);
    return this.#path.wrongValue(`${shown(value)} is not ${expected}`);
  }
}

const REQUEST_NAMES: ReadonlySet<string> = new Set(["resourceLogs"]);
const RESOURCE_LOGS_NAMES: ReadonlySet<string> = new Set([
  "resource",
  "scopeLogs",
  "schemaUrl",
  LIBRARY_LOGS,
]);
const SCOPE_LOGS_NAMES: ReadonlySet<string> = new Set([
  "scope",
  "logRecords",
  "schemaUrl",
  LIBRARY,
  LIBRARY_RECORDS,
]);
const RECORD_NAMES: ReadonlySet<string> = new Set([
  "timeUnixNano",
  "observedTimeUnixNano",
  "severityNumber",
  "severityText",
  "body",
  "eventName",
  "attributes",
  "droppedAttributesCount",
  "flags",
  "traceId",
  "spanId",
]);

/** Records under the name of older senders count only without others, as in the OpenTelemetry Collector. */
function scopeLogsName(resourceLogs: JsonObject): string {
  const list = resourceLogs["scopeLogs"];
  const isEmpty = !isThere(list) || (Array.isArray(list) && list.length === 0);
  return isEmpty && isThere(resourceLogs[LIBRARY_LOGS]) ? LIBRARY_LOGS : "scopeLogs";
}

function recordsName(scopeLogs: JsonObject): string {
  return !isThere(scopeLogs["logRecords"]) && isThere(scopeLogs[LIBRARY_RECORDS])
    ? LIBRARY_RECORDS
    : "logRecords";
}

/** How many records an element has, as far as that can be told. */
function recordsOfResourceLogs(element: unknown): number {
  const list = isObject(element) ? element[scopeLogsName(element)] : undefined;
  const scopes: readonly unknown[] = Array.isArray(list) ? list : [];
  return scopes.reduce<number>((sum, scopeLogs) => sum + recordsOfScopeLogs(scopeLogs), 0);
}

function recordsOfScopeLogs(element: unknown): number {
  const list = isObject(element) ? element[recordsName(element)] : undefined;
  return Array.isArray(list) ? list.length : 0;
}

function oneRecord(): number {
  return 1;
}

/** What other signals' requests have in the place of `resourceLogs`, and where they are sent. */
const OTHER_SIGNALS = new Map([
  ["resourceSpans", "/v1/traces"],
  ["resource_spans", "/v1/traces"],
  ["resourceMetrics", "/v1/metrics"],
  ["resource_metrics", "/v1/metrics"],
  ["resourceProfiles", "/v1development/profiles"],
  ["resource_profiles", "/v1development/profiles"],
]);

/** Says what a document is that is no request, and what to do. */
export function unrecognizedText(document: JsonObject | readonly unknown[]): string {
  if (Array.isArray(document)) {
    return 'the body is a JSON array. Send an object: {"resourceLogs": [...]}.';
  }
  const names = Object.keys(document);
  const signal = names.find((name) => OTHER_SIGNALS.has(name));
  if (signal !== undefined) {
    return `the body has \`${signal}\`, which belongs to ${OTHER_SIGNALS.get(signal)}.`;
  }
  if (names.includes("scopeLogs") || names.includes(LIBRARY_LOGS)) {
    return 'the body is a ResourceLogs by itself. Send it as {"resourceLogs": [...]}.';
  }
  return "the body has no `resourceLogs`, so it is not an ExportLogsServiceRequest.";
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function doubleOf(text: string): number | undefined {
  return DOUBLES.get(text) ?? (DECIMAL.test(text) ? Number(text) : undefined);
}

/** A value as an error's text shows it. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  return isObject(value) ? "an object" : JSON.stringify(value).slice(0, SHOWN_CHARS_MAX);
}
