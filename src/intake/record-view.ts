import { BatchBuilder } from "../batch/batch-builder.ts";
import { ProtobufOrigin } from "../batch/origin.ts";
import { EnvelopeEncoder, loggerOf, partsOfRecord } from "../envelope/encoder.ts";
import { jsonAttributes, scopeMembers, type JsonAttributes } from "../envelope/json-attributes.ts";
import { rankOf, type LoggerNames } from "../envelope/prefix.ts";
import { ProtobufDecoder } from "../otlp/decode.ts";
import { PART_VALUES_MAX } from "../otlp/request-limits.ts";
import type { RequestIndex } from "../otlp/request-index.ts";
import { AttributeIndex } from "../otlp/attribute-index.ts";
import { ScannedRecord } from "../otlp/scanned-record.ts";
import type { EncodedMessage, LogRecord, RecordView, Value } from "../plugin/index.ts";
import {
  LEVELS,
  type Envelope,
  type EnvelopeType,
  type JsonValue,
  type Level,
} from "../wire/envelope.ts";
import { fold } from "../wire/query/fold.ts";
import { hasInnerFields, canRuleOut, RawText, testField } from "./record-fields.ts";

/** Levels below INFO, which an audit event never has in its envelope. */
const INFO_NUMBER = 9;

/** Shows the records of a request one after the other: {@link select} makes it a view of another record. */
export class RequestView implements RecordView {
  readonly #index: RequestIndex;
  readonly #loggers: LoggerNames;
  readonly #decoder: ProtobufDecoder;
  readonly #fields = new ScannedRecord();
  readonly #attributes = new AttributeIndex();
  readonly #parts = new Map<number, Uint8Array>();
  readonly #resources = new Map<number, JsonAttributes>();
  readonly #scopes = new Map<number, JsonAttributes>();
  #record = -1;
  /** Whether the fields are those of the record. */
  #isScanned = false;
  /** Whether the attributes are those of the record. */
  #isIndexed = false;
  #logger: { readonly name: string; readonly audit: boolean } | undefined;
  #message: EncodedMessage | undefined;
  #envelope: Envelope | undefined;
  #raw: RawText | undefined;
  #hasInner: boolean | undefined;

  constructor(index: RequestIndex, loggers: LoggerNames) {
    this.#index = index;
    this.#loggers = loggers;
    this.#decoder = new ProtobufDecoder(index, PART_VALUES_MAX);
  }

  /** Returns this view, of the record at that index in the request. */
  select(record: number): this {
    this.#record = record;
    this.#isScanned = false;
    this.#isIndexed = false;
    this.#logger = undefined;
    this.#message = undefined;
    this.#envelope = undefined;
    this.#raw = undefined;
    this.#hasInner = undefined;
    return this;
  }

  get #scanned(): ScannedRecord {
    if (!this.#isScanned) {
      const { reader } = this.#index;
      this.#fields.read(reader, this.#index.start(this.#record), this.#index.end(this.#record));
      this.#isScanned = true;
    }
    return this.#fields;
  }

  type(): EnvelopeType {
    return this.#named.audit ? "audit_log" : "system_log";
  }

  logger(): string {
    return this.#named.name;
  }

  get #named(): { readonly name: string; readonly audit: boolean } {
    return (this.#logger ??= loggerOf(this.#scopeName, this.#loggers, (name) =>
      this.attribute(name),
    ));
  }

  get #scopeName(): string {
    return this.#decoder.scope(this.#index.scope(this.#record)).name;
  }

  level(): Level {
    const { severity, severityTextStart: start, severityTextEnd: end } = this.#scanned;
    const text = start === end ? "" : this.#decoder.text(start, end);
    return LEVELS[rankOf(severity, text, this.#loggers.of(this.#scopeName).numbering)];
  }

  body(): Value {
    return this.#decoder.bodyOf(this.#scanned);
  }

  eventName(): string {
    const { eventNameStart, eventNameEnd } = this.#scanned;
    return this.#decoder.text(eventNameStart, eventNameEnd);
  }

  attribute(name: string): Value | undefined {
    const fields = this.#scanned;
    if (!this.#isIndexed) {
      this.#attributes.read(this.#index.reader, fields);
      this.#isIndexed = true;
    }
    return this.#decoder.attributeOf(fields, this.#attributes, name);
  }

  attributeNames(): string[] {
    return this.#decoder.attributeNamesOf(this.#scanned);
  }

  resourceAttribute(name: string): Value | undefined {
    return this.#decoder.resource(this.#index.resource(this.#record)).attributes.get(name);
  }

  resourceAttributes(): JsonAttributes {
    const offset = this.#index.resource(this.#record);
    let attributes = this.#resources.get(offset);
    if (attributes === undefined) {
      attributes = jsonAttributes(this.#decoder.resource(offset).attributes);
      this.#resources.set(offset, attributes);
    }
    return attributes;
  }

  scopeAttributes(): JsonAttributes {
    const offset = this.#index.scope(this.#record);
    let attributes = this.#scopes.get(offset);
    if (attributes === undefined) {
      attributes = scopeMembers(this.#decoder.scope(offset));
      this.#scopes.set(offset, attributes);
    }
    return attributes;
  }

  testField(
    _index: number,
    name: string,
    passes: (value: JsonValue) => boolean,
  ): boolean | undefined {
    this.#hasInner ??= hasInnerFields(this);
    return testField(this, name, passes, this.#hasInner);
  }

  mayContain(_index: number, text: string): boolean {
    if (!canRuleOut(text) || this.type() === "audit_log") return true;
    if (!this.#decoder.isTextBody(this.#scanned)) return true;
    this.#raw ??= new RawText(
      this.#index.reader.bytes,
      this.#index.start(this.#record),
      this.#index.end(this.#record),
    );
    if (this.#raw.mayContain(text) || fold(this.logger()).includes(text)) return true;
    const service = this.resourceAttribute("service.name");
    return typeof service === "string" && fold(service).includes(text);
  }

  message(): EncodedMessage {
    return (this.#message ??= {
      bytes: this.#index.reader.bytes,
      start: this.#index.start(this.#record),
      end: this.#index.end(this.#record),
    });
  }

  resourceBytes(): Uint8Array {
    const { resources } = this.#index;
    const offset = this.#index.resource(this.#record);
    return this.#part(resources[offset]!, resources[offset + 1]!);
  }

  scopeBytes(): Uint8Array {
    const { scopes } = this.#index;
    const offset = this.#index.scope(this.#record);
    return this.#part(scopes[offset]!, scopes[offset + 1]!);
  }

  #part(start: number, end: number): Uint8Array {
    let bytes = this.#parts.get(start);
    if (bytes === undefined) {
      bytes = this.#index.reader.bytes.subarray(start, end);
      this.#parts.set(start, bytes);
    }
    return bytes;
  }

  record(): LogRecord {
    return this.#decoder.recordOf(this.#record, this.#scanned);
  }

  envelope(): Envelope {
    return (this.#envelope ??= envelopeOf(this.record(), this.level(), this.#loggers));
  }
}

const NO_ORIGIN = new ProtobufOrigin(new Uint8Array(), 0);

const open = new BatchBuilder(undefined, 64 << 10);

/** Returns the envelope of a record, whatever its level. */
function envelopeOf(record: LogRecord, level: Level, loggers: LoggerNames): Envelope {
  const before = open.savepoint();
  const parts = partsOfRecord(record);
  const encoder = new EnvelopeEncoder(open, 0, loggers);
  try {
    if (encoder.encode(parts, NO_ORIGIN, 0) === "filtered") {
      encoder.encode({ ...parts, severityNumber: INFO_NUMBER }, NO_ORIGIN, 0);
    }
    const { last } = open;
    // Not through its own cache: the batch is used again.
    const text = Buffer.from(last.bytes(last.length - 1)).toString();
    const { type, data } = JSON.parse(text) as Envelope;
    return { type, data: { ...data, level } } as Envelope;
  } finally {
    open.rollback(before);
  }
}
