import type { LogRecordProcessor, ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { IntakeOutcome, RecordIntake } from "../intake/intake.ts";
import { NameColumn, withAdded, type NamedValues } from "./attributes.ts";
import type { HrTime, SeverityNumber, SpanContext } from "@opentelemetry/api";
import { NO_SECONDS, type RecordParts } from "../envelope/encoder.ts";
import { jsonAttributes, scopeMembers, type JsonAttributes } from "../envelope/json-attributes.ts";
import {
  type EncodedRecord,
  encodeRecordFields,
  encodeResource,
  encodeScope,
  type LogRecordFields,
} from "../otlp/encode.ts";
import type { Origin } from "../batch/origin.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { LogRecord, Scope, Value, ValueMap } from "../plugin/index.ts";
import { FLAT_MEMBERS_MAX, plainValue } from "./plain-value.ts";

/**
 * The SDK's way into the gateway. Encodes each record before `emit` returns, so that later changes to its values have no
 * effect. Never throws into the caller.
 */
export class TailgateLogRecordProcessor
  implements LogRecordProcessor, EmittedRecordSink<IntakeOutcome>
{
  readonly #intake: RecordIntake;
  readonly #flush: () => Promise<void>;
  readonly #names = new NameColumn();
  #attributes: NamedValues | undefined;

  constructor(intake: RecordIntake, flush: () => Promise<void>) {
    this.#intake = intake;
    this.#flush = flush;
  }

  /**
   * Runs `emit`, which emits one record through the SDK, and adds `attributes` to it. They bypass the SDK, which drops
   * what it does not know: bigint, Date, circular values, empty names, `__proto__`.
   */
  withAttributes(attributes: NamedValues, emit: () => void): void {
    this.#attributes = attributes;
    try {
      emit();
    } finally {
      this.#attributes = undefined;
    }
  }

  onEmit(record: ReadableLogRecord): void {
    const attributes = this.#attributes;
    this.#attributes = undefined;
    this.#accept(record, false, () => {
      const keys = this.#names.shared(Object.keys(record.attributes));
      const own = { keys, values: Object.values(record.attributes) };
      // The SDK adds attributes of its own: those of an exception.
      return attributes === undefined ? own : withAdded(attributes, own);
    });
  }

  /** Accepts a record whose attributes are separate. With `wantsReceipt`, the outcome is good for a receipt. */
  accept(record: EmittedRecord, attributes: NamedValues, wantsReceipt: boolean): IntakeOutcome {
    return this.#accept(record, wantsReceipt, () => attributes);
  }

  #accept(
    record: EmittedRecord,
    wantsReceipt: boolean,
    readAttributes: () => NamedValues,
  ): IntakeOutcome {
    try {
      const retained = new SdkRecord(record, readAttributes());
      return this.#intake.accept(retained, retained, wantsReceipt);
    } catch {
      const error = new TailgateError("AUDIT_REFUSED", "The record cannot be read.");
      return this.#intake.reject("not_readable", error);
    }
  }

  forceFlush(): Promise<void> {
    return this.#flush();
  }

  /** Flushes. The gateway outlives the provider and is stopped separately. */
  shutdown(): Promise<void> {
    return this.#flush();
  }
}

/** Where a `DirectLoggerProvider` sends its records, with their attributes separate. */
export interface EmittedRecordSink<Result> {
  accept(record: EmittedRecord, attributes: NamedValues, wantsReceipt: boolean): Result;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
}

/** The parts of an SDK record that the gateway reads; undefined if absent. */
export interface EmittedRecord extends Pick<
  ReadableLogRecord,
  "hrTime" | "hrTimeObserved" | "resource" | "instrumentationScope" | "droppedAttributesCount"
> {
  readonly spanContext?: SpanContext | undefined;
  readonly severityNumber?: SeverityNumber | undefined;
  readonly severityText?: string | undefined;
  readonly body?: unknown;
  readonly eventName?: string | undefined;
}

/** The memory of a record without its texts, which callers mostly hold themselves until the end of the turn. */
const RECORD_BYTES = 512;

/**
 * What the gateway retains of an SDK record until it is needed in OpenTelemetry's form. The SDK's own record is released: in
 * the journal it would take up most of the memory and most of the garbage collector's time.
 */
class SdkRecord implements RecordParts, Origin {
  readonly isInterim = true;
  readonly isOwn = true;
  readonly isJavaScript = true;
  readonly service = "";
  readonly seconds: number;
  readonly micros: number;
  readonly severityNumber: number | undefined;
  readonly severityText: string | undefined;
  body: Value | undefined;
  readonly eventName: string | undefined;
  readonly keys: readonly string[];
  values: readonly unknown[];
  readonly traceId: string;
  readonly spanId: string;
  readonly #flags: number;
  readonly #droppedAttributes: number;
  readonly #resource: ReadableLogRecord["resource"];
  readonly #scope: ReadableLogRecord["instrumentationScope"];
  readonly #timeSeconds: number;
  readonly #timeNanos: number;
  readonly #observedSeconds: number;
  readonly #observedNanos: number;
  /** The encoded record, if its values are retained as bytes. */
  #record: Uint8Array | undefined;

  constructor(record: EmittedRecord, { keys, values }: NamedValues) {
    const { hrTime, hrTimeObserved, spanContext, body } = record;
    const [seconds, nanos] = displayTime(hrTime, hrTimeObserved);
    this.seconds = seconds;
    this.micros = Math.floor(nanos / 1000);
    this.severityNumber = toInteger(record.severityNumber);
    this.severityText = toText(record.severityText);
    // An object still belongs to the caller, who may modify it.
    this.body = typeof body === "string" ? body : plainValue(body);
    this.eventName = toText(record.eventName);
    this.keys = keys;
    this.values = values;
    this.traceId = spanContext?.traceId ?? "";
    this.spanId = spanContext?.spanId ?? "";
    this.#flags = spanContext?.traceFlags ?? 0;
    this.#droppedAttributes = record.droppedAttributesCount;
    this.#resource = record.resource;
    this.#scope = record.instrumentationScope;
    [this.#timeSeconds, this.#timeNanos] = hrTime;
    [this.#observedSeconds, this.#observedNanos] = hrTimeObserved;
  }

  get loggerName(): string {
    return this.#scope.name;
  }

  /**
   * Read once the envelope is encoded. The memory of lists and maps cannot be measured, so a record that contains some is
   * retained as bytes from then on.
   */
  get recordBytes(): number {
    if (this.#record === undefined && isPlain(this.body) && this.values.every(isPlain)) {
      return RECORD_BYTES;
    }
    this.#record ??= this.#encode();
    this.body = undefined;
    this.values = [];
    return RECORD_BYTES + this.#record.length;
  }

  get resource(): ValueMap {
    return cached(RESOURCE_VALUES, this.#resource, attributesOf);
  }

  resourceAttributes(): JsonAttributes {
    return cached(RESOURCE_ATTRIBUTES, this.resource, jsonAttributes);
  }

  scopeAttributes(): JsonAttributes {
    return cached(SCOPE_ATTRIBUTES, this.#scope, (scope) => scopeMembers(toScope(scope)));
  }

  otlp(): EncodedRecord {
    return {
      resource: cached(RESOURCES, this.#resource, encodeSdkResource),
      scope: cached(SCOPES, this.#scope, encodeSdkScope),
      record: this.#record ?? this.#encode(),
    };
  }

  #encode(): Uint8Array {
    return encodeRecordFields(this.#fields(), this.keys, this.values.map(plainValue));
  }

  record(): LogRecord {
    const { droppedAttributes: _, ...fields } = this.#fields();
    return {
      ...fields,
      attributes: toAttributes(this.keys, this.values),
      resource: null,
      scope: toScope(this.#scope),
    };
  }

  #fields(): LogRecordFields {
    const timestamp = toNanos(this.#timeSeconds, this.#timeNanos);
    // Usually both times are the same.
    const isSame =
      this.#timeSeconds === this.#observedSeconds && this.#timeNanos === this.#observedNanos;
    return {
      timestamp,
      observedTimestamp: isSame ? timestamp : toNanos(this.#observedSeconds, this.#observedNanos),
      severityNumber: this.severityNumber ?? 0,
      severityText: this.severityText ?? "",
      body: plainValue(this.body) ?? null,
      eventName: this.eventName ?? "",
      traceId: this.traceId,
      spanId: this.spanId,
      flags: this.#flags,
      droppedAttributes: this.#droppedAttributes,
    };
  }
}

/** Returns true if a value takes about as much memory as its JSON: a primitive, or an object that contains no other. */
function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  let members = 0;
  for (const name in value) {
    const inner = (value as Record<string, unknown>)[name];
    if (++members > FLAT_MEMBERS_MAX || (typeof inner === "object" && inner !== null)) return false;
  }
  return true;
}

/** JavaScript callers may pass anything instead of a number or a text. */
function toInteger(value: unknown): number | undefined {
  return Number.isInteger(value) ? (value as number) : undefined;
}

function toText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? undefined : textOf(value);
}

/** Returns the record's time, else its observed time; an invalid time stands for now. */
function displayTime(hrTime: HrTime, hrTimeObserved: HrTime): HrTime {
  const time = hrTime[0] === 0 && hrTime[1] === 0 ? hrTimeObserved : hrTime;
  return time[0] >= 0 && time[1] >= 0 && time[1] < 1e9 ? time : [NO_SECONDS, 0];
}

function toNanos(seconds: number, nanos: number): bigint {
  const valid = Number.isSafeInteger(seconds) && Number.isFinite(nanos) && seconds >= 0;
  return valid ? BigInt(seconds) * 1_000_000_000n + BigInt(Math.trunc(nanos)) : 0n;
}

function toAttributes(keys: readonly string[], values: readonly unknown[]): Map<string, Value> {
  const attributes = new Map<string, Value>();
  for (let index = 0; index < keys.length; index++) {
    const value = plainValue(values[index]);
    if (value !== undefined) attributes.set(keys[index]!, value);
  }
  return attributes;
}

function toScope(scope: ReadableLogRecord["instrumentationScope"]): Scope {
  const attributes = scope.attributes ?? {};
  return {
    name: scope.name,
    version: scope.version ?? "",
    attributes: toAttributes(Object.keys(attributes), Object.values(attributes)),
  };
}

/** Encoded resources and scopes, which nearly all records share. */
const RESOURCES = new WeakMap<ReadableLogRecord["resource"], Uint8Array>();
const RESOURCE_VALUES = new WeakMap<ReadableLogRecord["resource"], ValueMap>();
const RESOURCE_ATTRIBUTES = new WeakMap<ValueMap, JsonAttributes>();
const SCOPE_ATTRIBUTES = new WeakMap<ReadableLogRecord["instrumentationScope"], JsonAttributes>();
const SCOPES = new WeakMap<ReadableLogRecord["instrumentationScope"], Uint8Array>();

function cached<Key extends object, Result extends object>(
  cache: WeakMap<Key, Result>,
  key: Key,
  encode: (key: Key) => Result,
): Result {
  let result = cache.get(key);
  if (result === undefined) {
    result = encode(key);
    cache.set(key, result);
  }
  return result;
}

function encodeSdkResource(resource: ReadableLogRecord["resource"]): Uint8Array {
  return encodeResource({ attributes: attributesOf(resource) }, resource.schemaUrl);
}

function attributesOf({ attributes }: ReadableLogRecord["resource"]): ValueMap {
  return toAttributes(Object.keys(attributes), Object.values(attributes));
}

function encodeSdkScope(scope: ReadableLogRecord["instrumentationScope"]): Uint8Array {
  return encodeScope(toScope(scope), scope.schemaUrl);
}
