import type { EncodedMessage } from "tailgate/plugin";

/** The numbers of a LogRecord's fields (opentelemetry-proto, logs.proto). */
export const LOG_RECORD = {
  timestamp: 1,
  body: 5,
  attributes: 6,
  flags: 8,
  traceId: 9,
  spanId: 10,
  observedTimestamp: 11,
} as const;

const TIME_BYTES = 8;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** Walks over the fields of an encoded protobuf message: `while (fields.next()) ...`. */
export class MessageFields {
  #bytes: Uint8Array = new Uint8Array();
  #end = 0;
  #position = 0;
  /** The number of the current field. */
  number = 0;
  /** The index of its tag. */
  start = 0;
  /** The index of its value, after the length if it has one. */
  valueStart = 0;
  /** The index after its value. */
  end = 0;
  /** Whether the message ended within a field, or has one that protobuf no longer uses. */
  isBroken = false;

  /** Begins with the first field of a message. */
  read({ bytes, start, end }: EncodedMessage): this {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
    this.isBroken = false;
    return this;
  }

  /** Advances to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#position >= this.#end) return false;
    this.start = this.#position;
    const tag = this.#varint();
    this.number = tag >>> 3;
    const size = this.#valueSize(tag & 7);
    this.valueStart = this.#position;
    this.#position += size;
    this.end = this.#position;
    // A number that is incomplete is NaN, which compares as false.
    this.isBroken = !(tag > 7 && this.#position <= this.#end);
    return !this.isBroken;
  }

  #valueSize(wireType: number): number {
    switch (wireType) {
      case VARINT:
        this.#varint();
        return 0;
      case FIXED64:
        return 8;
      case LENGTH_DELIMITED:
        return this.#varint();
      case FIXED32:
        return 4;
      default:
        return Number.NaN;
    }
  }

  /** Reads a number; only its lower 32 bits are exact, which is all that tags and lengths have. */
  #varint(): number {
    let value = 0;
    for (let shift = 1; this.#position < this.#end; shift *= 0x80) {
      const byte = this.#bytes[this.#position++]!;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  }

  /** Returns the current field, of eight bytes, as an unsigned number. */
  fixed64(): bigint {
    const { buffer, byteOffset } = this.#bytes;
    return new DataView(buffer, byteOffset).getBigUint64(this.valueStart, true);
  }
}

/** The times of a record in nanoseconds since 1970, 0n if absent. */
export interface RecordTimes {
  readonly timestamp: bigint;
  readonly observedTimestamp: bigint;
}

const fields = new MessageFields();

/** Returns the times of a LogRecord message. */
export function timesOf(message: EncodedMessage): RecordTimes {
  let timestamp = 0n;
  let observedTimestamp = 0n;
  fields.read(message);
  while (fields.next()) {
    if (fields.end - fields.valueStart !== TIME_BYTES) continue;
    if (fields.number === LOG_RECORD.timestamp) timestamp = fields.fixed64();
    else if (fields.number === LOG_RECORD.observedTimestamp) observedTimestamp = fields.fixed64();
  }
  return { timestamp, observedTimestamp };
}

/** Returns when a record happened, as envelopes show it: `2025-10-13T09:27:24.339163Z`; "" without a time. */
export function timeText({ timestamp, observedTimestamp }: RecordTimes): string {
  const nanos = timestamp || observedTimestamp;
  if (nanos === 0n) return "";
  const micros = nanos / 1000n;
  const text = new Date(Number(micros / 1000n)).toISOString();
  return text.replace("Z", `${String(micros % 1000n).padStart(3, "0")}Z`);
}
