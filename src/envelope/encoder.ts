import type { LogRecord, Resource } from "../plugin/index.ts";
import { INFO_RANK, type LevelRank } from "../wire/envelope.ts";
import {
  attributeName,
  CODE_NAME,
  ERR_NAME,
  ILL_FORMED_NAME,
  kindOf,
  RESERVED_NAME,
  type AttributeName,
  publicAttributes,
  type AttributeColumns,
} from "./attributes.ts";
import { callSiteOf } from "./call-site.ts";
import {
  type EnvelopeStart,
  DEFAULT_LOGGER_NAMES,
  type LoggerName,
  type LoggerNames,
} from "./logger-names.ts";
import { ascii, JsonWriter, RECORD_BYTES_MAX, toBase64 } from "./json-writer.ts";
import type { BatchBuilder } from "../batch/batch-builder.ts";
import type { Origin } from "../batch/origin.ts";
import { rankOf, rankOfNumber, rankOfText } from "./severity.ts";
import { isShownSecond } from "./timestamp.ts";

const MICRO_NANOS = 1000n;
const SECOND_MICROS = 1_000_000n;

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

/** The seconds of a record without any time: the encoder takes now. */
export const NO_SECONDS = -1;

/** The parts of a plugin's record. */
export function partsOfRecord(record: LogRecord): RecordParts {
  const nanos = record.timestamp || record.observedTimestamp;
  const micros = nanos / MICRO_NANOS;
  return {
    seconds: nanos <= 0n ? NO_SECONDS : Number(micros / SECOND_MICROS),
    micros: nanos <= 0n ? 0 : Number(micros % SECOND_MICROS),
    severityNumber: record.severityNumber,
    severityText: record.severityText,
    loggerName: record.scope.name,
    body: record.body,
    eventName: record.eventName,
    keys: [...record.attributes.keys()],
    values: [...record.attributes.values()],
    isJavaScript: false,
    traceId: record.traceId,
    spanId: record.spanId,
    service: serviceOf(record.resource),
  };
}

/** The name of the process that a record came from; "" for this process and for those that have none. */
export function serviceOf(resource: Resource | null): string {
  const service = resource?.attributes.get("service.name");
  return typeof service === "string" ? service : "";
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

/** Kinds of names that appear as others, or whose values do. */
const UNUSUAL_NAME = ERR_NAME | ILL_FORMED_NAME;
const UNUSUAL_IN_SYSTEM_LOG = UNUSUAL_NAME | RESERVED_NAME;

/** Names the event if the record itself does not (semantic conventions; now deprecated). */
const EVENT_NAME_ATTRIBUTE = "event.name";

/** Rust's tracing names every event after its place in the source; that is no event name (otel.md). */
const PLACE_IN_SOURCE = /^event .+:\d+$/;

/** The event's name, "" where it has none that says something. */
function meaningfulEventName(name: string | undefined): string {
  return name === undefined || PLACE_IN_SOURCE.test(name) ? "" : name;
}

/** Encodes records into the open batch: the way for records that are objects. */
export class EnvelopeEncoder {
  readonly #open: BatchBuilder;
  readonly #lowest: LevelRank;
  /** Of the record that is being encoded; further on those of records before it. */
  readonly #names: AttributeName[] = [];
  /** The column whose names these are, and their kinds; undefined where more were there than are kept. */
  #keys: readonly string[] | undefined;
  #kinds = 0;
  readonly #loggers: LoggerNames;
  readonly #bytesMax: number;

  /** System logs below `lowest` are filtered, audit events below INFO. Larger envelopes than `bytesMax` are refused. */
  constructor(
    open: BatchBuilder,
    lowest: LevelRank,
    loggers = DEFAULT_LOGGER_NAMES,
    bytesMax = RECORD_BYTES_MAX,
  ) {
    this.#open = open;
    this.#lowest = lowest;
    this.#loggers = loggers;
    this.#bytesMax = bytesMax;
  }

  encode(parts: RecordParts, origin: Origin, originIndex: number): Outcome {
    const scope = this.#loggers.of(parts.loggerName);
    const skipped = nameIndex(parts, scope);
    const logger = skipped < 0 ? scope : this.#loggers.of(parts.values[skipped] as string);
    const rank = rankOf(parts.severityNumber, parts.severityText, scope.numbering);
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
    const { eventName, body } = parts;
    let { keys, values } = parts;
    let left = skipped;
    if (keys.length > NAMES_KEPT || (this.#lookUp(keys) & UNUSUAL_IN_SYSTEM_LOG) !== 0) {
      ({ keys, values } = this.#shown(parts, skipped, true));
      left = -1;
    }
    this.#start(parts, logger, rank);
    this.#callSite(keys, values);
    this.#members(keys, values, left, -1);
    const isBeside = eventName !== undefined && body !== null && body !== undefined;
    this.#context(parts, keys, isBeside ? meaningfulEventName(eventName) : "");
  }

  /** The attributes under the names that they appear with. These have been looked up, unless they are many. */
  #shown(parts: RecordParts, skipped: number, isSystemLog: boolean): AttributeColumns {
    const shown = publicAttributes(parts, skipped, isSystemLog);
    if (shown.keys.length <= NAMES_KEPT) this.#lookUp(shown.keys);
    return shown;
  }

  /** Writes all attributes but those of the call site, and but two. */
  #members(
    keys: readonly string[],
    values: readonly unknown[],
    skipped: number,
    alsoSkipped: number,
  ): void {
    if (keys.length > NAMES_KEPT) return this.#manyMembers(keys, values, skipped, alsoSkipped);
    const writer = this.#open.writer;
    const names = this.#names;
    for (let index = 0; index < keys.length; index++) {
      const { kind, member } = names[index]!;
      const value = values[index];
      if (value === undefined || kind === CODE_NAME) continue;
      if (index === skipped || index === alsoSkipped) continue;
      writer.piece(member);
      writer.value(value);
    }
  }

  /** The same for records with too many names to remember. */
  #manyMembers(
    keys: readonly string[],
    values: readonly unknown[],
    skipped: number,
    alsoSkipped: number,
  ): void {
    for (const [index, key] of keys.entries()) {
      const value = values[index];
      const isLeft = value === undefined || index === skipped || index === alsoSkipped;
      if (!isLeft && kindOf(key) !== CODE_NAME) this.#open.writer.rareMember(key, value);
    }
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

  /** Writes where the record was made, as far as its attributes tell. */
  #callSite(keys: readonly string[], values: readonly unknown[]): void {
    const writer = this.#open.writer;
    const isLarge = keys.length > NAMES_KEPT;
    if (!isLarge && (this.#kinds & CODE_NAME) === 0) return writer.raw(NO_CALL_SITE);
    const site = callSiteOf(
      isLarge ? valueByName(keys, values) : (name) => values[keys.indexOf(name)],
    );
    writer.raw(MODULE);
    writer.string(site.module);
    writer.raw(FUNCTION);
    writer.string(site.function);
    writer.raw(LINE);
    writer.number(site.line);
  }

  #audit(parts: RecordParts, logger: LoggerName, rank: LevelRank, skipped: number): void {
    const writer = this.#open.writer;
    let { keys, values } = parts;
    let left = skipped;
    if (keys.length > NAMES_KEPT || (this.#lookUp(keys) & UNUSUAL_NAME) !== 0) {
      ({ keys, values } = this.#shown(parts, skipped, false));
      left = -1;
    }
    this.#start(parts, logger, rank);
    const eventName = meaningfulEventName(parts.eventName);
    const { action, index: actionIndex } = actionOf(keys, values, eventName, this.#bytesMax);
    if (action !== undefined) {
      writer.raw(ACTION);
      writer.string(action);
    }
    const before = writer.position - writer.mark;
    writer.raw(METADATA);
    const opened = writer.position - writer.mark;
    this.#members(keys, values, left, actionIndex);
    this.#context(parts, keys, eventName === action ? "" : eventName);
    // Without members there is no metadata.
    if (writer.position - writer.mark === opened) writer.position = writer.mark + before;
    else writer.closeObject(opened);
  }

  /** Writes what the gateway adds, unless an attribute has that name. */
  #context(parts: RecordParts, keys: readonly string[], eventName: string): void {
    const { severityNumber, severityText, loggerName, traceId, spanId, service } = parts;
    if (severityText && rankOfNumber(severityNumber) === undefined) {
      const { numbering } = this.#loggers.of(loggerName);
      const isKnown = rankOfText(severityText, numbering) !== undefined;
      this.#added("severity_text", isKnown ? "" : severityText.trim(), keys);
    }
    if (eventName !== "") this.#added("event_name", eventName, keys);
    if (traceId !== "") this.#added("trace_id", traceId, keys);
    if (spanId !== "") this.#added("span_id", spanId, keys);
    if (service !== "") this.#added("service", service, keys);
  }

  #added(name: string, text: string, keys: readonly string[]): void {
    if (text !== "" && !keys.includes(name)) this.#open.writer.member(name, text);
  }

  /** Writes all up to the attributes. */
  #start(parts: RecordParts, logger: LoggerName, rank: LevelRank): void {
    const writer = this.#open.writer;
    const start = logger.starts[rank]!;
    if (isShownSecond(parts.seconds)) start.write(writer, parts.seconds, parts.micros);
    else writeNow(start, writer);
    writer.string(messageOf(parts, this.#bytesMax));
  }
}

/** Whether the record is an audit event. */
export function isAuditRecord(parts: NamingParts, loggers = DEFAULT_LOGGER_NAMES): boolean {
  const scope = loggers.of(parts.loggerName);
  const named = nameIndex(parts, scope);
  return named < 0 ? scope.audit : loggers.of(parts.values[named] as string).audit;
}

/** Returns the place of the attribute that names the logger; -1 if the scope does. */
function nameIndex({ keys, values }: NamingParts, { nameAttributes }: LoggerName): number {
  if (nameAttributes === undefined) return -1;
  for (const name of nameAttributes) {
    const index = keys.indexOf(name);
    const value = values[index];
    if (typeof value === "string" && value !== "") return index;
  }
  return -1;
}

function writeNow(start: EnvelopeStart, writer: JsonWriter): void {
  const now = Date.now();
  start.write(writer, Math.floor(now / 1000), (now % 1000) * 1000);
}

/** Returns the message: the body, else the event's name, the record's own or that of its attribute. */
function messageOf({ body, eventName, keys, values }: RecordParts, bytesMax: number): string {
  if (body !== null && body !== undefined) return textOfValue(body, bytesMax);
  return meaningfulEventName(eventName) || textAttribute(keys, values, EVENT_NAME_ATTRIBUTE);
}

/** Returns a value as text: a string as it is, a number's digits, bytes as base64, anything else as JSON. */
function textOfValue(value: unknown, bytesMax: number): string {
  if (typeof value === "string") return value;
  // Without the sign that a zero may have.
  if (typeof value === "number") return String(value === 0 ? 0 : value);
  if (typeof value === "bigint") return String(value);
  return value instanceof Uint8Array ? toBase64(value) : jsonText(value, bytesMax);
}

function jsonText(value: unknown, bytesMax: number): string {
  const writer = JsonWriter.scratch(bytesMax);
  writer.value(value);
  return writer.text();
}

/** Returns what an audit event is about, and the place of the attribute that says so, or -1. */
function actionOf(
  keys: readonly string[],
  values: readonly unknown[],
  eventName: string,
  bytesMax: number,
): { action: string | undefined; index: number } {
  const index = keys.indexOf("event_type");
  const eventType = values[index];
  if (eventType !== undefined && eventType !== null) {
    return { action: textOfValue(eventType, bytesMax), index };
  }
  // A type that is null says nothing, and is left out.
  if (eventName !== "") return { action: eventName, index };
  const named = textAttribute(keys, values, EVENT_NAME_ATTRIBUTE);
  if (named === "") return { action: undefined, index };
  return { action: named, index: keys.indexOf(EVENT_NAME_ATTRIBUTE) };
}

function textAttribute(keys: readonly string[], values: readonly unknown[], name: string): string {
  const value = values[keys.indexOf(name)];
  return typeof value === "string" ? value : "";
}

function valueByName(
  keys: readonly string[],
  values: readonly unknown[],
): (name: string) => unknown {
  const byName = new Map(keys.map((key, index) => [key, values[index]]));
  return (name) => byName.get(name);
}
