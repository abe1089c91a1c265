import type { LogRecord, Resource } from "../plugin/index.ts";
import { INFO_RANK, type LevelRank } from "../wire/envelope.ts";
import {
  attributeName,
  AUDIT_RESERVED_NAME,
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
  type EnvelopePrefix,
  DEFAULT_LOGGER_NAMES,
  type LoggerName,
  type LoggerNames,
  rankOf,
  rankOfNumber,
  rankOfText,
  isShownSecond,
} from "./prefix.ts";
import { ANYONE, type Sender } from "./sender.ts";
import { ascii, JsonWriter, RECORD_BYTES_MAX, toBase64 } from "./json-writer.ts";
import type { BatchBuilder } from "../batch/batch-builder.ts";
import type { Origin } from "../batch/origin.ts";

const MICRO_NANOS = 1000n;
const SECOND_MICROS = 1_000_000n;

/** What became of a record. Its sender may not send a forbidden one. */
export type Outcome = "accepted" | "filtered" | "forbidden";

/** The parts of a record that make up its envelope, whatever form the record came in. */
export interface RecordParts {
  /** Seconds since 1970 UTC; a value that cannot be shown means now. */
  seconds: number;
  micros: number;
  severityNumber: number | undefined;
  severityText: string | undefined;
  loggerName: string;
  /** Null or undefined without a body. */
  body: unknown;
  eventName: string | undefined;
  /** The names of the attributes, each once, with their values at the same indexes. Undefined values do not count. */
  keys: readonly string[];
  values: readonly unknown[];
  /** Whether the values come from JavaScript, which has one type for integers and doubles. */
  isJavaScript: boolean;
  traceId: string;
  spanId: string;
  /** The service.name of another process; "" for this one. */
  service: string;
  /** The attributes of the resource; undefined without one. */
  readonly resource?: Pick<ReadonlyMap<string, unknown>, "get"> | undefined;
}

/** The seconds of a record without a time: the encoder uses the current time. */
export const NO_SECONDS = -1;

/** Returns the parts of a plugin's record. */
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
    resource: record.resource?.attributes,
  };
}

/** The parts that determine the logger's name. */
type NamingParts = Pick<RecordParts, "loggerName" | "keys" | "values">;

/** The call site of a record without `code.*` attributes. */
export const NO_CALL_SITE = ascii(',"module":"","function":"","line":0');
export const MODULE = ascii(',"module":');
export const FUNCTION = ascii(',"function":');
export const LINE = ascii(',"line":');
export const ACTION = ascii(',"action":');
/** Goes before members that {@link JsonWriter.closeObject} turns into an object. */
export const METADATA = ascii(',"metadata":');
export const ENVELOPE_END = ascii("}}");

/** The names of records with more attributes are not cached. */
const CACHED_NAMES_MAX = 64;

/** Kinds of names that appear under another name, or whose values appear as other members. */
const UNUSUAL_NAME = ERR_NAME | ILL_FORMED_NAME;
const UNUSUAL_IN_SYSTEM_LOG = UNUSUAL_NAME | RESERVED_NAME;
const UNUSUAL_IN_AUDIT_EVENT = UNUSUAL_NAME | AUDIT_RESERVED_NAME;

/** Names the event if the record itself does not (semantic conventions; deprecated). */
export const EVENT_NAME_ATTRIBUTE = "event.name";

/** Rust's tracing names every event after its location in the source, which is not an event name (otel.md). */
const SOURCE_LOCATION = /^event .+:\d+$/;

/** Returns the event's name; "" if it has no meaningful one. */
export function meaningfulEventName(name: string | undefined): string {
  return name === undefined || SOURCE_LOCATION.test(name) ? "" : name;
}

/** Encodes records that are objects into a batch. */
export class EnvelopeEncoder {
  readonly #open: BatchBuilder;
  /** System logs below it are filtered. */
  lowest: LevelRank;
  /** The names of the current record, followed by leftovers of previous ones. */
  readonly #names: AttributeName[] = [];
  /** The column that the names belong to, and their kinds; undefined if there were too many to cache. */
  #keys: readonly string[] | undefined;
  #kinds = 0;
  readonly #loggers: LoggerNames;
  readonly #bytesMax: number;

  /** System logs below `lowest` are filtered, audit events below INFO. Throws for envelopes larger than `bytesMax`. */
  constructor(
    open: BatchBuilder,
    lowest: LevelRank,
    loggers = DEFAULT_LOGGER_NAMES,
    bytesMax = RECORD_BYTES_MAX,
  ) {
    this.#open = open;
    this.lowest = lowest;
    this.#loggers = loggers;
    this.#bytesMax = bytesMax;
  }

  /** `isRemade`: whether a system log's envelope can be made again of its origin (rules.ts). */
  encode(
    parts: RecordParts,
    origin: Origin,
    originIndex: number,
    sender = ANYONE,
    isRemade = false,
  ): Outcome {
    const scope = this.#loggers.of(parts.loggerName);
    const skipped = nameIndex(parts, scope);
    const logger = skipped < 0 ? scope : this.#loggers.of(parts.values[skipped] as string);
    const isPermitted = logger.audit ? sender.maySendAuditEvents : sender.maySendSystemLogs;
    if (!isPermitted) return "forbidden";
    const rank = rankOf(parts.severityNumber, parts.severityText, scope.numbering);
    if (rank < (logger.audit ? INFO_RANK : this.lowest)) return "filtered";
    this.#open.begin();
    this.#open.writer.wholeNumbersAreIntegers = parts.isJavaScript;
    this.#open.writer.bytesMax = this.#bytesMax;
    if (logger.audit) this.#audit(parts, logger, rank, skipped, sender);
    else this.#system(parts, logger, rank, skipped);
    this.#open.writer.raw(ENVELOPE_END);
    this.#open.commit(rank, logger.audit, logger.name, origin, originIndex, isRemade);
    return "accepted";
  }

  #system(parts: RecordParts, logger: LoggerName, rank: LevelRank, skipped: number): void {
    const { eventName, body } = parts;
    let { keys, values } = parts;
    let left = skipped;
    if (keys.length > CACHED_NAMES_MAX || (this.#lookUp(keys) & UNUSUAL_IN_SYSTEM_LOG) !== 0) {
      ({ keys, values } = this.#shown(parts, skipped, true));
      left = -1;
    }
    this.#start(parts, logger, rank);
    this.#callSite(keys, values);
    this.#members(keys, values, left, -1);
    const isBeside = eventName !== undefined && body !== null && body !== undefined;
    this.#context(parts, keys, isBeside ? meaningfulEventName(eventName) : "");
  }

  /** Returns the attributes under their public names, which are looked up unless there are too many. */
  #shown(parts: RecordParts, skipped: number, isSystemLog: boolean): AttributeColumns {
    const shown = publicAttributes(parts, skipped, isSystemLog);
    if (shown.keys.length <= CACHED_NAMES_MAX) this.#lookUp(shown.keys);
    return shown;
  }

  /** Writes all attributes but those of the call site and the two skipped ones. */
  #members(
    keys: readonly string[],
    values: readonly unknown[],
    skipped: number,
    alsoSkipped: number,
  ): void {
    if (keys.length > CACHED_NAMES_MAX)
      return this.#manyMembers(keys, values, skipped, alsoSkipped);
    const writer = this.#open.writer;
    const names = this.#names;
    for (let index = 0; index < keys.length; index++) {
      const { kind, member } = names[index]!;
      const value = values[index];
      if (value === undefined || kind === CODE_NAME) continue;
      if (index === skipped || index === alsoSkipped) continue;
      writer.words(member);
      writer.value(value);
    }
  }

  /** Does the same for records with too many names to cache. */
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

  /** Fills `#names` and returns the kinds of names. A record usually has the names of the previous one. */
  #lookUp(keys: readonly string[]): number {
    if (keys === this.#keys) return this.#kinds;
    const names = this.#names;
    if (names.length > CACHED_NAMES_MAX) names.length = CACHED_NAMES_MAX;
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
    this.#keys = keys.length <= CACHED_NAMES_MAX ? keys : undefined;
    this.#kinds = kinds;
    return kinds;
  }

  /** Writes the call site, as far as the attributes tell. */
  #callSite(keys: readonly string[], values: readonly unknown[]): void {
    const writer = this.#open.writer;
    const isLarge = keys.length > CACHED_NAMES_MAX;
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

  #audit(
    parts: RecordParts,
    logger: LoggerName,
    rank: LevelRank,
    skipped: number,
    { member }: Sender,
  ): void {
    const writer = this.#open.writer;
    let { keys, values } = parts;
    let left = skipped;
    if (keys.length > CACHED_NAMES_MAX || (this.#lookUp(keys) & UNUSUAL_IN_AUDIT_EVENT) !== 0) {
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
    if (member.length > 0) writer.raw(member);
    // Without members there is no metadata.
    if (writer.position - writer.mark === opened) writer.position = writer.mark + before;
    else writer.closeObject(opened);
  }

  /** Writes the members that the gateway adds, unless an attribute has that name. */
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
    for (const name of this.#loggers.resourceAttributes) {
      const value = parts.resource?.get(name);
      const isShown = value !== undefined && value !== null && !keys.includes(name);
      if (isShown) this.#open.writer.member(name, value);
    }
  }

  #added(name: string, text: string, keys: readonly string[]): void {
    if (text !== "" && !keys.includes(name)) this.#open.writer.member(name, text);
  }

  /** Writes the envelope up to its attributes. */
  #start(parts: RecordParts, logger: LoggerName, rank: LevelRank): void {
    const writer = this.#open.writer;
    const prefix = logger.prefixes[rank]!;
    if (isShownSecond(parts.seconds)) prefix.write(writer, parts.seconds, parts.micros);
    else writeNow(prefix, writer);
    writer.string(messageOf(parts, this.#bytesMax));
  }
}

/** Whether the record is an audit event. */
export function isAuditRecord(parts: NamingParts, loggers = DEFAULT_LOGGER_NAMES): boolean {
  const scope = loggers.of(parts.loggerName);
  const named = nameIndex(parts, scope);
  return named < 0 ? scope.audit : loggers.of(parts.values[named] as string).audit;
}

/** Returns the logger of a record by its scope's name and, for bridges and records without a scope, by its attributes. */
export function loggerOf(
  scopeName: string,
  loggers: LoggerNames,
  attribute: (name: string) => unknown,
): LoggerName {
  const scope = loggers.of(scopeName);
  for (const name of scope.nameAttributes ?? []) {
    const value = attribute(name);
    if (typeof value === "string" && value !== "") return loggers.of(value);
  }
  return scope;
}

/** Returns the index of the attribute that names the logger; -1 if the scope does. */
function nameIndex({ keys, values }: NamingParts, { nameAttributes }: LoggerName): number {
  if (nameAttributes === undefined) return -1;
  for (const name of nameAttributes) {
    const index = keys.indexOf(name);
    const value = values[index];
    if (typeof value === "string" && value !== "") return index;
  }
  return -1;
}

function writeNow(prefix: EnvelopePrefix, writer: JsonWriter): void {
  const now = Date.now();
  prefix.write(writer, Math.floor(now / 1000), (now % 1000) * 1000);
}

/** Returns the message: the body, otherwise the event's name, from the record itself or its attribute. */
function messageOf({ body, eventName, keys, values }: RecordParts, bytesMax: number): string {
  if (body !== null && body !== undefined) return textOfValue(body, bytesMax);
  return meaningfulEventName(eventName) || textAttribute(keys, values, EVENT_NAME_ATTRIBUTE);
}

/** Returns a value as text: strings as they are, numbers in decimal, bytes as base64, anything else as JSON. */
function textOfValue(value: unknown, bytesMax: number): string {
  if (typeof value === "string") return value;
  // Without the sign of a negative zero.
  if (typeof value === "number") return String(value === 0 ? 0 : value);
  if (typeof value === "bigint") return String(value);
  return value instanceof Uint8Array ? toBase64(value) : jsonText(value, bytesMax);
}

function jsonText(value: unknown, bytesMax: number): string {
  const writer = JsonWriter.scratch(bytesMax);
  writer.value(value);
  return writer.text();
}

/** Returns the action of an audit event, and the index of the attribute that names it, or -1. */
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
  // A null type says nothing, and is left out.
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

/** An attribute of the resource as a member of envelopes. */
interface ResourceMember {
  /** Its name in UTF-8. */
  readonly name: Uint8Array;
  /** The member with its comma, as bytes. */
  readonly json: Uint8Array;
}

/** What the resource of a record adds to its envelope. */
export interface ResourceMembers {
  /** The member that names the record's process, with its comma; empty without a name. */
  readonly service: Uint8Array;
  /** The attributes that the configuration names; each is left out if the record has an attribute of its name. */
  readonly attributes: readonly ResourceMember[];
  /** The size of all of them. */
  readonly bytes: number;
}

/** Returns the name of the service that a record came from; "" for this process and for those without a name. */
function serviceOf(resource: Resource | null): string {
  const service = resource?.attributes.get("service.name");
  return typeof service === "string" ? service : "";
}

/** More services than send to one gateway; the cache is cleared when it has that many. */
const SERVICES_MAX = 1000;
/** A longer name is not cached. */
const SERVICE_CHARS_MAX = 1000;

export const NO_RESOURCE: ResourceMembers = { service: new Uint8Array(), attributes: [], bytes: 0 };

const byService = new Map<string, ResourceMembers>([["", NO_RESOURCE]]);

/** Returns what a resource adds, with the attributes of these names; resources with the same service share it if there are none. */
export function resourceMembers(resource: Resource, names: readonly string[]): ResourceMembers {
  const ofService = serviceMembers(serviceOf(resource));
  const attributes: ResourceMember[] = [];
  for (const name of names) {
    const value = resource.attributes.get(name);
    if (value === undefined || value === null) continue;
    attributes.push({ name: Buffer.from(name), json: memberBytes(name, value) });
  }
  if (attributes.length === 0) return ofService;
  const bytes = attributes.reduce((sum, { json }) => sum + json.length, ofService.bytes);
  return { service: ofService.service, attributes, bytes };
}

function serviceMembers(service: string): ResourceMembers {
  const cached = byService.get(service);
  if (cached !== undefined) return cached;
  const member = memberBytes("service", service);
  const members = { service: member, attributes: [], bytes: member.length };
  if (byService.size >= SERVICES_MAX) byService.clear();
  if (service.length <= SERVICE_CHARS_MAX) byService.set(service, members);
  return members;
}

function memberBytes(name: string, value: unknown): Uint8Array {
  const writer = JsonWriter.scratch();
  writer.member(name, value);
  return Uint8Array.from(writer.buffer.subarray(0, writer.position));
}
