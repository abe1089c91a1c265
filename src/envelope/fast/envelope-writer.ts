import { RENAME_PREFIX } from "../attributes.ts";
import {
  AttributeTable,
  CODE_OTHER,
  ERR_NAME,
  EVENT_NAME_ATTRIBUTE,
  EVENT_NAME_MEMBER,
  EVENT_TYPE,
  INGESTED_BY_NAME,
  LOGGER_NAME,
  RENAME_LOOKALIKE,
  RESERVED_NAME,
  SERVICE_NAME,
  SPAN_ID_NAME,
  TRACE_ID_NAME,
} from "./attribute-table.ts";
import { putCallSite } from "./call-site.ts";
import { ACTION, ENVELOPE_END, METADATA, NO_CALL_SITE, type ResourceMembers } from "../encoder.ts";
import type { EnvelopePrefix, LoggerName, SplitTime } from "../prefix.ts";
import { ascii, type JsonWriter } from "../json-writer.ts";
import { putId, putRaw, putText, TEXT_GROWTH_MAX } from "./value-writer.ts";
import type { ProtobufReader } from "../../otlp/protobuf.ts";
import { ValueWriter, UNUSUAL } from "./value-writer.ts";
import type { ScannedRecord } from "../../otlp/scanned-record.ts";
import { areSame, startsWith } from "./attribute-table.ts";
import { ANY_VALUE, SPAN_ID_BYTES, TRACE_ID_BYTES } from "../../otlp/schema.ts";

const { kvlistValue: VALUE_KEY_VALUES } = ANY_VALUE.tags;

/** A larger record takes the plain path, because memory is reserved for the most that its bytes can become. */
const RECORD_BYTES_MAX = 64 << 10;

/** More than everything in an envelope that does not depend on its record. */
const FIXED_BYTES_MAX = 512;

const TRACE_ID_MEMBER = ascii(',"trace_id":"');
const RENAMED_MEMBER = ascii(`,"${RENAME_PREFIX}`);
const SPAN_ID_MEMBER = ascii(',"span_id":"');
const EVENT_NAME = ascii(',"event_name":');
/** The start of an event name that may be a position in the source instead. */
const SOURCE_POSITION = ascii("event ");
const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** One record is written at a time, without interruption, so all requests share it. */
const attributes = new AttributeTable();

/**
 * Writes the envelopes of records in the usual form directly from protobuf: the same bytes as `EnvelopeEncoder`, faster. All
 * of this folder may be deleted, with its uses in `otlp/request-encoder.ts`: everything then takes the plain path.
 * test/encode/otlp-protobuf.test.ts and the fuzz targets hold it to the plain path.
 *
 * A system log has much in common with the previous one: the head but for the microseconds, the attributes, the ids. If the
 * bytes of such a part are the same, its JSON is copied from the previous envelope.
 */
export class FastEnvelopeWriter {
  readonly #reader: ProtobufReader;
  readonly #writer: JsonWriter;
  readonly #values: ValueWriter;
  /** The memory of the previous system log; undefined if there is none to copy from. */
  #previous: Buffer | undefined;
  /** Where its envelope, message, attributes with the call site, and ids start in that memory, and where it ends. */
  #start = 0;
  #message = 0;
  #members = 0;
  #ids = 0;
  #end = 0;
  /** What the parts of that envelope were made of. */
  #prefix: EnvelopePrefix | undefined;
  #seconds = 0;
  #attributesStart = 0;
  #attributesBytes = 0;
  #resource: ResourceMembers | undefined;
  #traceId = 0;
  #spanId = 0;
  #hadEventName = false;
  /** True if an attribute may name the logger of the current record. */
  #isNameless = false;

  constructor(reader: ProtobufReader, writer: JsonWriter) {
    this.#reader = reader;
    this.#writer = writer;
    this.#values = new ValueWriter(reader, writer);
  }

  /**
   * Writes a record's envelope at the writer's position. Returns false if the record is left to the plain path; what was
   * written has then to be discarded. `prefix` is that of the logger and the level; `resource` and `ingestedBy` are the
   * members that tell the record's process and its sender.
   * @throws TailgateError OTLP_UNDECODABLE
   */
  write(
    fields: ScannedRecord,
    bytes: number,
    time: SplitTime,
    { audit, nameAttributes }: LoggerName,
    prefix: EnvelopePrefix,
    resource: ResourceMembers,
    ingestedBy: Uint8Array,
  ): boolean {
    if (bytes > RECORD_BYTES_MAX) return false;
    this.#isNameless = nameAttributes !== undefined;
    const writer = this.#writer;
    const members = resource.bytes + ingestedBy.length;
    writer.reserve(TEXT_GROWTH_MAX * bytes + prefix.length + members + FIXED_BYTES_MAX);
    if (this.#previous !== writer.buffer) this.#previous = undefined;
    const end = audit
      ? this.#putAuditEvent(fields, time, prefix, resource, ingestedBy)
      : this.#putSystemLog(fields, time, prefix, resource);
    if (end < 0) this.#previous = undefined;
    else writer.position = end;
    return end >= 0;
  }

  /** Must be called if the last envelope does not stay where it was written. */
  forget(): void {
    this.#previous = undefined;
  }

  #putSystemLog(
    fields: ScannedRecord,
    time: SplitTime,
    prefix: EnvelopePrefix,
    resource: ResourceMembers,
  ): number {
    const writer = this.#writer;
    const start = writer.position;
    const isAlike = this.#hasAttributesOf(fields);
    if (!isAlike && !this.#readAttributes(fields)) return UNUSUAL;
    if (this.#isNameless && this.#mayNameLogger()) return UNUSUAL;
    const message = this.#putSystemHead(start, time, prefix);
    const members = this.#putMessage(message, fields);
    if (members < 0) return UNUSUAL;
    const ids = isAlike ? this.#copy(members, this.#members, this.#ids) : this.#putMembers(members);
    if (ids < 0) return UNUSUAL;
    const end =
      isAlike && this.#hasIdsOf(fields, resource)
        ? this.#copy(ids, this.#ids, this.#end)
        : this.#putEnd(ids, fields, resource);
    if (end < 0) return UNUSUAL;
    this.#previous = writer.buffer;
    this.#start = start;
    this.#message = message;
    this.#members = members;
    this.#ids = ids;
    this.#end = end;
    this.#prefix = prefix;
    this.#seconds = time.seconds;
    this.#attributesStart = fields.attributesStart;
    this.#attributesBytes = fields.attributesEnd - fields.attributesStart;
    this.#resource = resource;
    this.#traceId = fields.traceId;
    this.#spanId = fields.spanId;
    this.#hadEventName = fields.hasEventName;
    return end;
  }

  /** Copies a part of the previous envelope. */
  #copy(at: number, start: number, end: number): number {
    this.#writer.buffer.copyWithin(at, start, end);
    return at + end - start;
  }

  #hasAttributesOf({ attributesStart, attributesEnd }: ScannedRecord): boolean {
    return (
      this.#previous !== undefined &&
      attributesEnd - attributesStart === this.#attributesBytes &&
      areSame(this.#reader, this.#attributesStart, attributesStart, this.#attributesBytes)
    );
  }

  #hasIdsOf({ traceId, spanId, hasEventName }: ScannedRecord, resource: ResourceMembers): boolean {
    return (
      resource === this.#resource &&
      !hasEventName &&
      !this.#hadEventName &&
      this.#isSameId(this.#traceId, traceId, TRACE_ID_BYTES) &&
      this.#isSameId(this.#spanId, spanId, SPAN_ID_BYTES)
    );
  }

  /** Compares the ids that start at these positions; 0 stands for none. */
  #isSameId(one: number, other: number, length: number): boolean {
    if (one === 0 || other === 0) return one === other;
    return areSame(this.#reader, one, other, length);
  }

  /** Reads the attributes; returns false if they take the plain path. */
  #readAttributes({ attributesStart, attributesEnd }: ScannedRecord): boolean {
    return (
      attributes.read(this.#reader, attributesStart, attributesEnd) &&
      !(attributes.has(RESERVED_NAME) && attributes.has(RENAME_LOOKALIKE)) &&
      !this.#hasError()
    );
  }

  /** True if an attribute `err` may be pino's, whose members have other names in the envelope. */
  #hasError(): boolean {
    const index = attributes.indexOf(ERR_NAME);
    if (index < 0) return false;
    const start = attributes.valueStart(index);
    return start < attributes.valueEnd(index) && this.#reader.bytes[start] === VALUE_KEY_VALUES;
  }

  /** `logger` is one of the reserved names. */
  #mayNameLogger(): boolean {
    return attributes.has(LOGGER_NAME) || attributes.has(RESERVED_NAME);
  }

  #putSystemHead(at: number, { seconds, micros }: SplitTime, prefix: EnvelopePrefix): number {
    const isAlike =
      this.#previous !== undefined && prefix === this.#prefix && seconds === this.#seconds;
    if (!isAlike) return prefix.put(this.#writer, at, seconds, micros);
    const end = this.#copy(at, this.#start, this.#message);
    return prefix.putMicros(this.#writer, end, micros);
  }

  /** Without a body, the message may be the event name, which is left to the plain path. */
  #putMessage(at: number, { bodyStart, bodyEnd, hasEventName }: ScannedRecord): number {
    if (bodyStart !== bodyEnd) return this.#values.putString(at, bodyStart, bodyEnd);
    return hasEventName || attributes.has(EVENT_NAME_ATTRIBUTE)
      ? UNUSUAL
      : putText(this.#writer, at, this.#reader, 0, 0);
  }

  /** Writes the call site and the extras. */
  #putMembers(at: number): number {
    const writer = this.#writer;
    let position = attributes.hasCode
      ? putCallSite(writer, at, this.#reader, attributes)
      : putRaw(writer, at, NO_CALL_SITE);
    for (let index = 0; index < attributes.length && position >= 0; index++) {
      const kind = attributes.kind(index);
      if (kind === RESERVED_NAME) position = this.#putRenamed(position, index);
      else if (kind < CODE_OTHER) position = this.#putMember(position, index);
    }
    return position;
  }

  #putRenamed(at: number, index: number): number {
    const writer = this.#writer;
    const name = this.#reader.bytes.subarray(attributes.keyStart(index), attributes.keyEnd(index));
    const position = putRaw(writer, putRaw(writer, at, RENAMED_MEMBER), name);
    writer.buffer[position] = QUOTE;
    return this.#putValue(position + 1, index);
  }

  #putMember(at: number, index: number): number {
    this.#writer.buffer[at] = COMMA;
    const start = attributes.keyStart(index);
    const end = attributes.keyEnd(index);
    return this.#putValue(putText(this.#writer, at + 1, this.#reader, start, end), index);
  }

  #putValue(at: number, index: number): number {
    this.#writer.buffer[at] = COLON;
    return this.#values.put(at + 1, attributes.valueStart(index), attributes.valueEnd(index));
  }

  /** Writes what the gateway adds to a system log, and its end. */
  #putEnd(at: number, fields: ScannedRecord, resource: ResourceMembers): number {
    const position = fields.hasEventName ? this.#putEventName(at, fields) : at;
    if (position < 0) return UNUSUAL;
    return putRaw(this.#writer, this.#putCorrelation(position, fields, resource), ENVELOPE_END);
  }

  #putEventName(at: number, { eventNameStart, eventNameEnd }: ScannedRecord): number {
    const { bytes } = this.#reader;
    if (startsWith(bytes, eventNameStart, eventNameEnd, SOURCE_POSITION)) return UNUSUAL;
    if (attributes.has(EVENT_NAME_MEMBER)) return at;
    const name = putRaw(this.#writer, at, EVENT_NAME);
    return putText(this.#writer, name, this.#reader, eventNameStart, eventNameEnd);
  }

  #putCorrelation(
    at: number,
    { traceId, spanId }: ScannedRecord,
    resource: ResourceMembers,
  ): number {
    const writer = this.#writer;
    let position = at;
    if (traceId !== 0 && !attributes.has(TRACE_ID_NAME)) {
      position = putRaw(writer, position, TRACE_ID_MEMBER);
      position = putId(writer, position, this.#reader, traceId, TRACE_ID_BYTES);
    }
    if (spanId !== 0 && !attributes.has(SPAN_ID_NAME)) {
      position = putRaw(writer, position, SPAN_ID_MEMBER);
      position = putId(writer, position, this.#reader, spanId, SPAN_ID_BYTES);
    }
    if (!attributes.has(SERVICE_NAME)) position = putRaw(writer, position, resource.service);
    for (const { name, json } of resource.attributes) {
      if (!attributes.hasName(this.#reader, name)) position = putRaw(writer, position, json);
    }
    return position;
  }

  #putAuditEvent(
    fields: ScannedRecord,
    time: SplitTime,
    prefix: EnvelopePrefix,
    resource: ResourceMembers,
    ingestedBy: Uint8Array,
  ): number {
    this.#previous = undefined;
    if (!attributes.read(this.#reader, fields.attributesStart, fields.attributesEnd))
      return UNUSUAL;
    if (this.#hasError() || (this.#isNameless && this.#mayNameLogger())) return UNUSUAL;
    if (attributes.has(INGESTED_BY_NAME)) return UNUSUAL;
    const writer = this.#writer;
    const message = prefix.put(writer, writer.position, time.seconds, time.micros);
    const action = this.#putMessage(message, fields);
    const metadata = action < 0 ? UNUSUAL : this.#putAction(action, fields);
    const end = metadata < 0 ? UNUSUAL : this.#putMetadata(metadata, fields, resource, ingestedBy);
    return end < 0 ? UNUSUAL : putRaw(writer, end, ENVELOPE_END);
  }

  /** Writes the event's type as its action. Without one it may be the event's name, which is left to the plain path. */
  #putAction(at: number, { hasEventName }: ScannedRecord): number {
    if (hasEventName) return UNUSUAL;
    const index = attributes.indexOf(EVENT_TYPE);
    const start = index < 0 ? 0 : attributes.valueStart(index);
    const end = index < 0 ? 0 : attributes.valueEnd(index);
    if (start === end) return attributes.has(EVENT_NAME_ATTRIBUTE) ? UNUSUAL : at;
    return this.#values.putString(putRaw(this.#writer, at, ACTION), start, end);
  }

  #putMetadata(
    at: number,
    fields: ScannedRecord,
    resource: ResourceMembers,
    ingestedBy: Uint8Array,
  ): number {
    const { buffer } = this.#writer;
    const eventType = attributes.indexOf(EVENT_TYPE);
    const opened = putRaw(this.#writer, at, METADATA);
    let position = opened;
    for (let index = 0; index < attributes.length && position >= 0; index++) {
      if (index === eventType || attributes.kind(index) >= CODE_OTHER) continue;
      position = this.#putMember(position, index);
    }
    if (position < 0) return UNUSUAL;
    position = this.#putCorrelation(position, fields, resource);
    position = putRaw(this.#writer, position, ingestedBy);
    // Empty metadata is left out.
    if (position === opened) return at;
    // The brace replaces the first member's comma.
    buffer[opened] = OPEN_BRACE;
    buffer[position] = CLOSE_BRACE;
    return position + 1;
  }
}
