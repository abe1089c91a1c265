import { isUtf8 } from "node:buffer";
import { textOf, type TailgateError } from "../wire/errors.ts";
import { jsonName, LIBRARY, LIBRARY_LOGS, LIBRARY_RECORDS, withJsonNames } from "./json-aliases.ts";
import { JsonDecoder, unrecognizedText } from "./json-decoder.ts";
import { quoteIntegers } from "./json-number.ts";
import { recordPieceOfJson, resourcePieceOfJson, scopePieceOfJson } from "./json-otlp-writer.ts";
import { JsonPath } from "./json-path.ts";
import { buildRequest } from "./encode.ts";
import { type RequestFindings, undecodable } from "./findings.ts";
import {
  PART_BYTES_MAX,
  PART_VALUES_MAX,
  PartBudget,
  REQUEST_RECORDS_MAX,
  tooManyRecords,
  tooManyValues,
  STEP_BYTES,
  type Steps,
} from "./request-limits.ts";
import { protobufOfUsualRecord } from "./usual-json.ts";

/** A value has at most six commas, braces and brackets: `{"key":"a","value":{"intValue":1}},`. */
const MARKS_MAX = 6 * PART_VALUES_MAX;

/** A level of a value has four levels of JSON, and deeper ones than `DEPTH_MAX` of these do not show. */
const DEPTH_KEPT = 500;

/** So many resources, scopes and records that are not of the usual form are a step of their own. */
const EXACT_STEP_BYTES = 4 << 10;

/** An unknown member is told by so much of its name. */
const NAME_CHARS_MAX = 60;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;
const NULL = Buffer.from("null");
const BYTE_ORDER_MARK = Buffer.from("\uFEFF");

interface ResourcePlace {
  piece: Uint8Array;
}

interface ScopePlace {
  readonly resource: ResourcePlace;
  piece: Uint8Array;
}

interface RecordPlace {
  readonly scope: ScopePlace;
  readonly piece: Uint8Array;
}

/** A piece of JSON, from one byte to another, without what is nested too deep. */
interface Part {
  readonly start: number;
  readonly end: number;
  readonly text: string | undefined;
}

type ReadMember = (name: string) => Steps<void> | undefined;

/**
 * An ExportLogsServiceRequest in JSON as protobuf, read record by record: no part of it is parsed before it is known that
 * it is neither too large nor has too many values, and what is nested too deep is not parsed at all.
 * What is wrong with a part of the request is told to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function protobufOfLargeJson(
  body: Uint8Array,
  findings?: RequestFindings,
): Steps<Uint8Array> {
  return new LargeJson(body, findings).request();
}

class LargeJson {
  readonly #bytes: Buffer;
  readonly #isUtf8: boolean;
  readonly #findings: RequestFindings | undefined;
  readonly #path = new JsonPath();
  readonly #records: RecordPlace[] = [];
  readonly #budget = new PartBudget();
  /** The place of the first member that is unknown and may have held records. */
  #unknown: string | undefined;
  #place = 0;
  #nextStep = STEP_BYTES;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array, findings?: RequestFindings) {
    this.#bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.#isUtf8 = isUtf8(this.#bytes);
    this.#findings = findings;
  }

  *request(): Steps<Uint8Array> {
    if (this.#bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)) {
      this.#place = BYTE_ORDER_MARK.length;
    }
    const names: Record<string, true> = {};
    if (this.#findings !== undefined && this.#isArray()) this.#unrecognizedArray();
    else {
      yield* this.#object((name) => {
        names[name] = true;
        return name === "resourceLogs" ? this.#allResourceLogs() : undefined;
      });
    }
    this.#skipSpace();
    if (this.#place < this.#bytes.length) throw this.#wrongText();
    const records = this.#records;
    if (records.length === 0) this.#tellUnknown(names);
    return buildRequest(records.length, (index) => {
      const { scope, piece } = records[index]!;
      return { resource: scope.resource.piece, scope: scope.piece, record: piece };
    });
  }

  #isArray(): boolean {
    this.#skipSpace();
    return this.#bytes[this.#place] === OPEN_BRACKET;
  }

  #unrecognizedArray(): void {
    parsed(this.#textOf(this.#part()));
    this.#findings?.unrecognized(unrecognizedText([]));
  }

  #tellUnknown(names: Readonly<Record<string, true>>): void {
    if (this.#unknown === undefined) return;
    const isOther = names["resourceLogs"] === undefined;
    const unknown = `${this.#unknown} is no field of an ExportLogsServiceRequest.`;
    this.#findings?.unrecognized(isOther ? unrecognizedText(names) : unknown);
  }

  /** Of a member that is there twice the last one counts, as with JSON.parse. */
  *#allResourceLogs(): Steps<void> {
    this.#records.length = 0;
    yield* this.#array("resourceLogs", (index) => this.#resourceLogs(index));
  }

  *#resourceLogs(resourceIndex: number): Steps<void> {
    const first = this.#records.length;
    const resource: ResourcePlace = { piece: new Uint8Array() };
    const json: Record<string, unknown> = {};
    const ofLibraries: RecordPlace[] = [];
    let hasScopes = false;
    yield* this.#object((name) => {
      if (name === "scopeLogs") {
        this.#records.length = first;
        return this.#allScopeLogs(name, resource, resourceIndex, () => (hasScopes = true));
      }
      if (name === LIBRARY_LOGS) return this.#libraryLogs(resource, resourceIndex, ofLibraries);
      return name === "resource" || name === "schemaUrl" ? this.#keep(name, json) : undefined;
    });
    if (!hasScopes) for (const record of ofLibraries) this.#records.push(record);
    new JsonDecoder().checkResource(json, resourceIndex);
    yield;
    resource.piece = resourcePieceOfJson(json);
  }

  /** Records under the name of older senders count only without others, as in the OpenTelemetry Collector. */
  *#libraryLogs(resource: ResourcePlace, resourceIndex: number, into: RecordPlace[]): Steps<void> {
    const from = this.#records.length;
    yield* this.#allScopeLogs(LIBRARY_LOGS, resource, resourceIndex, () => {});
    into.splice(0, into.length);
    for (const record of this.#records.splice(from)) into.push(record);
  }

  *#allScopeLogs(
    name: string,
    resource: ResourcePlace,
    resourceIndex: number,
    found: () => void,
  ): Steps<void> {
    yield* this.#array(name, (index) => {
      found();
      return this.#scopeLogs(resource, resourceIndex, index);
    });
  }

  *#scopeLogs(resource: ResourcePlace, resourceIndex: number, scopeIndex: number): Steps<void> {
    const first = this.#records.length;
    const scope: ScopePlace = { resource, piece: new Uint8Array() };
    const json: Record<string, unknown> = {};
    yield* this.#object((name) => {
      if (name === "logRecords" || name === LIBRARY_RECORDS) {
        return this.#allRecords(name, scope, [resourceIndex, scopeIndex], first);
      }
      const isKept = name === "scope" || name === LIBRARY || name === "schemaUrl";
      return isKept ? this.#keep(name, json) : undefined;
    });
    new JsonDecoder().checkScope(json, resourceIndex, scopeIndex);
    yield;
    scope.piece = scopePieceOfJson(json);
  }

  *#allRecords(
    name: string,
    scope: ScopePlace,
    [resourceIndex, scopeIndex]: readonly [number, number],
    first: number,
  ): Steps<void> {
    this.#records.length = first;
    yield* this.#array(
      name,
      (index) => this.#record(scope, [resourceIndex, scopeIndex, index]),
      true,
    );
  }

  *#record(scope: ScopePlace, place: readonly [number, number, number]): Steps<void> {
    const part = this.#part();
    const usual = part.text === undefined ? this.#usual(part) : undefined;
    const piece = usual ?? (yield* this.#exact(part, place));
    this.#records.push({ scope, piece });
    if (this.#records.length > REQUEST_RECORDS_MAX) throw tooManyRecords(this.#path.toString());
  }

  #usual({ start, end }: Part): Uint8Array | undefined {
    return this.#isUtf8 ? protobufOfUsualRecord(this.#bytes.subarray(start, end)) : undefined;
  }

  *#exact(part: Part, place: readonly [number, number, number]): Steps<Uint8Array> {
    const isLarge = part.end - part.start > EXACT_STEP_BYTES;
    if (isLarge) yield;
    let text = withJsonNames(this.#textOf(part));
    // Once more with all digits of its integers, if some were lost.
    for (let isLast = false; ; isLast = true) {
      const json = parsed(text);
      if (isLarge) yield;
      const decoder = new JsonDecoder(isLast ? undefined : this.#findings);
      const located = decoder.locateRecord(json, place);
      decoder.record(located);
      if (isLarge) yield;
      if (!decoder.lostDigits || isLast) {
        return recordPieceOfJson(located.json, located.timestamp, located.observedTimestamp);
      }
      text = quoteIntegers(text);
    }
  }

  /** Parses a member of which something is made when its object has ended. */
  *#keep(name: string, json: Record<string, unknown>): Steps<void> {
    const part = this.#part();
    if (part.end - part.start > EXACT_STEP_BYTES) yield;
    json[name] = parsed(quoteIntegers(withJsonNames(this.#textOf(part))));
  }

  /** Reads an object, or null, and lets `read` take its members; those that it leaves are only looked at. */
  *#object(read: ReadMember): Steps<void> {
    this.#expect(OPEN_BRACE, "an object");
    if (this.#take(CLOSE_BRACE)) return;
    do {
      this.#budget.add(this.#place);
      const name = jsonName(this.#name());
      if (!this.#take(COLON)) throw this.#wrongText();
      const steps = read(name);
      if (steps !== undefined) yield* steps;
      else {
        this.#noteUnknown(name);
        parsed(this.#textOf(this.#part()));
      }
      if (this.#isStep()) yield;
    } while (this.#take(COMMA));
    if (!this.#take(CLOSE_BRACE)) throw this.#wrongText();
  }

  #noteUnknown(name: string): void {
    if (this.#unknown !== undefined) return;
    this.#path.enter(name.slice(0, NAME_CHARS_MAX));
    this.#unknown = this.#path.toString();
    this.#path.leave();
  }

  *#array(name: string, read: (index: number) => Steps<void>, isOfRecords = false): Steps<void> {
    if (this.#takeNull()) return;
    this.#path.enter(name);
    this.#expect(OPEN_BRACKET, "an array");
    if (!this.#take(CLOSE_BRACKET)) {
      let index = 0;
      do {
        this.#path.enter(index);
        yield* this.#element(read(index++), isOfRecords);
        this.#path.leave();
        if (this.#isStep()) yield;
      } while (this.#take(COMMA));
      if (!this.#take(CLOSE_BRACKET)) throw this.#wrongText();
    }
    this.#path.leave();
  }

  /** Reads an element of a list; if something in it is wrong, its records are rejected. */
  *#element(steps: Steps<void>, isRecord: boolean): Steps<void> {
    this.#skipSpace();
    const start = this.#place;
    const { depth } = this.#path;
    const first = this.#records.length;
    try {
      yield* steps;
    } catch (error) {
      if (this.#findings === undefined) throw error;
      this.#findings.reject(isRecord ? 1 : this.#records.length - first, error);
      this.#records.length = first;
      this.#path.backTo(depth);
      this.#place = start;
      this.#skipValue();
      // What is no JSON at all is refused as a whole.
      if (this.#place - start <= PART_BYTES_MAX) parsed(this.#text(start, this.#place));
    }
  }

  /** Goes past a value, however large it is. */
  #skipValue(): void {
    const bytes = this.#bytes;
    let depth = 0;
    let place = this.#place;
    for (; place < bytes.length; place++) {
      const byte = bytes[place]!;
      if (byte === QUOTE) place = this.#endOfString(place, bytes.length) - 1;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (depth-- === 0) break;
      } else if (byte === COMMA && depth === 0) break;
    }
    this.#place = Math.min(place, bytes.length);
  }

  #isStep(): boolean {
    if (this.#place < this.#nextStep) return false;
    this.#nextStep = this.#place + STEP_BYTES;
    return true;
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    let place = this.#place;
    let byte = bytes[place];
    while (byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = bytes[++place];
    if (place - this.#place > PART_BYTES_MAX) throw this.#tooLarge();
    this.#place = place;
  }

  #take(byte: number): boolean {
    this.#skipSpace();
    if (this.#bytes[this.#place] !== byte) return false;
    this.#place++;
    return true;
  }

  #takeNull(): boolean {
    this.#skipSpace();
    const end = this.#place + NULL.length;
    if (!this.#bytes.subarray(this.#place, end).equals(NULL)) return false;
    this.#place = end;
    return true;
  }

  #expect(byte: number, what: string): void {
    if (this.#take(byte)) return;
    if (this.#place >= this.#bytes.length) throw this.#wrongText();
    throw this.#path.wrongValue(`it is not ${what}`);
  }

  #name(): string {
    this.#skipSpace();
    const start = this.#place;
    if (this.#bytes[start] !== QUOTE) throw this.#wrongText();
    const limit = Math.min(this.#bytes.length, start + PART_BYTES_MAX);
    const end = this.#endOfString(start, limit);
    if (end - start > PART_BYTES_MAX) throw this.#tooLarge();
    this.#place = end;
    return parsed(this.#bytes.toString("utf8", start, end)) as string;
  }

  /** Goes past a value, which ends in any case at the comma or the bracket behind it. */
  #part(): Part {
    const bytes = this.#bytes;
    const start = this.#place;
    const limit = Math.min(bytes.length, start + PART_BYTES_MAX + 1);
    const kept: string[] = [];
    let keptFrom = start;
    let depth = 0;
    let marks = 0;
    let place = start;
    for (; place < limit; place++) {
      const byte = bytes[place]!;
      if (byte === QUOTE) place = this.#endOfString(place, limit) - 1;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (depth++ === DEPTH_KEPT) kept.push(this.#text(keptFrom, place));
        if (depth <= DEPTH_KEPT) marks++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (depth === 0) break;
        if (--depth === DEPTH_KEPT) keptFrom = place + 1;
      } else if (byte === COMMA) {
        if (depth === 0) break;
        if (depth <= DEPTH_KEPT) marks++;
      }
      if (marks > MARKS_MAX) throw tooManyValues(this.#path.toString());
    }
    if (place - start > PART_BYTES_MAX) throw this.#tooLarge();
    this.#place = place;
    if (kept.length === 0) return { start, end: place, text: undefined };
    return { start, end: place, text: [...kept, this.#text(keptFrom, place)].join("null") };
  }

  #text(start: number, end: number): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.#bytes.subarray(start, end));
  }

  #tooLarge(): TailgateError {
    return this.#path.wrong(`a part of it has more than ${PART_BYTES_MAX} bytes`);
  }

  /** The place behind the quote that ends the string which begins at `start`. */
  #endOfString(start: number, limit: number): number {
    const bytes = this.#bytes;
    let place = start + 1;
    while (place < limit && bytes[place] !== QUOTE) place += bytes[place] === BACKSLASH ? 2 : 1;
    return place + 1;
  }

  #textOf({ start, end, text }: Part): string {
    return text ?? this.#text(start, end);
  }

  #wrongText(): TailgateError {
    return undecodable("its text", `it is no JSON at byte ${this.#place}`);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw undecodable("its text", textOf(error));
  }
}
