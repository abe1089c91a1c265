import type { ProtobufReader } from "./protobuf.ts";
import { PART_VALUES_MAX, tooManyValues } from "./request-limits.ts";
import { LOG_RECORD, SPAN_ID_BYTES, TRACE_ID_BYTES } from "./schema.ts";

const {
  attributes: RECORD_ATTRIBUTES,
  body: RECORD_BODY,
  eventName: RECORD_EVENT_NAME,
  flags: RECORD_FLAGS,
  observedTimeUnixNano: RECORD_OBSERVED_TIME,
  severityNumber: RECORD_SEVERITY_NUMBER,
  severityText: RECORD_SEVERITY_TEXT,
  spanId: RECORD_SPAN_ID,
  timeUnixNano: RECORD_TIME,
  traceId: RECORD_TRACE_ID,
} = LOG_RECORD.tags;

/** A smaller tag or length has one byte. */
const SHORT_BYTES = 0x80;
/** The bits of a tag that tell whether it has one byte and is that of a length-delimited field. */
const SHORT_LENGTH_MASK = SHORT_BYTES | 7;
const SHORT_LENGTH = 2;
const SHORT_HEAD_BYTES = 2;
const TIME_FIELD_BYTES = 9;

/**
 * The fields of one LogRecord message, found in one pass over its bytes without decoding its values. Starts and ends are
 * positions in the request, both 0 if the field is absent. If a field is repeated, the last one counts.
 */
export class ScannedRecord {
  /** The halves of the times, as signed numbers. */
  timeLow = 0;
  timeHigh = 0;
  observedLow = 0;
  observedHigh = 0;
  severity = 0;
  severityTextStart = 0;
  severityTextEnd = 0;
  bodyStart = 0;
  bodyEnd = 0;
  /** The first attribute's tag and the last one's end; there may be other fields between attributes. */
  attributesStart = 0;
  attributesEnd = 0;
  eventNameStart = 0;
  eventNameEnd = 0;
  /** The starts of the ids; 0 if absent, of a wrong length or all zero. */
  traceId = 0;
  spanId = 0;
  flags = 0;
  /** The end of an id that has a wrong length; 0 if there is none. */
  invalidIdEnd = 0;
  /** The number of fields that {@link read} has no shortcut for. */
  #rareFields = 0;

  /** True if the record has a time by which it can be ordered. */
  get hasTime(): boolean {
    return (this.orderLow | this.orderHigh) !== 0;
  }

  /** The record's own time, else the observed one. */
  get orderLow(): number {
    return this.#hasOwnTime ? this.timeLow : this.observedLow;
  }

  get orderHigh(): number {
    return this.#hasOwnTime ? this.timeHigh : this.observedHigh;
  }

  get #hasOwnTime(): boolean {
    return (this.timeLow | this.timeHigh) !== 0;
  }

  get hasEventName(): boolean {
    return this.eventNameStart !== this.eventNameEnd;
  }

  /** @throws TailgateError OTLP_UNDECODABLE */
  read(reader: ProtobufReader, start: number, end: number): void {
    this.#clear();
    const { bytes, view } = reader;
    let position = start;
    while (position < end) {
      const tag = bytes[position]!;
      const from = position + SHORT_HEAD_BYTES;
      const length = bytes[position + 1]!;
      const isShort = (tag & SHORT_LENGTH_MASK) === SHORT_LENGTH && length < SHORT_BYTES;
      const isFound =
        isShort && from + length <= end && this.#found(reader, tag, position, from, from + length);
      if (isFound) position = from + length;
      else if (tag === RECORD_TIME && position + TIME_FIELD_BYTES <= end) {
        this.timeLow = view.getInt32(position + 1, true);
        this.timeHigh = view.getInt32(position + 5, true);
        position += TIME_FIELD_BYTES;
      } else if (tag === RECORD_OBSERVED_TIME && position + TIME_FIELD_BYTES <= end) {
        this.observedLow = view.getInt32(position + 1, true);
        this.observedHigh = view.getInt32(position + 5, true);
        position += TIME_FIELD_BYTES;
      } else {
        reader.position = position;
        this.#any(reader, end);
        position = reader.position;
      }
    }
    reader.position = end;
  }

  #clear(): void {
    this.#rareFields = 0;
    this.timeLow = 0;
    this.timeHigh = 0;
    this.observedLow = 0;
    this.observedHigh = 0;
    this.severity = 0;
    this.severityTextStart = 0;
    this.severityTextEnd = 0;
    this.bodyStart = 0;
    this.bodyEnd = 0;
    this.attributesStart = 0;
    this.attributesEnd = 0;
    this.eventNameStart = 0;
    this.eventNameEnd = 0;
    this.traceId = 0;
    this.spanId = 0;
    this.flags = 0;
    this.invalidIdEnd = 0;
  }

  /** Stores the position of a length-delimited field whose tag is at `position`; returns false for an unknown one. */
  #found(
    { bytes }: ProtobufReader,
    tag: number,
    position: number,
    start: number,
    end: number,
  ): boolean {
    switch (tag) {
      case RECORD_ATTRIBUTES:
        if (this.attributesStart === 0) this.attributesStart = position;
        this.attributesEnd = end;
        return true;
      case RECORD_BODY:
        this.bodyStart = start;
        this.bodyEnd = end;
        return true;
      case RECORD_SEVERITY_TEXT:
        this.severityTextStart = start;
        this.severityTextEnd = end;
        return true;
      case RECORD_TRACE_ID:
        this.traceId = this.#id(bytes, start, end, TRACE_ID_BYTES);
        return true;
      case RECORD_SPAN_ID:
        this.spanId = this.#id(bytes, start, end, SPAN_ID_BYTES);
        return true;
      case RECORD_EVENT_NAME:
        this.eventNameStart = start;
        this.eventNameEnd = end;
        return true;
      default:
        return false;
    }
  }

  /** Reads any field at the reader's position. */
  #any(reader: ProtobufReader, end: number): void {
    if (++this.#rareFields > PART_VALUES_MAX) throw tooManyValues(`byte ${reader.position}`);
    const { position } = reader;
    const tag = reader.field(end);
    switch (tag) {
      case RECORD_SEVERITY_NUMBER:
        reader.varint(end);
        this.severity = reader.low | 0;
        break;
      case RECORD_FLAGS:
        this.flags = reader.fixed32(end) | 0;
        break;
      case RECORD_TIME:
        reader.fixed64(end);
        this.timeLow = reader.low | 0;
        this.timeHigh = reader.high | 0;
        break;
      case RECORD_OBSERVED_TIME:
        reader.fixed64(end);
        this.observedLow = reader.low | 0;
        this.observedHigh = reader.high | 0;
        break;
      default:
        if (!this.#found(reader, tag, position, reader.start, reader.end)) {
          reader.ignore(tag, end, LOG_RECORD.strictNumbers);
        }
    }
  }

  /** Returns the start of an id; 0 if its length is wrong or it is all zero, which the specification calls invalid. */
  #id(bytes: Uint8Array, start: number, end: number, length: number): number {
    if (end - start === length) {
      for (let index = start; index < end; index++) if (bytes[index] !== 0) return start;
    } else if (start !== end) this.invalidIdEnd = end;
    return 0;
  }
}
