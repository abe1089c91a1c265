import { INFO_RANK, type LevelRank } from "../envelope.ts";
import {
  attributeName,
  CODE_NAME,
  kindOf,
  RENAME_PREFIX,
  RESERVED,
  RESERVED_NAME,
  type AttributeName,
} from "./attribute-name.ts";
import { callSiteOf, type CallSite } from "./code-attributes.ts";
import type { EnvelopeStart } from "./envelope-start.ts";
import { ascii, JsonWriter, RECORD_BYTES_MAX, toBase64 } from "./json-writer.ts";
import type { OpenBatch } from "./open-batch.ts";
import type { Origin } from "./record-batch.ts";
import { BRIDGE_NAME_ATTRIBUTES, loggerName, type LoggerName } from "./scope.ts";
import { rankOf } from "./severity.ts";
import { isShownSecond } from "./timestamp.ts";

/** What became of one record. */
export type Outcome = "accepted" | "filtered";

/** The parts of a record that its envelope is made of, whatever form the record came in. */
export interface RecordParts {
  /** Seconds since 1970 UTC; what cannot be shown stands for now. */
  seconds: number;
  micros: number;
  severityNumber: number | undefined;
  severityText: string | undefined;
  loggerName: string;
  /** Null or undefined without a body. */
  body: unknown;
  eventName: string | undefined;
  /** Names of the attributes, each once, with their values at the same places. Undefined values do not count. */
  keys: readonly string[];
  values: readonly unknown[];
  /** True where the values are JavaScript's own, which has one type for integers and doubles. */
  isJavaScript: boolean;
  traceId: string;
  spanId: string;
  /** The service.name of another process; "" for this one. */
  service: string;
}

/** The parts that the logger's name is taken from. */
type NamingParts = Pick<RecordParts, "loggerName" | "keys" | "values">;

/** What a record without `code.*` attributes says of its call site. */
export const NO_CALL_SITE = ascii(',"module":"","function":"","line":0');
export const MODULE = ascii(',"module":');
export const FUNCTION = ascii(',"function":');
export const LINE = ascii(',"line":');
export const ACTION = ascii(',"action":');
/** Before the members, which {@link JsonWriter.closeObject} makes an object. */
export const METADATA = ascii(',"metadata":');
export const ENVELOPE_END = ascii("}}");

/** What a record with more attributes leaves behind of their names. */
const NAMES_KEPT = 64;

/** Rust's tracing names every event after its place in the source; that is no event name (otel.md). */
const PLACE_IN_SOURCE = /^event .+:\d+$/;

/** The event's name, "" where it has none that says something. */
function meaningfulEventName(name: string | undefined): string {
  return name === undefined || PLACE_IN_SOURCE.test(name) ? "" : name;
}

/** Encodes records into the open batch: the way for records that are objects. */
export class EnvelopeEncoder {
  readonly #open: OpenBatch;
  readonly #lowest: LevelRank;
  /** Of the record that is being encoded; further on those of records before it. */
  readonly #names: AttributeName[] = [];
  /** The column whose names these are, and their kinds; undefined where more were there than are kept. */
  #keys: readonly string[] | undefined;
  #kinds = 0;
  readonly #bytesMax: number;

  /** System logs below `lowest` are filtered, audit events below INFO. Larger envelopes than `bytesMax` are refused. */
  constructor(open: OpenBatch, lowest: LevelRank, bytesMax = RECORD_BYTES_MAX) {
    this.#open = open;
    this.#lowest = lowest;
    this.#bytesMax = bytesMax;
  }

  encode(parts: RecordParts, origin: Origin, originIndex: number): Outcome {
    let logger = loggerName(parts.loggerName);
    let skipped = -1;
    if (logger.bridge) {
      skipped = bridgeNameIndex(parts);
      if (skipped >= 0) logger = loggerName(parts.values[skipped] as string);
    }
    const rank = rankOf(parts.severityNumber, parts.severityText);
    if (rank < (logger.audit ? INFO_RANK : this.#lowest)) return "filtered";
    this.#open.begin();
    this.#open.writer.wholeNumbersAreIntegers = parts.isJavaScript;
    this.#open.writer.bytesMax = this.#bytesMax;
    if (logger.audit) this.#audit(parts, logger, rank, skipped);
    else this.#system(parts, logger, rank, skipped);
    this.#open.writer.raw(ENVELOPE_END);
    this.#open.commit(rank, logger.audit, logger.name, origin, originIndex);
    return "accepted";
  }

  #system(parts: RecordParts, logger: LoggerName, rank: LevelRank, skipped: number): void {
    const writer = this.#open.writer;
    let { keys, values } = parts;
    let left = skipped;
    if (keys.length > NAMES_KEPT) return this.#largeSystem(parts, logger, rank, skipped);
    let kinds = this.#lookUp(keys);
    if ((kinds & RESERVED_NAME) !== 0) {
      ({ keys, values } = publicAttributes(parts, skipped));
      left = -1;
      kinds = this.#lookUp(keys);
    }
    this.#start(parts, logger, rank);
    if ((kinds & CODE_NAME) === 0) writer.raw(NO_CALL_SITE);
    else this.#callSite(callSiteOf((name) => values[keys.indexOf(name)]));
    const names = this.#names;
    for (let index = 0; index < keys.length; index++) {
      const { kind, member } = names[index]!;
      const value = values[index];
      if (value === undefined || index === left || kind === CODE_NAME) continue;
      writer.piece(member);
      writer.value(value);
    }
    this.#context(parts, keys);
  }

  /** The same for so many attributes that their names are not worth to be remembered. */
  #largeSystem(parts: RecordParts, logger: LoggerName, rank: LevelRank, skipped: number): void {
    const writer = this.#open.writer;
    const { keys, values } = publicAttributes(parts, skipped);
    const code = new Map<string, unknown>();
    for (const [index, key] of keys.entries()) {
      if (kindOf(key) === CODE_NAME) code.set(key, values[index]);
    }
    this.#start(parts, logger, rank);
    if (code.size === 0) writer.raw(NO_CALL_SITE);
    else this.#callSite(callSiteOf((name) => code.get(name)));
    for (let index = 0; index < keys.length; index++) {
      if (kindOf(keys[index]!) !== CODE_NAME) writer.rareMember(keys[index]!, values[index]);
    }
    this.#context(parts, keys);
  }

  /** Fills `#names`; answers which kinds of names there are. A record mostly has the names of the one before. */
  #lookUp(keys: readonly string[]): number {
    if (keys === this.#keys) return this.#kinds;
    const names = this.#names;
    if (names.length > NAMES_KEPT) names.length = NAMES_KEPT;
    let kinds = 0;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index]!;
      let name = index < names.length ? names[index]! : undefined;
      if (name === undefined || name.text !== key) {
        name = attributeName(key);
        names[index] = name;
      }
      kinds |= name.kind;
    }
    this.#keys = keys.length <= NAMES_KEPT ? keys : undefined;
    this.#kinds = kinds;
    return kinds;
  }

  #callSite(site: CallSite): void {
    const writer = this.#open.writer;
    writer.raw(MODULE);
    writer.string(site.module);
    writer.raw(FUNCTION);
    writer.string(site.function);
    writer.raw(LINE);
    writer.number(site.line);
  }

  #audit(parts: RecordParts, logger: LoggerName, rank: LevelRank, skipped: number): void {
    const writer = this.#open.writer;
    const { keys, values } = parts;
    this.#start(parts, logger, rank);
    const eventType = keys.indexOf("event_type");
    const action = actionOf(values[eventType], parts.eventName, this.#bytesMax);
    if (action !== undefined) {
      writer.raw(ACTION);
      writer.string(action);
    }
    const before = writer.position - writer.mark;
    writer.raw(METADATA);
    const opened = writer.position - writer.mark;
    const isLarge = keys.length > NAMES_KEPT;
    for (let index = 0; index < keys.length; index++) {
      const value = values[index];
      if (value === undefined || index === eventType || index === skipped) continue;
      const key = keys[index]!;
      if (kindOf(key) === CODE_NAME) continue;
      if (isLarge) writer.rareMember(key, value);
      else writer.member(key, value);
    }
    this.#context(parts, keys);
    // Without members there is no metadata.
    if (writer.position - writer.mark === opened) writer.position = writer.mark + before;
    else writer.closeObject(opened);
  }

  /** What the gateway adds where no attribute has that name. */
  #context({ traceId, spanId, service }: RecordParts, keys: readonly string[]): void {
    const writer = this.#open.writer;
    if (traceId !== "" && !keys.includes("trace_id")) writer.member("trace_id", traceId);
    if (spanId !== "" && !keys.includes("span_id")) writer.member("span_id", spanId);
    if (service !== "" && !keys.includes("service")) writer.member("service", service);
  }

  /** Writes all up to the attributes. */
  #start(parts: RecordParts, logger: LoggerName, rank: LevelRank): void {
    const writer = this.#open.writer;
    const start = logger.starts[rank]!;
    if (isShownSecond(parts.seconds)) start.write(writer, parts.seconds, parts.micros);
    else writeNow(start, writer);
    writer.string(messageOf(parts.body, parts.eventName, this.#bytesMax));
  }
}

/** Whether the record is an audit event. */
export function isAuditRecord(parts: NamingParts): boolean {
  const logger = loggerName(parts.loggerName);
  const named = logger.bridge ? bridgeNameIndex(parts) : -1;
  return named < 0 ? logger.audit : loggerName(parts.values[named] as string).audit;
}

function writeNow(start: EnvelopeStart, writer: JsonWriter): void {
  const now = Date.now();
  start.write(writer, Math.floor(now / 1000), (now % 1000) * 1000);
}

/** The message that a body becomes: a string as it is, bytes as base64, anything else as JSON text. */
function messageOf(body: unknown, eventName: string | undefined, bytesMax: number): string {
  if (typeof body === "string") return body;
  if (body === null || body === undefined) return meaningfulEventName(eventName);
  return body instanceof Uint8Array ? toBase64(body) : jsonText(body, bytesMax);
}

function jsonText(value: unknown, bytesMax: number): string {
  const writer = JsonWriter.scratch(bytesMax);
  writer.value(value);
  return writer.text();
}

function actionOf(
  eventType: unknown,
  eventName: string | undefined,
  bytesMax: number,
): string | undefined {
  if (eventType === undefined || eventType === null)
    return meaningfulEventName(eventName) || undefined;
  return typeof eventType === "string" ? eventType : jsonText(eventType, bytesMax);
}

function bridgeNameIndex({ keys, values }: NamingParts): number {
  for (const name of BRIDGE_NAME_ATTRIBUTES) {
    const index = keys.indexOf(name);
    if (index >= 0 && typeof values[index] === "string") return index;
  }
  return -1;
}

/** The attributes under the names that they appear with; of two that get the same name the last value counts. */
function publicAttributes(
  { keys, values }: RecordParts,
  skipped: number,
): Pick<RecordParts, "keys" | "values"> {
  const attributes = new Map<string, unknown>();
  for (const [index, key] of keys.entries()) {
    if (index === skipped || values[index] === undefined) continue;
    attributes.set(RESERVED.has(key) ? RENAME_PREFIX + key : key, values[index]);
  }
  return { keys: [...attributes.keys()], values: [...attributes.values()] };
}
