import {
  LOG_RECORD,
  REQUEST,
  type Field,
  type FieldKind,
  type Message,
} from "../../otlp/schema.ts";

/** How a member's value is read. Numbers, so that the compiler makes a jump table of the cases. */
export const STRING = 0;
export const TIME = 1;
export const UINT32 = 2;
export const FIXED32 = 3;
export const TRACE_ID = 4;
export const SPAN_ID = 5;
export const INT64 = 6;
export const DOUBLE = 7;
export const BOOL = 8;
export const BYTES = 9;
export const MESSAGE = 10;
export const MESSAGES = 11;

const FORMS: Readonly<Record<FieldKind, number>> = {
  string: STRING,
  time: TIME,
  severity: UINT32,
  uint32: UINT32,
  fixed32: FIXED32,
  traceId: TRACE_ID,
  spanId: SPAN_ID,
  int64: INT64,
  double: DOUBLE,
  bool: BOOL,
  bytes: BYTES,
  message: MESSAGE,
};

/** One member of a JSON object, and the protobuf field that it becomes. */
export interface JsonMember {
  /** Its name and the quote after it, in words; the last word may overlap the one before it. */
  readonly words: readonly number[];
  readonly bytes: number;
  readonly tag: number;
  readonly form: number;
  /** The members of the message, or of each message in the list. */
  readonly members: JsonMembers | undefined;
  /** Its index among the members of its object, as a bit. */
  readonly bit: number;
  /** True if it is also written when it is empty. */
  readonly isOneOf: boolean;
}

export interface JsonMembers {
  readonly list: readonly JsonMember[];
  readonly isOneOf: boolean;
}

const WORD_BYTES = 4;

const tables = new Map<Message, JsonMembers>();

export const REQUEST_MEMBERS = membersOf(REQUEST);
export const RECORD_MEMBERS = membersOf(LOG_RECORD);

/** Makes the table for a message, once: messages may contain themselves. */
function membersOf(message: Message): JsonMembers {
  const known = tables.get(message);
  if (known !== undefined) return known;
  const list: JsonMember[] = [];
  const table = { list, isOneOf: message.isOneOf };
  tables.set(message, table);
  // All tags here have one byte, which the transcoder relies on.
  for (const field of message.fields.filter(({ tag }) => tag < 0x80)) {
    list.push(memberOf(field, list.length, message.isOneOf));
  }
  return table;
}

function memberOf(field: Field, index: number, isOneOf: boolean): JsonMember {
  const { name, tag, kind, isRepeated, message } = field;
  const text = Buffer.from(`${name}"`);
  const words: number[] = [];
  for (let at = 0; at < text.length - WORD_BYTES; at += WORD_BYTES)
    words.push(text.readInt32LE(at));
  words.push(text.readInt32LE(text.length - WORD_BYTES));
  return {
    words,
    bytes: text.length,
    tag,
    form: isRepeated ? MESSAGES : FORMS[kind],
    members: message === undefined ? undefined : membersOf(message),
    bit: 1 << index,
    isOneOf,
  };
}

/** The value of each hex digit; 16 for any other byte. */
export const HEX = new Uint8Array(256).fill(16);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  HEX[digit.charCodeAt(0)] = value;
  HEX[digit.toUpperCase().charCodeAt(0)] = value;
}

/** The character that a backslash and this one stand for, or 0. */
export const ESCAPED = new Uint8Array(256);
for (const [char, meaning] of Object.entries({
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
})) {
  ESCAPED[char.charCodeAt(0)] = meaning.charCodeAt(0);
}

const ZERO = 0x30;
/** Any number of so many digits fits into 64 bits. */
const DIGITS_MAX = 19;
const LOWER_DIGITS = 9;
const BILLION = 1e9;

const WORD = 2 ** 32;
/** The upper digits are multiplied in two parts, so that each product stays below 2^47, where doubles are exact. */
const PART = 2 ** 17;
const PARTS_OF_WORD = WORD / PART;

/** An unsigned 64-bit number that is read from decimal digits, in doubles that never exceed what they hold exactly. */
export class Uint64 {
  /** Its halves, as signed numbers. */
  low = 0;
  high = 0;

  /** Reads digits; returns false if there are none, or too many. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    const count = end - start;
    if (count < 1 || count > DIGITS_MAX) return false;
    const split = Math.max(start, end - LOWER_DIGITS);
    const upper = numberOf(bytes, start, split);
    const lower = numberOf(bytes, split, end);
    const upperPart = Math.floor(upper / PART);
    const shifted = upperPart * BILLION;
    const high = Math.floor(shifted / PARTS_OF_WORD);
    const sum =
      (shifted - high * PARTS_OF_WORD) * PART + (upper - upperPart * PART) * BILLION + lower;
    const carry = Math.floor(sum / WORD);
    this.low = (sum - carry * WORD) | 0;
    this.high = (high + carry) | 0;
    return true;
  }
}

function numberOf(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let index = start; index < end; index++) number = 10 * number + bytes[index]! - ZERO;
  return number;
}
