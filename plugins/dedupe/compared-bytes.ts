import type { EncodedMessage } from "tailgate/plugin";
import { LOG_RECORD, MessageFields } from "../windows/message-fields.ts";

/** Larger records are not compared. */
const COMPARED_BYTES_MAX = 16 << 10;

/** What differs between records of one log statement that say the same. */
const NEVER_COMPARED: ReadonlySet<number> = new Set([
  LOG_RECORD.timestamp,
  LOG_RECORD.observedTimestamp,
  LOG_RECORD.traceId,
  LOG_RECORD.spanId,
  LOG_RECORD.flags,
]);

/** Which of a record's content is compared. The level and the event's name always are. */
export interface ComparedFields {
  readonly body: boolean;
  /** Returns whether an attribute is compared; undefined if all are. */
  readonly attribute: ((name: string) => boolean) | undefined;
}

/**
 * Extracts what is compared of records. Two records are equal if these bytes are: fields have tags and lengths, so that
 * different content has different bytes, whatever is left out.
 */
export class ComparedBytes {
  readonly #compared: ComparedFields;
  readonly #fields = new MessageFields();
  readonly #attributeFields = new MessageFields();
  readonly #bytes = Buffer.allocUnsafe(COMPARED_BYTES_MAX);

  constructor(compared: ComparedFields) {
    this.#compared = compared;
  }

  /** Returns the bytes of a LogRecord message, valid until the next call; undefined if it is too large to be compared. */
  of(message: EncodedMessage): Buffer | undefined {
    const { bytes, start, end } = message;
    if (end - start > COMPARED_BYTES_MAX) return undefined;
    const fields = this.#fields.read(message);
    let length = 0;
    /** Adjacent fields are copied together. */
    let from = start;
    while (fields.next()) {
      if (this.#isCompared(bytes)) continue;
      length += this.#copy(bytes, from, fields.start, length);
      from = fields.end;
    }
    if (fields.isBroken) return undefined;
    length += this.#copy(bytes, from, end, length);
    return this.#bytes.subarray(0, length);
  }

  #isCompared(bytes: Uint8Array): boolean {
    const { number } = this.#fields;
    if (number === LOG_RECORD.body) return this.#compared.body;
    if (number !== LOG_RECORD.attributes) return !NEVER_COMPARED.has(number);
    return this.#compared.attribute?.(this.#attributeName(bytes)) ?? true;
  }

  /** Returns the key of the current field, a KeyValue message: its field 1, and the last one if it is repeated. */
  #attributeName(bytes: Uint8Array): string {
    const { valueStart: start, end } = this.#fields;
    const fields = this.#attributeFields.read({ bytes, start, end });
    let name = "";
    while (fields.next()) {
      if (fields.number === 1) name = textAt(bytes, fields.valueStart, fields.end);
    }
    return name;
  }

  #copy(bytes: Uint8Array, start: number, end: number, at: number): number {
    if (end > start) this.#bytes.set(bytes.subarray(start, end), at);
    return end - start;
  }
}

function textAt({ buffer, byteOffset }: Uint8Array, start: number, end: number): string {
  return Buffer.from(buffer, byteOffset + start, end - start).toString();
}
