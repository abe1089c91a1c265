import { endOfString, endOfValue } from "../envelope/audit-line.ts";
import { TailgateError } from "../wire/errors.ts";
import { encodeAttribute } from "./encode.ts";
import { undecodable } from "./findings.ts";
import { ProtobufReader, ProtobufWriter } from "./protobuf.ts";
import { PART_BYTES_MAX, REQUEST_RECORDS_MAX, STEP_BYTES, type Steps } from "./request-limits.ts";
import {
  KEY_VALUE,
  LOG_RECORD,
  REQUEST,
  RESOURCE_LOGS,
  SCOPE_LOGS,
  type Message,
} from "./schema.ts";

/** An attribute that a receiver adds: its name, and its value as text, number or boolean. */
export type AddedAttributes = Readonly<Record<string, string | number | boolean>>;

/** Attributes that are added to the records of ExportLogsServiceRequests, in the forms that the requests need. */
export class AttributeAdditions {
  readonly names: readonly string[];
  /** The names in UTF-8. */
  readonly keys: readonly Uint8Array[];
  /** Each as a field of a LogRecord message. */
  readonly fields: readonly Uint8Array[];
  /** Each as an element of a record's `attributes` in JSON. */
  readonly elements: readonly string[];

  constructor(attributes: AddedAttributes) {
    const entries = Object.entries(attributes);
    this.names = entries.map(([name]) => name);
    this.keys = this.names.map((name) => Buffer.from(name));
    this.fields = entries.map(([name, value]) => encodeAttribute(name, value));
    this.elements = entries.map(
      ([name, value]) => `{"key":${JSON.stringify(name)},"value":${jsonValue(value)}}`,
    );
  }

  /**
   * Returns a request in protobuf with the attributes appended to each record that lacks them; all other bytes stay as they
   * are. A request that is malformed is returned unchanged, so that it is rejected as every other.
   */
  *toProtobuf(request: Uint8Array): Steps<Uint8Array> {
    return yield* orUnchanged(request, new ProtobufAddition(request, this).steps());
  }

  /** Returns a request in JSON, as {@link toProtobuf} does. */
  *toJson(request: Uint8Array): Steps<Uint8Array> {
    return yield* orUnchanged(request, new JsonAddition(request, this).steps());
  }
}

function* orUnchanged(request: Uint8Array, steps: Steps<Uint8Array>): Steps<Uint8Array> {
  try {
    return yield* steps;
  } catch (error) {
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return request;
    throw error;
  }
}

function jsonValue(value: AddedAttributes[string]): string {
  if (typeof value === "string") return `{"stringValue":${JSON.stringify(value)}}`;
  if (typeof value === "boolean") return `{"boolValue":${value}}`;
  // As in protobuf: whole numbers are integers.
  if (Object.is(value, -0)) return '{"doubleValue":-0.0}';
  return Number.isSafeInteger(value) ? `{"intValue":"${value}"}` : `{"doubleValue":${value}}`;
}

/** Counts the records of a request and the bytes of a step. */
class Progress {
  #records = 0;
  #nextStep = STEP_BYTES;

  /** @throws TailgateError OTLP_UNDECODABLE if there are more records than a request may have. */
  addRecord(): void {
    if (++this.#records > REQUEST_RECORDS_MAX) throw undecodable("its end", "too many records");
  }

  isStep(position: number): boolean {
    if (position < this.#nextStep) return false;
    this.#nextStep = position + STEP_BYTES;
    return true;
  }
}

const { attributes: RECORD_ATTRIBUTES } = LOG_RECORD.tags;
const { key: KEY } = KEY_VALUE.tags;

/** The messages that lead to the records, by the tag of their field in the message around them. */
const INNER: ReadonlyMap<Message, ReadonlyMap<number, Message>> = new Map<
  Message,
  ReadonlyMap<number, Message>
>([
  [REQUEST, new Map([[REQUEST.tags.resourceLogs, RESOURCE_LOGS]])],
  [
    RESOURCE_LOGS,
    new Map([
      [RESOURCE_LOGS.tags.scopeLogs, SCOPE_LOGS],
      [RESOURCE_LOGS.tags.instrumentationLibraryLogs, SCOPE_LOGS],
    ]),
  ],
  [SCOPE_LOGS, new Map([[SCOPE_LOGS.tags.logRecords, LOG_RECORD]])],
]);

class ProtobufAddition {
  readonly #reader: ProtobufReader;
  readonly #writer = new ProtobufWriter();
  readonly #additions: AttributeAdditions;
  readonly #progress = new Progress();
  /** Whether the current record has each of the attributes. */
  readonly #has: boolean[];

  constructor(request: Uint8Array, additions: AttributeAdditions) {
    this.#reader = new ProtobufReader(request);
    this.#additions = additions;
    this.#has = additions.names.map(() => false);
  }

  *steps(): Steps<Uint8Array> {
    yield* this.#message(REQUEST, 0, this.#reader.bytes.length);
    return this.#writer.take();
  }

  *#message(message: Message, start: number, end: number): Steps<void> {
    const reader = this.#reader;
    const writer = this.#writer;
    const inner = INNER.get(message)!;
    reader.position = start;
    while (reader.position < end) {
      const from = reader.position;
      const tag = reader.field(end);
      const innerMessage = inner.get(tag);
      if (innerMessage === undefined) {
        reader.ignore(tag, end, 0);
        writer.raw(reader.bytes.subarray(from, reader.position));
        continue;
      }
      const after = reader.position;
      if (innerMessage === LOG_RECORD) this.#record(tag, reader.start, reader.end);
      else {
        const opened = writer.open(tag);
        yield* this.#message(innerMessage, reader.start, reader.end);
        writer.close(opened);
      }
      reader.position = after;
      if (this.#progress.isStep(after)) yield;
    }
  }

  #record(tag: number, start: number, end: number): void {
    this.#progress.addRecord();
    const writer = this.#writer;
    const missing = this.#missingFields(start, end);
    let length = end - start;
    for (const field of missing) length += field.length;
    const isTooLarge = length > PART_BYTES_MAX;
    writer.varint(tag, isTooLarge ? end - start : length);
    writer.raw(this.#reader.bytes.subarray(start, end));
    if (!isTooLarge) for (const field of missing) writer.raw(field);
  }

  #missingFields(start: number, end: number): readonly Uint8Array[] {
    const reader = this.#reader;
    const { fields } = this.#additions;
    let missing = fields.length;
    this.#has.fill(false);
    reader.position = start;
    while (reader.position < end) {
      const tag = reader.field(end);
      if (tag !== RECORD_ATTRIBUTES) {
        reader.ignore(tag, end, 0);
        continue;
      }
      const index = this.#indexOfKey(reader.start, reader.end);
      if (index < 0 || this.#has[index]) continue;
      this.#has[index] = true;
      missing--;
    }
    return missing === fields.length ? fields : fields.filter((_, index) => !this.#has[index]);
  }

  /** Returns which of the attributes a KeyValue message has the key of; -1 if none. */
  #indexOfKey(start: number, end: number): number {
    const reader = this.#reader;
    const after = reader.position;
    let found = -1;
    reader.position = start;
    while (reader.position < end) {
      const tag = reader.field(end);
      // If a field is repeated, the last one counts.
      if (tag === KEY) found = this.#indexOf(reader.start, reader.end);
      else reader.ignore(tag, end, 0);
    }
    reader.position = after;
    return found;
  }

  #indexOf(start: number, end: number): number {
    const { keys } = this.#additions;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index]!;
      if (key.length === end - start && isAt(this.#reader.bytes, start, key)) return index;
    }
    return -1;
  }
}

function isAt(bytes: Uint8Array, start: number, wanted: Uint8Array): boolean {
  for (let index = 0; index < wanted.length; index++) {
    if (bytes[start + index] !== wanted[index]) return false;
  }
  return true;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;
const LOWER_N = 0x6e;
const BYTE_ORDER_MARK = Buffer.from("\uFEFF");

/** A record's list of attributes: where it ends, whether it is empty, and the names in it. */
interface AttributeList {
  readonly end: number;
  readonly isEmpty: boolean;
  readonly names: ReadonlySet<string>;
}

class JsonAddition {
  readonly #bytes: Buffer;
  readonly #additions: AttributeAdditions;
  readonly #progress = new Progress();
  /** The parts of the result, and up to where the request is in them. */
  readonly #parts: Uint8Array[] = [];
  #copied = 0;
  #position = 0;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array, additions: AttributeAdditions) {
    this.#bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.#additions = additions;
  }

  *steps(): Steps<Uint8Array> {
    const bytes = this.#bytes;
    if (bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)) {
      this.#position = BYTE_ORDER_MARK.length;
    }
    yield* this.#message(REQUEST);
    return Buffer.concat([...this.#parts, bytes.subarray(this.#copied)]);
  }

  /** Reads the objects that lead to records; other values are skipped. */
  *#message(message: Message): Steps<void> {
    if (!this.#accept(OPEN_BRACE)) {
      this.#skip();
      return;
    }
    const inner = INNER.get(message)!;
    for (let name; (name = this.#memberName()) !== undefined;) {
      const field = message.byJsonName.get(name);
      const innerMessage = field && inner.get(field.tag);
      if (innerMessage === undefined) this.#skip();
      else yield* this.#list(innerMessage);
      this.#endElement(CLOSE_BRACE);
      if (this.#progress.isStep(this.#position)) yield;
    }
  }

  *#list(message: Message): Steps<void> {
    if (!this.#accept(OPEN_BRACKET)) {
      this.#skip();
      return;
    }
    while (!this.#accept(CLOSE_BRACKET)) {
      if (message === LOG_RECORD) this.#record();
      else yield* this.#message(message);
      this.#endElement(CLOSE_BRACKET);
      if (this.#progress.isStep(this.#position)) yield;
    }
  }

  #record(): void {
    if (!this.#accept(OPEN_BRACE)) return this.#skip();
    this.#progress.addRecord();
    const start = this.#position;
    let isEmpty = true;
    // If it is repeated, the last one counts.
    let list: AttributeList | "absent" | "wrong" = "absent";
    for (let name; (name = this.#memberName()) !== undefined;) {
      isEmpty = false;
      if (name === "attributes") list = this.#attributes();
      else this.#skip();
      this.#endElement(CLOSE_BRACE);
    }
    if (list === "wrong") return;
    const names = list === "absent" ? undefined : list.names;
    const { names: wanted, elements } = this.#additions;
    const missing = elements.filter((_, index) => !names?.has(wanted[index]!));
    const text = missing.join(",");
    if (missing.length === 0 || this.#position - start + text.length > PART_BYTES_MAX) return;
    if (list === "absent") {
      this.#insert(this.#position - 1, `${isEmpty ? "" : ","}"attributes":[${text}]`);
    } else this.#insert(list.end, `${list.isEmpty ? "" : ","}${text}`);
  }

  /** A wrong list stays as it is: its record is rejected. */
  #attributes(): AttributeList | "absent" | "wrong" {
    if (!this.#accept(OPEN_BRACKET)) {
      const isNull = this.#bytes[this.#position] === LOWER_N;
      this.#skip();
      return isNull ? "absent" : "wrong";
    }
    const names = new Set<string>();
    let isEmpty = true;
    while (!this.#accept(CLOSE_BRACKET)) {
      isEmpty = false;
      this.#keyOfAttribute(names);
      this.#endElement(CLOSE_BRACKET);
    }
    return { end: this.#position - 1, isEmpty, names };
  }

  #keyOfAttribute(names: Set<string>): void {
    if (!this.#accept(OPEN_BRACE)) return this.#skip();
    let key: string | undefined;
    for (let name; (name = this.#memberName()) !== undefined;) {
      if (name === "key" && this.#bytes[this.#position] === QUOTE) key = this.#string();
      else this.#skip();
      this.#endElement(CLOSE_BRACE);
    }
    if (key !== undefined) names.add(key);
  }

  #insert(at: number, text: string): void {
    this.#parts.push(this.#bytes.subarray(this.#copied, at), Buffer.from(text));
    this.#copied = at;
  }

  /** Returns the name of an object's next member, whose value comes next; undefined at the end of the object. */
  #memberName(): string | undefined {
    if (this.#accept(CLOSE_BRACE)) return undefined;
    if (this.#bytes[this.#position] !== QUOTE) throw this.#invalid();
    const name = this.#string();
    if (!this.#accept(COLON)) throw this.#invalid();
    this.#skipSpace();
    return name;
  }

  #string(): string {
    const start = this.#position;
    const end = endOfString(this.#bytes, start);
    if (end > this.#bytes.length) throw this.#invalid();
    this.#position = end;
    const text = this.#bytes.toString("utf8", start + 1, end - 1);
    if (!text.includes("\\")) return text;
    try {
      return JSON.parse(`"${text}"`) as string;
    } catch {
      throw this.#invalid();
    }
  }

  /** Goes past the comma after an element or a member, unless the list or the object ends. */
  #endElement(close: number): void {
    if (this.#accept(COMMA)) return;
    if (this.#bytes[this.#position] !== close) throw this.#invalid();
  }

  #skip(): void {
    this.#position = endOfValue(this.#bytes, this.#position);
  }

  #accept(byte: number): boolean {
    this.#skipSpace();
    if (this.#bytes[this.#position] !== byte) return false;
    this.#position++;
    return true;
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    let byte = bytes[this.#position];
    while (byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      byte = bytes[++this.#position];
    }
  }

  #invalid(): TailgateError {
    return undecodable(`byte ${this.#position}`, "it is not valid JSON");
  }
}
