import { RENAME_PREFIX } from "./attribute-name.ts";
import { INFO_RANK, type LevelRank } from "../envelope.ts";
import {
  AttributeTable,
  CODE_OTHER,
  EVENT_TYPE,
  FILE_PATH,
  FILE_PATH_OLD,
  FUNCTION_NAME,
  FUNCTION_NAME_OLD,
  LINE_NUMBER,
  LINE_NUMBER_OLD,
  NAMESPACE,
  RENAME_LOOKALIKE,
  RESERVED_NAME,
  SERVICE_NAME,
  SPAN_ID_NAME,
  TRACE_ID_NAME,
} from "./attribute-table.ts";
import {
  ACTION,
  AUDIT_HEAD,
  ENVELOPE_END,
  EnvelopeEncoder,
  FUNCTION,
  LINE,
  METADATA,
  MODULE,
  NO_CALL_SITE,
  SYSTEM_HEAD,
  type Outcome,
} from "./envelope-encoder.ts";
import { partsOfRecord, serviceOf } from "./from-record.ts";
import { ascii, JsonWriter } from "./json-writer.ts";
import type { OpenBatch } from "./open-batch.ts";
import { SplitTime } from "./otlp-time.ts";
import { VALUE_STRING } from "./otlp-fields.ts";
import { ProtobufDecoder } from "./protobuf-decoder.ts";
import { ProtobufOrigin } from "./protobuf-origin.ts";
import type { ProtobufReader } from "./protobuf-reader.ts";
import { ProtobufValueWriter } from "./protobuf-value-writer.ts";
import type { RequestCounts } from "./request-counts.ts";
import {
  ATTRIBUTES_START,
  BODY_END,
  BODY_START,
  END,
  EVENT_NAME_END,
  EVENT_NAME_START,
  ORDER_HIGH,
  ORDER_LOW,
  RequestLayout,
  RESOURCE,
  SCOPE,
  SEVERITY,
  SEVERITY_TEXT_END,
  SEVERITY_TEXT_START,
  SPAN_ID,
  SPAN_ID_BYTES,
  TRACE_ID,
  TRACE_ID_BYTES,
} from "./request-layout.ts";
import { EnvelopeBudget } from "./request-limits.ts";
import { loggerName, type LoggerName } from "./scope.ts";
import { rankOfBytes } from "./severity-text.ts";
import { writeTimestamp } from "./timestamp.ts";

/**
 * Encodes an ExportLogsServiceRequest from protobuf straight to envelopes, in order of time: the same bytes as those
 * of its decoded records, many times faster. System logs below `lowest` are filtered, audit events below INFO; of a
 * filtered record the body and the attributes are not looked at.
 * @throws TailgateError OTLP_UNDECODABLE; `open` is then as it was.
 */
export function encodeOtlpProtobuf(
  body: Uint8Array,
  open: OpenBatch,
  lowest: LevelRank,
): RequestCounts {
  const savepoint = open.savepoint();
  try {
    return new Transcoder(new RequestLayout(body), open, lowest).encode();
  } catch (error) {
    open.rollback(savepoint);
    throw error;
  }
}

const TRACE_ID_MEMBER = ascii(',"trace_id":"');
const RENAMED_MEMBER = ascii(`,"${RENAME_PREFIX}`);
const SPAN_ID_MEMBER = ascii(',"span_id":"');
/** For each byte its two hex digits, the first one in the low half. */
const HEX_PAIRS = Uint16Array.from({ length: 256 }, (_, byte) => {
  const digits = byte.toString(16).padStart(2, "0");
  return digits.charCodeAt(0) | (digits.charCodeAt(1) << 8);
});
const NO_BYTES = new Uint8Array();
const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const DOT = 0x2e;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;

/** Work is done on one request at a time, and within one call: all requests share these. */
const attributes = new AttributeTable();
const time = new SplitTime();

/** What is rare on the wire goes through the decoder and {@link EnvelopeEncoder}, so that it is told in one place. */
class Transcoder {
  readonly #layout: RequestLayout;
  readonly #reader: ProtobufReader;
  readonly #open: OpenBatch;
  readonly #writer: JsonWriter;
  readonly #lowest: LevelRank;
  readonly #origin: ProtobufOrigin;
  readonly #decoder: ProtobufDecoder;
  readonly #values: ProtobufValueWriter;
  readonly #exact: EnvelopeEncoder;
  /** The scope and the resource of the record before, for most records have the same. */
  #scope = -1;
  #logger: LoggerName = loggerName("");
  #resource = -1;
  #service: Uint8Array = NO_BYTES;
  /** Where the text of the body of the record at hand lies. */
  #messageStart = 0;
  #messageEnd = 0;

  constructor(layout: RequestLayout, open: OpenBatch, lowest: LevelRank) {
    this.#layout = layout;
    this.#reader = layout.reader;
    this.#open = open;
    this.#writer = open.writer;
    this.#lowest = lowest;
    this.#origin = new ProtobufOrigin(layout.reader.bytes, layout.length);
    this.#decoder = new ProtobufDecoder(layout);
    this.#values = new ProtobufValueWriter(layout.reader, open.writer);
    this.#exact = new EnvelopeEncoder(open, lowest);
  }

  encode(): RequestCounts {
    const records = this.#layout.length;
    const order = this.#layout.order();
    const budget = new EnvelopeBudget(this.#open);
    let accepted = 0;
    for (let place = 0; place < records; place++) {
      if (this.#record(order?.[place] ?? place) === "accepted") accepted++;
      budget.check();
    }
    return { accepted, filtered: records - accepted };
  }

  #record(record: number): Outcome {
    const logger = this.#loggerOf(record);
    if (logger.bridge) return this.#exactly(record);
    const rank = this.#rankOf(record);
    if (rank < (logger.audit ? INFO_RANK : this.#lowest)) return "filtered";
    if (!this.#isUsual(record, logger.audit)) return this.#exactly(record);
    this.#open.begin();
    if (!this.#envelope(record, logger, rank)) {
      this.#open.abandon();
      return this.#exactly(record);
    }
    this.#open.commit(rank, logger.audit, logger.name, this.#origin, record);
    return "accepted";
  }

  #exactly(record: number): Outcome {
    const parts = partsOfRecord(this.#decoder.record(record));
    this.#readTime(record);
    parts.seconds = time.seconds;
    parts.micros = time.micros;
    return this.#exact.encode(parts, this.#origin, record);
  }

  #loggerOf(record: number): LoggerName {
    const scope = this.#layout.at(record, SCOPE);
    if (scope !== this.#scope) {
      this.#logger = loggerName(this.#decoder.scope(scope).name);
      this.#scope = scope;
    }
    return this.#logger;
  }

  /** The member that names the record's process, as bytes. */
  #serviceOf(record: number): Uint8Array {
    const resource = this.#layout.at(record, RESOURCE);
    if (resource !== this.#resource) {
      this.#service = serviceMember(serviceOf(this.#decoder.resource(resource)));
      this.#resource = resource;
    }
    return this.#service;
  }

  /** Reads the record's time, which is the request's arrival where it has none. */
  #readTime(record: number): void {
    time.set(this.#layout.at(record, ORDER_LOW) >>> 0, this.#layout.at(record, ORDER_HIGH) >>> 0);
  }

  #rankOf(record: number): LevelRank {
    const layout = this.#layout;
    return rankOfBytes(
      layout.at(record, SEVERITY),
      this.#reader.bytes,
      layout.at(record, SEVERITY_TEXT_START),
      layout.at(record, SEVERITY_TEXT_END),
    );
  }

  /** Whether the record has the form that nearly all have; reads its attributes and finds its message. */
  #isUsual(record: number, audit: boolean): boolean {
    if (!this.#readMessage(record) || !this.#readAttributes(record)) return false;
    if (audit) return attributes.has(EVENT_TYPE) || !this.#hasEventName(record);
    return !attributes.has(RESERVED_NAME) || !attributes.has(RENAME_LOOKALIKE);
  }

  /** Finds the text of the body; false where the message is not simply that. */
  #readMessage(record: number): boolean {
    const start = this.#layout.at(record, BODY_START);
    const end = this.#layout.at(record, BODY_END);
    this.#messageStart = end;
    this.#messageEnd = end;
    if (start === end) return !this.#hasEventName(record);
    this.#messageStart = this.#textStart(start, end);
    return this.#messageStart >= 0;
  }

  /** Where the text of an AnyValue starts that is a string and nothing else, and ends where it does; else -1. */
  #textStart(start: number, end: number): number {
    const reader = this.#reader;
    reader.position = start;
    if (start === end || reader.tag(end) !== VALUE_STRING || reader.length(end) !== end) return -1;
    return reader.position;
  }

  #readAttributes(record: number): boolean {
    const start = this.#layout.at(record, ATTRIBUTES_START);
    const end = this.#layout.at(record, END);
    return attributes.read(this.#reader, start === 0 ? end : start, end);
  }

  #hasEventName(record: number): boolean {
    return this.#layout.at(record, EVENT_NAME_START) !== this.#layout.at(record, EVENT_NAME_END);
  }

  /** Writes an envelope; false where a value turns out to be unusual. */
  #envelope(record: number, logger: LoggerName, rank: LevelRank): boolean {
    const writer = this.#writer;
    writer.raw(logger.audit ? AUDIT_HEAD : SYSTEM_HEAD);
    this.#readTime(record);
    writeTimestamp(writer, time.seconds, time.micros);
    writer.raw(logger.heads[rank]!);
    writer.utf8(this.#reader, this.#messageStart, this.#messageEnd);
    const written = logger.audit ? this.#audit(record) : this.#system(record);
    writer.raw(ENVELOPE_END);
    return written;
  }

  #system(record: number): boolean {
    this.#callSite();
    for (let index = 0; index < attributes.length; index++) {
      const kind = attributes.kind(index);
      if (kind < CODE_OTHER && !this.#member(index, kind === RESERVED_NAME)) return false;
    }
    this.#correlation(record);
    return true;
  }

  #audit(record: number): boolean {
    const writer = this.#writer;
    const eventType = attributes.indexOf(EVENT_TYPE);
    if (eventType >= 0 && !this.#action(record, eventType)) return false;
    const before = writer.position - writer.mark;
    writer.raw(METADATA);
    const opened = writer.position - writer.mark;
    for (let index = 0; index < attributes.length; index++) {
      if (index === eventType || attributes.kind(index) >= CODE_OTHER) continue;
      if (!this.#member(index, false)) return false;
    }
    this.#correlation(record);
    if (writer.position - writer.mark === opened) writer.position = writer.mark + before;
    else writer.closeObject(opened);
    return true;
  }

  /** Writes an audit event's action; false where it is not simply the text of the attribute. */
  #action(record: number, eventType: number): boolean {
    const start = attributes.valueStart(eventType);
    const end = attributes.valueEnd(eventType);
    if (start === end) return !this.#hasEventName(record);
    const textStart = this.#textStart(start, end);
    if (textStart < 0) return false;
    this.#writer.raw(ACTION);
    this.#writer.utf8(this.#reader, textStart, end);
    return true;
  }

  #member(index: number, rename: boolean): boolean {
    const writer = this.#writer;
    const { bytes } = this.#reader;
    const start = attributes.keyStart(index);
    const end = attributes.keyEnd(index);
    if (rename) {
      writer.raw(RENAMED_MEMBER);
      writer.raw(bytes.subarray(start, end));
      writer.byte(QUOTE);
    } else {
      writer.byte(COMMA);
      writer.utf8(this.#reader, start, end);
    }
    writer.byte(COLON);
    return this.#values.write(attributes.valueStart(index), attributes.valueEnd(index));
  }

  #callSite(): void {
    const writer = this.#writer;
    if (!attributes.hasCode) return writer.raw(NO_CALL_SITE);
    writer.raw(MODULE);
    const file = this.#firstText(FILE_PATH, FILE_PATH_OLD);
    if (file >= 0) this.#moduleOfPath(attributes.valueStart(file), attributes.valueEnd(file));
    else this.#lastComponent(this.#firstText(NAMESPACE, NAMESPACE));
    writer.raw(FUNCTION);
    this.#lastComponent(this.#firstText(FUNCTION_NAME, FUNCTION_NAME_OLD));
    writer.raw(LINE);
    writer.number(this.#line());
  }

  /** The attribute of the first of these kinds that has a text which is not empty; -1 where there is none. */
  #firstText(stable: number, old: number): number {
    for (const kind of [stable, old]) {
      const index = attributes.indexOf(kind);
      if (index >= 0 && attributes.valueStart(index) < attributes.valueEnd(index)) return index;
    }
    return -1;
  }

  /** `moduleOfPath` of code-attributes.ts, on bytes. */
  #moduleOfPath(start: number, end: number): void {
    const { bytes } = this.#reader;
    let base = end;
    let dot = -1;
    while (base > start && bytes[base - 1] !== SLASH && bytes[base - 1] !== BACKSLASH) {
      base--;
      if (bytes[base] === DOT && dot < 0) dot = base;
    }
    this.#writer.utf8(this.#reader, base, dot > base ? dot : end);
  }

  /** `lastComponent` of code-attributes.ts, on bytes; `index` is an attribute, or -1 for "". */
  #lastComponent(index: number): void {
    const { bytes } = this.#reader;
    const start = index < 0 ? 0 : attributes.valueStart(index);
    const end = index < 0 ? 0 : attributes.valueEnd(index);
    let component = end;
    while (component > start && !isSeparator(bytes, start, component - 1)) component--;
    this.#writer.utf8(this.#reader, component, end);
  }

  #line(): number {
    const stable = attributes.indexOf(LINE_NUMBER);
    const index = stable >= 0 ? stable : attributes.indexOf(LINE_NUMBER_OLD);
    if (index < 0) return 0;
    const reader = this.#reader;
    const end = attributes.valueEnd(index);
    reader.position = attributes.valueStart(index);
    reader.tag(end);
    reader.varint(end);
    const line = reader.int64();
    return typeof line === "number" && line > 0 ? line : 0;
  }

  #correlation(record: number): void {
    const traceId = this.#layout.at(record, TRACE_ID);
    const spanId = this.#layout.at(record, SPAN_ID);
    if (traceId !== 0 && !attributes.has(TRACE_ID_NAME)) {
      this.#id(TRACE_ID_MEMBER, traceId, TRACE_ID_BYTES);
    }
    if (spanId !== 0 && !attributes.has(SPAN_ID_NAME)) {
      this.#id(SPAN_ID_MEMBER, spanId, SPAN_ID_BYTES);
    }
    // The resource is read for each record, so that a damaged one is refused although nobody asks for its name.
    const service = this.#serviceOf(record);
    if (!attributes.has(SERVICE_NAME)) this.#writer.raw(service);
  }

  #id(name: Uint8Array, start: number, length: number): void {
    const writer = this.#writer;
    const { bytes } = this.#reader;
    writer.raw(name);
    writer.reserve(2 * length + 1);
    const { buffer } = writer;
    let position = writer.position;
    for (let index = start; index < start + length; index++) {
      const pair = HEX_PAIRS[bytes[index]!]!;
      buffer[position++] = pair;
      buffer[position++] = pair >> 8;
    }
    buffer[position++] = QUOTE;
    writer.position = position;
  }
}

function serviceMember(service: string): Uint8Array {
  if (service === "") return NO_BYTES;
  const writer = JsonWriter.scratch();
  writer.member("service", service);
  return writer.buffer.subarray(0, writer.position);
}

/** Whether a component's name starts after that byte: a dot, or the second of two colons. */
function isSeparator(bytes: Uint8Array, start: number, index: number): boolean {
  const byte = bytes[index];
  return byte === DOT || (byte === COLON && index > start && bytes[index - 1] === COLON);
}
