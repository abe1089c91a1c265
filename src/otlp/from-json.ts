import { isUtf8 } from "node:buffer";
import { textOf, type TailgateError } from "../wire/errors.ts";
import { endOfString, endOfValue } from "../envelope/audit-line.ts";
import { buildRequest } from "./encode.ts";
import { undecodable, type RequestFindings } from "./findings.ts";
import { JsonMessageEncoder, JsonPath, quoteLargeIntegers, shown } from "./json-message.ts";
import {
  PART_BYTES_MAX,
  PART_VALUES_MAX,
  REQUEST_RECORDS_MAX,
  STEP_BYTES,
  tooManyRecords,
  tooManyValues,
  type Steps,
} from "./request-limits.ts";
import { PartBudget } from "./request-index.ts";
import { LOG_RECORD, REQUEST, RESOURCE_LOGS, SCOPE_LOGS, type Message } from "./schema.ts";

/** A value has at most six commas, braces and brackets: `{"key":"a","value":{"intValue":1}},`. */
const PUNCTUATION_MAX = 6 * PART_VALUES_MAX;

/** One level of an OTLP value is four levels of JSON; those beyond `DEPTH_MAX` levels of values are not shown anyway. */
const JSON_DEPTH_MAX = 500;

/** A part that is larger than this is parsed in a step of its own. */
const LARGE_PART_BYTES = 4 << 10;

/** An error in a small request is searched for in all of it. */
const SMALL_BYTES = 256 << 10;

/** How much of an unknown member's name an error shows. */
const NAME_CHARS_MAX = 60;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;
const NULL = Buffer.from("null");
const BYTE_ORDER_MARK = Buffer.from("\uFEFF");

const EMPTY = new Uint8Array();

interface ResourceEntry {
  encoded: Uint8Array;
}

interface ScopeEntry {
  readonly resource: ResourceEntry;
  encoded: Uint8Array;
}

interface RecordEntry {
  readonly scope: ScopeEntry;
  readonly encoded: Uint8Array;
}

/** A value in the request, and its text without what is nested too deep, if anything is. */
interface ValueSpan {
  readonly start: number;
  readonly end: number;
  readonly shortened: string | undefined;
}

type ReadMember = (name: string, field: string | undefined) => Steps<void> | undefined;

/**
 * Transcodes an ExportLogsServiceRequest from JSON to protobuf, in steps. It goes through the bytes record by record: a
 * record, a resource or a scope is parsed when it is known that it is not too large and has not too many values, and
 * without what is nested too deep. If a member is repeated, the last one counts, as with JSON.parse; what is not UTF-8
 * becomes U+FFFD. With `findings`, a wrong value only rejects the records that it belongs to.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function jsonToProtobuf(
  body: Uint8Array,
  findings?: RequestFindings,
  fastRecord?: FastRecord,
): Steps<Uint8Array> {
  return new JsonRequest(body, findings, fastRecord).transcode();
}

/** A faster way for a record in UTF-8: returns the same LogRecord message, or undefined if it cannot read the record. */
type FastRecord = (record: Uint8Array) => Uint8Array | undefined;

class JsonRequest {
  readonly #bytes: Buffer;
  readonly #findings: RequestFindings | undefined;
  readonly #fastRecord: FastRecord | undefined;
  readonly #path = new JsonPath();
  readonly #messages: JsonMessageEncoder;
  readonly #records: RecordEntry[] = [];
  readonly #budget = new PartBudget();
  /** Where the first unknown member is that may have held records. */
  #unknown: string | undefined;
  #position = 0;
  #nextStep = STEP_BYTES;

  constructor(
    { buffer, byteOffset, byteLength }: Uint8Array,
    findings: RequestFindings | undefined,
    fastRecord: FastRecord | undefined,
  ) {
    this.#bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.#findings = findings;
    this.#fastRecord = fastRecord !== undefined && isUtf8(this.#bytes) ? fastRecord : undefined;
    this.#messages = new JsonMessageEncoder(this.#path, findings);
  }

  *transcode(): Steps<Uint8Array> {
    if (this.#bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)) {
      this.#position = BYTE_ORDER_MARK.length;
    }
    this.#skipSpace();
    if (this.#findings !== undefined && this.#bytes[this.#position] === OPEN_BRACKET) {
      this.#parseValue();
      this.#findings.unrecognized(unrecognizedText(undefined));
    } else yield* this.#request();
    this.#skipSpace();
    if (this.#position < this.#bytes.length) throw this.#invalidJson();
    const records = this.#records;
    return buildRequest(records.length, (index) => {
      const { scope, encoded } = records[index]!;
      return { resource: scope.resource.encoded, scope: scope.encoded, record: encoded };
    });
  }

  *#request(): Steps<void> {
    const names: string[] = [];
    yield* this.#object(REQUEST, (name, field) => {
      names.push(name);
      if (field === undefined) return undefined;
      this.#records.length = 0;
      return this.#array(field, () => this.#resourceLogs());
    });
    if (this.#records.length > 0 || this.#unknown === undefined) return;
    const isOther = !names.some((name) => REQUEST.byJsonName.has(name));
    const unknown = `${this.#unknown} is not a field of an ExportLogsServiceRequest.`;
    this.#findings?.unrecognized(isOther ? unrecognizedText(names) : unknown);
  }

  *#resourceLogs(): Steps<void> {
    const first = this.#records.length;
    const resource: ResourceEntry = { encoded: EMPTY };
    const json: Record<string, unknown> = {};
    let legacy: readonly RecordEntry[] = [];
    let hasScopes = false;
    const readScope = (): Steps<void> => {
      hasScopes = true;
      return this.#scopeLogs(resource);
    };
    yield* this.#object(RESOURCE_LOGS, (name, field) => {
      switch (field) {
        case undefined:
          return undefined;
        case "scopeLogs":
          this.#records.length = first;
          hasScopes = false;
          return this.#array(field, readScope);
        case "instrumentationLibraryLogs":
          return this.#legacyLogs(resource, (records) => (legacy = records));
        default:
          return this.#parseMember(name, json);
      }
    });
    if (!hasScopes) for (const record of legacy) this.#records.push(record);
    yield;
    resource.encoded = this.#messages.encode(json, RESOURCE_LOGS);
  }

  /** Reads scope logs under their legacy name, which count only if there are no others, as in the OpenTelemetry Collector. */
  *#legacyLogs(
    resource: ResourceEntry,
    found: (records: readonly RecordEntry[]) => void,
  ): Steps<void> {
    const first = this.#records.length;
    yield* this.#array("instrumentationLibraryLogs", () => this.#scopeLogs(resource));
    found(this.#records.splice(first));
  }

  *#scopeLogs(resource: ResourceEntry): Steps<void> {
    const first = this.#records.length;
    const scope: ScopeEntry = { resource, encoded: EMPTY };
    const json: Record<string, unknown> = {};
    yield* this.#object(SCOPE_LOGS, (name, field) => {
      if (field === undefined) return undefined;
      if (field !== "logRecords") return this.#parseMember(name, json);
      this.#records.length = first;
      return this.#array(field, () => this.#record(scope), true);
    });
    yield;
    scope.encoded = this.#messages.encode(json, SCOPE_LOGS);
  }

  *#record(scope: ScopeEntry): Steps<void> {
    const span = this.#value();
    const { start, end, shortened } = span;
    const fast =
      shortened === undefined ? this.#fastRecord?.(this.#bytes.subarray(start, end)) : undefined;
    const encoded = fast ?? (yield* this.#encodeRecord(span));
    this.#records.push({ scope, encoded });
    if (this.#records.length > REQUEST_RECORDS_MAX) throw tooManyRecords(this.#path.toString());
  }

  *#encodeRecord(span: ValueSpan): Steps<Uint8Array> {
    const isLarge = span.end - span.start > LARGE_PART_BYTES;
    if (isLarge) yield;
    const json = this.#parsed(quoteLargeIntegers(this.#textOf(span)));
    if (isLarge) yield;
    const encoded = this.#messages.encode(json, LOG_RECORD);
    if (isLarge) yield;
    return encoded;
  }

  /** Parses a member that is encoded at the end of its object. */
  *#parseMember(name: string, json: Record<string, unknown>): Steps<void> {
    const span = this.#value();
    if (span.end - span.start > LARGE_PART_BYTES) yield;
    json[name] = this.#parsed(quoteLargeIntegers(this.#textOf(span)));
  }

  /** Reads an object and hands its members to `read`; one for which it returns undefined is skipped. */
  *#object(message: Message, read: ReadMember): Steps<void> {
    if (!this.#accept(OPEN_BRACE)) throw this.#wrong("an object");
    if (this.#accept(CLOSE_BRACE)) return;
    do {
      this.#budget.add(this.#position);
      const name = this.#name();
      if (!this.#accept(COLON)) throw this.#invalidJson();
      this.#skipSpace();
      const steps = read(name, message.byJsonName.get(name)?.name);
      if (steps !== undefined) yield* steps;
      else {
        this.#noteUnknown(name);
        this.#parseValue();
      }
      if (this.#isStep()) yield;
    } while (this.#accept(COMMA));
    if (!this.#accept(CLOSE_BRACE)) throw this.#invalidJson();
  }

  #noteUnknown(name: string): void {
    if (this.#unknown !== undefined) return;
    this.#path.enter(name.slice(0, NAME_CHARS_MAX));
    this.#unknown = this.#path.toString();
    this.#path.leave();
  }

  *#array(name: string, read: () => Steps<void>, isOfRecords = false): Steps<void> {
    if (this.#acceptNull()) return;
    this.#path.enter(name);
    if (!this.#accept(OPEN_BRACKET)) throw this.#wrong("an array");
    if (!this.#accept(CLOSE_BRACKET)) {
      let index = 0;
      do {
        this.#path.enter(index++);
        this.#skipSpace();
        yield* this.#element(read(), isOfRecords);
        this.#path.leave();
        if (this.#isStep()) yield;
      } while (this.#accept(COMMA));
      if (!this.#accept(CLOSE_BRACKET)) throw this.#invalidJson();
    }
    this.#path.leave();
  }

  /** Reads an element of an array; if something in it is wrong, its records are rejected. */
  *#element(steps: Steps<void>, isRecord: boolean): Steps<void> {
    const start = this.#position;
    const { depth } = this.#path;
    const first = this.#records.length;
    try {
      yield* steps;
    } catch (error) {
      if (this.#findings === undefined) throw error;
      this.#findings.reject(isRecord ? 1 : this.#records.length - first, error);
      this.#records.length = first;
      this.#path.backTo(depth);
      this.#position = endOfValue(this.#bytes, start);
      // Invalid JSON rejects the whole request.
      if (this.#position - start <= PART_BYTES_MAX) this.#parsed(this.#text(start, this.#position));
    }
  }

  #isStep(): boolean {
    if (this.#position < this.#nextStep) return false;
    this.#nextStep = this.#position + STEP_BYTES;
    return true;
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    let position = this.#position;
    let byte = bytes[position];
    while (byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      byte = bytes[++position];
    }
    if (position - this.#position > PART_BYTES_MAX) throw this.#tooLarge();
    this.#position = position;
  }

  #accept(byte: number): boolean {
    this.#skipSpace();
    if (this.#bytes[this.#position] !== byte) return false;
    this.#position++;
    return true;
  }

  #acceptNull(): boolean {
    this.#skipSpace();
    const end = this.#position + NULL.length;
    if (!this.#bytes.subarray(this.#position, end).equals(NULL)) return false;
    this.#position = end;
    return true;
  }

  #name(): string {
    this.#skipSpace();
    const start = this.#position;
    if (this.#bytes[start] !== QUOTE) throw this.#invalidJson();
    const limit = Math.min(this.#bytes.length, start + PART_BYTES_MAX);
    const end = endOfString(this.#bytes, start, limit);
    if (end - start > PART_BYTES_MAX) throw this.#tooLarge();
    this.#position = end;
    return this.#parsed(this.#text(start, end)) as string;
  }

  /** Goes past a value, which ends in any case at the comma or the bracket after it. */
  #value(): ValueSpan {
    const bytes = this.#bytes;
    const start = this.#position;
    const limit = Math.min(bytes.length, start + PART_BYTES_MAX + 1);
    let shortened: string | undefined;
    let textStart = start;
    let depth = 0;
    let punctuation = 0;
    let position = start;
    for (; position < limit; position++) {
      const byte = bytes[position]!;
      if (byte === QUOTE) position = endOfString(bytes, position, limit) - 1;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (depth++ === JSON_DEPTH_MAX) {
          shortened = `${shortened ?? ""}${this.#text(textStart, position)}null`;
        }
        if (depth <= JSON_DEPTH_MAX) punctuation++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (depth === 0) break;
        if (--depth === JSON_DEPTH_MAX) textStart = position + 1;
      } else if (byte === COMMA) {
        if (depth === 0) break;
        if (depth <= JSON_DEPTH_MAX) punctuation++;
      }
      if (punctuation > PUNCTUATION_MAX) throw tooManyValues(this.#path.toString());
    }
    if (position - start > PART_BYTES_MAX) throw this.#tooLarge();
    this.#position = position;
    if (shortened !== undefined && depth <= JSON_DEPTH_MAX) {
      shortened += this.#text(textStart, position);
    }
    return { start, end: position, shortened };
  }

  #parseValue(): unknown {
    const span = this.#value();
    if (span.end === span.start) throw this.#invalidJson();
    return this.#parsed(this.#textOf(span));
  }

  #textOf({ start, end, shortened }: ValueSpan): string {
    return shortened ?? this.#text(start, end);
  }

  #text(start: number, end: number): string {
    return this.#bytes.toString("utf8", start, end);
  }

  #wrong(expected: string): TailgateError {
    return this.#path.wrongValue(`${shown(this.#parseValue())} is not ${expected}`);
  }

  #tooLarge(): TailgateError {
    return undecodable(
      this.#path.toString() || "its root",
      `a part of it has more than ${PART_BYTES_MAX} bytes`,
    );
  }

  #parsed(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw this.#invalidJson(error);
    }
  }

  /** Returns the parser's own error, for a small request with the position in all of its text. */
  #invalidJson(cause?: unknown): TailgateError {
    if (this.#bytes.length <= SMALL_BYTES) {
      try {
        JSON.parse(new TextDecoder().decode(this.#bytes));
      } catch (error) {
        return undecodable("its text", withoutExcerpt(error));
      }
    }
    const why = cause === undefined ? "it is not valid JSON" : withoutExcerpt(cause);
    return undecodable("its text", `${why}, in the value before byte ${this.#position}`);
  }
}

/** The parser's own text may quote what was logged: `Unexpected token 'x', ..."secret"x"... is not valid JSON`. */
const EXCERPT = /, (?:\.{3})?".*"(?:\.{3})?(?= is not valid JSON$)/s;

function withoutExcerpt(error: unknown): string {
  return textOf(error).replace(EXCERPT, ": it");
}

/** The top-level members of other signals' requests, and where those belong. */
const OTHER_SIGNALS = new Map([
  ["resourceSpans", "/v1/traces"],
  ["resource_spans", "/v1/traces"],
  ["resourceMetrics", "/v1/metrics"],
  ["resource_metrics", "/v1/metrics"],
  ["resourceProfiles", "/v1development/profiles"],
  ["resource_profiles", "/v1development/profiles"],
]);

/** Says what a document with these members is if it is not a request; undefined stands for an array. */
function unrecognizedText(names: readonly string[] | undefined): string {
  if (names === undefined) {
    return 'the body is a JSON array. Send an object: {"resourceLogs": [...]}.';
  }
  const signal = names.find((name) => OTHER_SIGNALS.has(name));
  if (signal !== undefined) {
    return `the body has \`${signal}\`, which belongs to ${OTHER_SIGNALS.get(signal)}.`;
  }
  if (names.some((name) => RESOURCE_LOGS.byJsonName.get(name)?.message === SCOPE_LOGS)) {
    return 'the body is a ResourceLogs by itself. Send it as {"resourceLogs": [...]}.';
  }
  return "the body has no `resourceLogs`, so it is not an ExportLogsServiceRequest.";
}
