import type { RecordView } from "tailgate/plugin";
import { isCardInteger, mayBeCard } from "./cards.ts";
import type { CustomPatterns } from "./custom-patterns.ts";
import type { KeyGlobs } from "./key-globs.ts";
import { IDENTIFIER_BYTES } from "./rules.ts";
import type { Scanner } from "./scanner.ts";
import { hasSuperseded, type MessageKind } from "./superseded.ts";

/** Wire types of protobuf (protobuf.dev/programming-guides/encoding). */
const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

/** A byte from here on is followed by others of the same varint. */
const CONTINUED = 0x80;
/** The bits of a tag that tell whether it has one byte, and its wire type. */
const SHORT_LENGTH_MASK = CONTINUED | 7;

/** Fields of opentelemetry-proto, logs.proto, common.proto and resource.proto. */
const RECORD_SEVERITY_TEXT = 3;
const RECORD_BODY = 5;
const RECORD_ATTRIBUTES = 6;
const RECORD_TRACE_ID = 9;
const RECORD_SPAN_ID = 10;
const RECORD_EVENT_NAME = 12;
const RESOURCE_ATTRIBUTES = 1;
/** The name and the version are identifiers. */
const SCOPE_VERSION = 2;
const SCOPE_ATTRIBUTES = 3;
const KEY = 1;
const KEY_VALUE = 2;
const STRING = 1;
const INTEGER = 3;
const DOUBLE = 4;
const LIST = 5;
const MAP = 6;
/** Of a list and of a map. */
const ENTRIES = 1;

/** What is nested deeper cannot be decoded (`DEPTH_MAX` of the gateway), so that it could not be redacted. */
const DEPTH_MAX = 100;

/** A longer text is not the name in a pair of a name and a value. */
const NAME_BYTES_MAX = 128;

const OPENING_BRACE = 0x7b;
const OPENING_BRACKET = 0x5b;
const SPACE = 0x20;

export interface EncodedRecordParts {
  readonly scanner: Scanner;
  readonly keys: KeyGlobs;
  readonly custom: CustomPatterns | undefined;
  readonly findsCards: boolean;
}

/** Says of each part of a record whether it is as it was sent. */
export interface UnchangedParts {
  readonly record: boolean;
  readonly resource: boolean;
  readonly scope: boolean;
}

/** What a scan has found: nothing, what may be a secret, or a secret. */
const NONE = 0;
const POSSIBLE = 1;
const CERTAIN = 2;

type Verdict = typeof NONE | typeof POSSIBLE | typeof CERTAIN;

/**
 * Finds out whether a record contains secrets, by its bytes. It may say so of a record that has none, such as if a text
 * looks like a key; never the other way around.
 */
export class EncodedRecord {
  readonly #scanner: Scanner;
  readonly #keys: KeyGlobs;
  readonly #custom: CustomPatterns | undefined;
  readonly #findsCards: boolean;
  #recordVerdict: Verdict = NONE;
  /** The newest record in which there may be a secret. */
  #message: Uint8Array = new Uint8Array();
  /** The verdicts on the newest resource and scope; nearly all records of a request share them. */
  #resource: Uint8Array | undefined;
  #resourceVerdict: Verdict = NONE;
  #scope: Uint8Array | undefined;
  #scopeVerdict: Verdict = NONE;
  #bytes: Buffer = Buffer.alloc(0);
  /** The next byte; the number, the wire type and the content of the field that was read last. */
  #position = 0;
  #number = 0;
  #type = 0;
  #start = 0;
  #end = 0;
  #integer = 0;

  constructor({ scanner, keys, custom, findsCards }: EncodedRecordParts) {
    this.#scanner = scanner;
    this.#keys = keys;
    this.#custom = custom;
    this.#findsCards = findsCards;
  }

  /** @throws Error if there is a secret where it cannot be redacted. */
  hasSecrets(view: RecordView): boolean {
    const { bytes, start, end } = view.message();
    this.#recordVerdict = this.#record(bytes, start, end);
    if (this.#recordVerdict !== NONE) this.#message = bytes.subarray(start, end);
    const resource = view.resourceBytes();
    if (resource !== this.#resource) {
      this.#resourceVerdict = this.#part(resource, RESOURCE_ATTRIBUTES, 0);
      this.#resource = resource;
    }
    const scope = view.scopeBytes();
    if (scope !== this.#scope) {
      this.#scopeVerdict = this.#part(scope, SCOPE_ATTRIBUTES, SCOPE_VERSION);
      this.#scope = scope;
    }
    return this.#recordVerdict + this.#resourceVerdict + this.#scopeVerdict > 0;
  }

  /**
   * Returns whether parts of the record that was scanned last contain a secret although its redaction has not changed them:
   * it is in what only the bytes have, such as the first of two values of a repeated key, and would be passed on with them.
   */
  hasHidden(unchanged: UnchangedParts): boolean {
    return (
      (unchanged.record && isHiding(this.#recordVerdict, "record", this.#message)) ||
      (unchanged.resource && isHiding(this.#resourceVerdict, "resource", this.#resource!)) ||
      (unchanged.scope && isHiding(this.#scopeVerdict, "scope", this.#scope!))
    );
  }

  #record(bytes: Uint8Array, start: number, end: number): Verdict {
    this.#read(bytes, start);
    let verdict: Verdict = NONE;
    while (this.#position < end) {
      if (!this.#field(end)) return POSSIBLE;
      if (this.#type !== LENGTH) continue;
      const after = this.#position;
      const number = this.#number;
      if (number === RECORD_ATTRIBUTES) {
        verdict = worse(verdict, this.#entry(this.#start, this.#end, 0, true));
      } else if (number === RECORD_BODY) {
        verdict = worse(verdict, this.#value(this.#start, this.#end, 0));
      } else if (number === RECORD_SEVERITY_TEXT || number === RECORD_EVENT_NAME) {
        verdict = worse(verdict, this.#text(this.#start, this.#end));
      } else if (number !== RECORD_TRACE_ID && number !== RECORD_SPAN_ID) {
        this.#checkUnknown(this.#start, this.#end);
      }
      this.#position = after;
    }
    return verdict;
  }

  /** Scans a Resource or an InstrumentationScope. Length-delimited fields up to `identifiers` are not redacted. */
  #part(bytes: Uint8Array, attributes: number, identifiers: number): Verdict {
    this.#read(bytes, 0);
    let verdict: Verdict = NONE;
    while (this.#position < bytes.length) {
      if (!this.#field(bytes.length)) return POSSIBLE;
      if (this.#type !== LENGTH) continue;
      const after = this.#position;
      if (this.#number === attributes) {
        verdict = worse(verdict, this.#entry(this.#start, this.#end, 0, false));
      } else if (this.#number > identifiers) {
        this.#checkUnknown(this.#start, this.#end);
      }
      this.#position = after;
    }
    return verdict;
  }

  #read(bytes: Uint8Array, start: number): void {
    const { buffer, byteOffset, length } = bytes;
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(buffer, byteOffset, length);
    this.#position = start;
  }

  /** Unknown fields are passed on as they are. */
  #checkUnknown(start: number, end: number): void {
    if (this.#text(start, end) === NONE) return;
    throw new Error("there is a secret in an unknown field, which cannot be redacted");
  }

  /** Scans a KeyValue. The last key and the last value count, but the others would be passed on with them. */
  #entry(start: number, end: number, depth: number, isTopLevel: boolean): Verdict {
    let keyStart = 0;
    let keyEnd = 0;
    let valueStart = 0;
    let valueEnd = 0;
    let verdict: Verdict = NONE;
    this.#position = start;
    while (this.#position < end) {
      if (!this.#field(end)) return POSSIBLE;
      if (this.#type !== LENGTH) continue;
      const after = this.#position;
      if (this.#number === KEY_VALUE) {
        const before = { start: valueStart, end: valueEnd };
        valueStart = this.#start;
        valueEnd = this.#end;
        if (before.end !== 0)
          verdict = worse(verdict, this.#value(before.start, before.end, depth));
      } else {
        const isKey = this.#number === KEY;
        if (isKey) {
          keyStart = this.#start;
          keyEnd = this.#end;
        }
        verdict = worse(verdict, this.#text(this.#start, this.#end));
        if (isKey && this.#isKey(keyStart, keyEnd, Infinity)) verdict = worse(verdict, POSSIBLE);
      }
      this.#position = after;
    }
    if (verdict !== NONE) return verdict;
    if (isTopLevel && this.#isExempt(keyStart, keyEnd) && !this.#isNested(valueStart, valueEnd)) {
      return NONE;
    }
    return this.#value(valueStart, valueEnd, depth);
  }

  /** Returns whether an AnyValue is anything but one text, number or byte array. */
  #isNested(start: number, end: number): boolean {
    this.#position = start;
    if (start === end) return false;
    return (
      !this.#field(end) || this.#position !== end || this.#number === LIST || this.#number === MAP
    );
  }

  #isExempt(start: number, end: number): boolean {
    for (const name of IDENTIFIER_BYTES) {
      if (name.length === end - start && this.#startsWith(start, name)) return true;
    }
    return false;
  }

  #startsWith(start: number, text: Uint8Array): boolean {
    for (let index = 0; index < text.length; index++) {
      if (this.#bytes[start + index] !== text[index]) return false;
    }
    return true;
  }

  /** Returns whether the text that was scanned last is one of the configured keys, or may be the end of a path to one. */
  #isKey(start: number, end: number, bytesMax: number): boolean {
    const isCandidate = this.#scanner.sawKey || this.#keys.isUnbounded;
    if (!isCandidate || end - start > bytesMax) return false;
    return this.#keys.hasPaths || this.#keys.matches(this.#bytes.toString("utf8", start, end));
  }

  /** Scans an AnyValue. */
  #value(start: number, end: number, depth: number): Verdict {
    if (depth > DEPTH_MAX) {
      this.#checkUnknown(start, end);
      return NONE;
    }
    let verdict: Verdict = NONE;
    this.#position = start;
    while (this.#position < end) {
      if (!this.#field(end)) return POSSIBLE;
      const after = this.#position;
      verdict = worse(verdict, this.#content(depth));
      this.#position = after;
    }
    return verdict;
  }

  /** Scans the field of an AnyValue that was read last. */
  #content(depth: number): Verdict {
    const start = this.#start;
    const end = this.#end;
    switch (this.#type) {
      case LENGTH:
        if (this.#number === LIST) return this.#entries(start, end, depth + 1, false);
        if (this.#number === MAP) return this.#entries(start, end, depth + 1, true);
        return worse(
          this.#text(start, end),
          this.#number === STRING ? this.#asName(start, end) : NONE,
        );
      case VARINT:
        return this.#number === INTEGER ? this.#integerVerdict() : NONE;
      case FIXED64:
        return this.#number === DOUBLE
          ? this.#numberVerdict(this.#bytes.readDoubleLE(start))
          : NONE;
      default:
        return NONE;
    }
  }

  /** Scans a list or a map. */
  #entries(start: number, end: number, depth: number, isMap: boolean): Verdict {
    let verdict: Verdict = NONE;
    this.#position = start;
    while (this.#position < end) {
      if (!this.#field(end)) return POSSIBLE;
      if (this.#type !== LENGTH) continue;
      const after = this.#position;
      const entry =
        this.#number !== ENTRIES
          ? this.#text(this.#start, this.#end)
          : isMap
            ? this.#entry(this.#start, this.#end, depth, false)
            : this.#value(this.#start, this.#end, depth);
      verdict = worse(verdict, entry);
      this.#position = after;
    }
    return verdict;
  }

  /** A text that was scanned last may be the name of a secret that is beside it, or JSON with one. */
  #asName(start: number, end: number): Verdict {
    const { sawKey, sawEscape } = this.#scanner;
    if (!sawKey && !sawEscape && !this.#keys.isUnbounded) return NONE;
    return this.#isJson(start, end) || this.#isKey(start, end, NAME_BYTES_MAX) ? POSSIBLE : NONE;
  }

  #isJson(start: number, end: number): boolean {
    let at = start;
    while (at < end && this.#bytes[at]! <= SPACE) at++;
    const first = this.#bytes[at];
    return at < end && (first === OPENING_BRACE || first === OPENING_BRACKET);
  }

  #text(start: number, end: number): Verdict {
    if (this.#scanner.test(this.#bytes, start, end)) return CERTAIN;
    return this.#custom?.test(this.#bytes.toString("utf8", start, end)) === true ? POSSIBLE : NONE;
  }

  #integerVerdict(): Verdict {
    if (this.#custom === undefined && !mayBeCard(this.#integer)) return NONE;
    return this.#numberVerdict(this.#exactInteger());
  }

  #numberVerdict(value: number | bigint): Verdict {
    if (this.#findsCards && isCardInteger(value)) return CERTAIN;
    return this.#custom?.test(value.toString()) === true ? POSSIBLE : NONE;
  }

  /** Reads a field; returns false if it is malformed. */
  #field(end: number): boolean {
    const bytes = this.#bytes;
    const position = this.#position;
    const tag = bytes[position]!;
    const length = bytes[position + 1]!;
    if ((tag & SHORT_LENGTH_MASK) !== LENGTH || length >= CONTINUED) return this.#anyField(end);
    // Nearly all fields are texts and messages with a small number and size.
    const start = position + 2;
    this.#number = tag >>> 3;
    this.#type = LENGTH;
    this.#start = start;
    this.#end = start + length;
    this.#position = start + length;
    return start + length <= end;
  }

  #anyField(end: number): boolean {
    if (!this.#varint(end)) return false;
    const tag = this.#integer;
    this.#number = Math.floor(tag / 8);
    this.#type = tag % 8;
    this.#start = this.#position;
    switch (this.#type) {
      case VARINT:
        if (!this.#varint(end)) return false;
        break;
      case FIXED64:
        this.#position += 8;
        break;
      case FIXED32:
        this.#position += 4;
        break;
      case LENGTH:
        if (!this.#varint(end)) return false;
        this.#start = this.#position;
        this.#position += this.#integer;
        break;
      default:
        return false;
    }
    this.#end = this.#position;
    return this.#position <= end;
  }

  /** Reads a varint as a number, which is exact up to 2^53. */
  #varint(end: number): boolean {
    let value = 0;
    let unit = 1;
    for (let at = this.#position; at < end; at++) {
      const byte = this.#bytes[at]!;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) {
        this.#position = at + 1;
        this.#integer = value;
        return true;
      }
      unit *= 0x80;
    }
    return false;
  }

  /** Returns the varint that was read last. */
  #exactInteger(): number | bigint {
    if (Number.isSafeInteger(this.#integer)) return this.#integer;
    let value = 0n;
    for (let at = this.#position - 1; at >= this.#start; at--) {
      value = (value << 7n) | BigInt(this.#bytes[at]! & 0x7f);
    }
    return BigInt.asIntN(64, value);
  }
}

/** A secret that is only possible may be none, if nothing could be hidden. */
function isHiding(verdict: Verdict, part: MessageKind, bytes: Uint8Array): boolean {
  return verdict === CERTAIN || (verdict === POSSIBLE && hasSuperseded(bytes, part));
}

function worse(one: Verdict, other: Verdict): Verdict {
  return one > other ? one : other;
}
