import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import { WrongValue, type RequestFindings } from "./findings.ts";
import { isInt64, ProtobufWriter } from "./protobuf.ts";
import { ANY_VALUE, LOG_RECORD, type Field, type Message } from "./schema.ts";

type JsonObject = Readonly<Record<string, unknown>>;

const UINT64_MAX = 2n ** 64n - 1n;

/** Hex digits that are not all zero. */
const VALID_ID = /^0*[1-9a-f][0-9a-f]*$/i;
const ZERO_ID = /^0*$/;
const HEX = /^(?:[0-9a-f]{2})+$/i;

/** Both alphabets of RFC 4648, with or without padding. */
export const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Nanoseconds as most senders write them, far from the limit of 64 bits. */
const USUAL_TIME = /^\d{1,19}$/;

/** One message is encoded at a time, without interruption. */
const writer = new ProtobufWriter();

/**
 * Encodes parsed JSON as protobuf, guided by the schema. It accepts what senders write: proto3's JSON mapping, OTLP's
 * hex ids, names in snake case, names of severities, 64-bit integers as strings or numbers. Null stands for an absent
 * member, unknown members are ignored, lone surrogates become U+FFFD, and lists and maps beyond DEPTH_MAX levels a text.
 */
export class JsonMessageEncoder {
  readonly #path: JsonPath;
  readonly #findings: RequestFindings | undefined;

  /** `path` is where the message is in the request; after an exception, it is where the wrong value is. */
  constructor(path: JsonPath, findings: RequestFindings | undefined) {
    this.#path = path;
    this.#findings = findings;
  }

  /** @throws WrongValue */
  encode(json: unknown, message: Message): Uint8Array {
    writer.begin();
    const object = this.#object(json);
    if (message === LOG_RECORD) this.#checkContents(object);
    this.#fields(object, message, 0);
    return writer.take();
  }

  /** Reports a record that is not empty but has no known field. */
  #checkContents(json: JsonObject): void {
    const names = Object.keys(json);
    if (names.length === 0 || names.some((name) => LOG_RECORD.byJsonName.has(name))) return;
    this.#findings?.emptyRecord(this.#path.toString());
  }

  /** Encodes the fields of a message that is nested in `depth` lists and maps. */
  #fields(json: JsonObject, message: Message, depth: number): void {
    for (const field of message.fields) {
      const name = nameIn(json, field);
      if (name === undefined) continue;
      this.#path.enter(name);
      if (field.kind !== "message") this.#scalar(json[name], field, message.isOneOf);
      else if (message === ANY_VALUE) this.#nested(json[name], field, depth);
      else if (field.isRepeated) this.#list(json[name], field, depth);
      else this.#message(json[name], field, depth);
      this.#path.leave();
      if (message.isOneOf) return;
    }
  }

  /** Encodes the list or the map in a value. */
  #nested(value: unknown, field: Field, depth: number): void {
    if (depth >= DEPTH_MAX) writer.string(ANY_VALUE.tags.stringValue, DEPTH_TEXT);
    else this.#message(value, field, depth + 1);
  }

  #list(value: unknown, field: Field, depth: number): void {
    if (!Array.isArray(value)) throw this.#wrong(value, "an array");
    for (let index = 0; index < value.length; index++) {
      this.#path.enter(index);
      const element: unknown = value[index];
      // In a list of values, null is one without a value.
      this.#message(element === null && field.message === ANY_VALUE ? {} : element, field, depth);
      this.#path.leave();
    }
  }

  #message(value: unknown, { tag, message }: Field, depth: number): void {
    const start = writer.open(tag);
    this.#fields(this.#object(value), message!, depth);
    writer.close(start);
  }

  /** Encodes a field that is not a message. Zeros and empty strings are left out unless `isOneOf`. */
  #scalar(value: unknown, field: Field, isOneOf: boolean): void {
    const { tag } = field;
    switch (field.kind) {
      case "string": {
        const text = field.isLenient && typeof value !== "string" ? "" : this.#string(value);
        if (text !== "" || isOneOf) writer.string(tag, text);
        return;
      }
      case "time": {
        const nanos = this.#time(value);
        if (nanos !== 0n) writer.fixed64(tag, nanos);
        return;
      }
      case "severity":
      case "uint32":
      case "fixed32":
        return this.#smallInteger(value, field);
      case "int64":
        return this.#int64(tag, value);
      case "double":
        return writer.double(tag, this.#double(value));
      case "bool":
        if (typeof value !== "boolean") throw this.#wrong(value, "true or false");
        return writer.varint(tag, value ? 1 : 0);
      case "bytes": {
        const text = this.#string(value);
        if (!BASE64.test(text)) throw this.#wrong(text, "base64");
        return writer.bytes(tag, Buffer.from(text, "base64"));
      }
      default:
        return this.#id(value, field);
    }
  }

  #string(value: unknown): string {
    if (typeof value !== "string") throw this.#wrong(value, "a string");
    return value;
  }

  #time(value: unknown): bigint {
    if (typeof value === "string" && USUAL_TIME.test(value)) return BigInt(value);
    const integer = integerOf(value);
    const nanos = integer !== undefined && Number.isFinite(Number(integer)) ? BigInt(integer) : -1n;
    if (nanos >= 0n && nanos <= UINT64_MAX) return nanos;
    throw this.#wrong(value, "a time in nanoseconds since 1970");
  }

  #smallInteger(value: unknown, { tag, kind, isLenient }: Field): void {
    const named =
      kind === "severity" && typeof value === "string" ? severityNumberOf(value) : undefined;
    const integer = named ?? integerOf(value);
    if (typeof integer !== "number" || !Number.isSafeInteger(integer)) {
      if (isLenient) return;
      throw this.#wrong(value, "an integer");
    }
    if (integer === 0) return;
    if (kind === "fixed32") writer.fixed32(tag, integer);
    else writer.int64(tag, integer);
  }

  /** JavaScript's SDK sends all whole numbers as integers; one beyond int64 becomes the nearest double. */
  #int64(tag: number, value: unknown): void {
    const integer = integerOf(value);
    if (integer === undefined) throw this.#wrong(value, "an integer");
    const isExact = Number.isFinite(Number(integer)) && isInt64(BigInt(integer));
    if (isExact) writer.int64(tag, integer);
    else writer.double(ANY_VALUE.tags.doubleValue, Number(integer));
  }

  /** JSON has no NaN and no infinities; JavaScript's SDK sends them as null. */
  #double(value: unknown): number {
    if (typeof value === "number") return value;
    if (value === null) return Number.NaN;
    const double = typeof value === "string" ? doubleOf(value) : undefined;
    if (double === undefined) throw this.#wrong(value, "a number");
    return double;
  }

  /** Keeps an id of a wrong length, as it would come in protobuf; a text that is not hex is left out. */
  #id(value: unknown, { tag, idBytes }: Field): void {
    const id = this.#string(value);
    const digits = 2 * idBytes;
    const isAbsent = id === "" || (id.length === digits && ZERO_ID.test(id));
    if (!isAbsent && !(id.length === digits && VALID_ID.test(id))) {
      this.#findings?.invalidId(
        `${this.#path.toString()}: a string of ${id.length} characters is not ${digits} hex digits`,
      );
    }
    if (HEX.test(id)) writer.bytes(tag, Buffer.from(id, "hex"));
  }

  #object(value: unknown): JsonObject {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as JsonObject;
    }
    throw this.#wrong(value, "an object");
  }

  #wrong(value: unknown, expected: string): WrongValue {
    return this.#path.wrongValue(`${shown(value)} is not ${expected}`);
  }
}

/** Returns the first name by which the field is present. Null means absent, except for a double: NaN is sent as null. */
function nameIn(json: JsonObject, { jsonNames, kind }: Field): string | undefined {
  for (const name of jsonNames) {
    const value = json[name];
    if (value !== undefined && (value !== null || kind === "double")) return name;
  }
  return undefined;
}

/** Says in the text of an error what a value is. What was logged must not be in errors, which are logged. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "string") return "a string";
  return typeof value === "number" ? "a number" : String(value);
}

const NOT_FINITE = /^(?:NaN|-?Infinity)$/;

function doubleOf(text: string): number | undefined {
  return NOT_FINITE.test(text) || DECIMAL.test(text) ? Number(text) : undefined;
}

/** Sign, whole digits, fraction and exponent. */
const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** Integers of so few digits are exact as doubles. */
const SHORT_INTEGER = /^-?\d{1,15}$/;

/** A number of more digits is beyond 64 bits. */
const DIGITS_MAX = 20;

/** Returns undefined for a value that is no integer. */
function integerOf(value: unknown): bigint | number | undefined {
  if (typeof value === "string") return parseInteger(value);
  return Number.isInteger(value) ? (value as number) : undefined;
}

/** Parses an integer exactly up to {@link DIGITS_MAX} digits, and as the nearest double beyond. */
function parseInteger(text: string): bigint | number | undefined {
  if (SHORT_INTEGER.test(text)) return Number(text);
  const match = DECIMAL.exec(text);
  if (!match) return undefined;
  const [, sign = "", whole = "", fraction = "", exponentText = "0"] = match;
  const digits = (whole + fraction).replace(/^0+/, "");
  const exponent = Number(exponentText) - fraction.length;
  const wholeDigits = digits.length + exponent;
  if (digits === "") return 0;
  if (wholeDigits > DIGITS_MAX) return Number(text);
  if (wholeDigits <= 0 || /[^0]/.test(digits.slice(wholeDigits))) return undefined;
  return BigInt(sign + digits.slice(0, wholeDigits).padEnd(wholeDigits, "0"));
}

const INTEGER_NAMES = [...LOG_RECORD.fields, ...ANY_VALUE.fields]
  .filter(({ kind }) => kind === "time" || kind === "int64")
  .flatMap(({ jsonNames }) => jsonNames);

const BARE_INTEGER = new RegExp(
  `("(?:${INTEGER_NAMES.join("|")})"\\s*:\\s*)(-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)(?=\\s*[,}])`,
  "g",
);

/**
 * Quotes the 64-bit integers in a JSON text that JSON.parse would round, so that their digits are kept. Such a member
 * cannot be part of a string, because the quotes around its name would be escaped there. Unlike a reviver this does not
 * recurse, so no depth of nesting exhausts the stack.
 */
export function quoteLargeIntegers(json: string): string {
  return json.replaceAll(BARE_INTEGER, (member, name: string, digits: string) => {
    const number = Number(digits);
    return Number.isSafeInteger(number) || !Number.isInteger(number)
      ? member
      : `${name}"${digits}"`;
  });
}

/** Each has four numbers, from 1 on. */
const SEVERITY_LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const SEVERITY_NAME = new RegExp(
  `^SEVERITY_NUMBER_(?:UNSPECIFIED|(${SEVERITY_LEVELS.join("|")})([2-4])?)$`,
);

/** Returns the number of a name such as `SEVERITY_NUMBER_WARN2`, in any case; undefined for another text. */
function severityNumberOf(name: string): number | undefined {
  const match = SEVERITY_NAME.exec(name.toUpperCase());
  if (match === null) return undefined;
  const [, level = "", step = "1"] = match;
  return level === "" ? 0 : 4 * SEVERITY_LEVELS.indexOf(level) + Number(step);
}

/** The position in a JSON document that is being read, such as `resourceLogs[0].scopeLogs[1].scope`. */
export class JsonPath {
  readonly #steps: (string | number)[] = [];

  /** Enters a member, by its name, or an element, by its index. */
  enter(step: string | number): void {
    this.#steps.push(step);
  }

  leave(): void {
    this.#steps.pop();
  }

  get depth(): number {
    return this.#steps.length;
  }

  /** Returns to an outer position of that depth. */
  backTo(depth: number): void {
    this.#steps.length = depth;
  }

  /** Returns the error for a wrong value at the position. */
  wrongValue(why: string): WrongValue {
    return new WrongValue(this.toString() || "its root", why);
  }

  toString(): string {
    return this.#steps
      .map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`))
      .join("")
      .slice(1);
  }
}
