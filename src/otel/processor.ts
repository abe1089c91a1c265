import type { LogRecordProcessor, ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { IntakeOutcome, RecordIntake } from "../intake/intake.ts";
import { NameColumn, withAdded, type Columns } from "./attributes.ts";
import type { HrTime, SeverityNumber, SpanContext } from "@opentelemetry/api";
import { NO_SECONDS, type RecordParts } from "../envelope/encoder.ts";
import {
  type EncodedRecord,
  encodeRecordFields,
  encodeResource,
  encodeScope,
  type LogRecordFields,
} from "../otlp/encode.ts";
import type { Origin } from "../batch/origin.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { LogRecord, Scope, Value } from "../plugin/index.ts";
import { plainValue } from "./plain-value.ts";

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
  #attributes: Columns | undefined;

  constructor(intake: RecordIntake, flush: () => Promise<void>) {
    this.#intake = intake;
    this.#flush = flush;
  }

  /**
   * Runs `emit`, which emits one record through the SDK, and adds `attributes` to it. They bypass the SDK, which drops
   * what it does not know: bigint, Date, circular values, empty names, `__proto__`.
   */
  withAttributes(attributes: Columns, emit: () => void): void {
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
  accept(record: EmittedRecord, attributes: Columns, wantsReceipt: boolean): IntakeOutcome {
    return this.#accept(record, wantsReceipt, () => attributes);
  }

  #accept(
    record: EmittedRecord,
    wantsReceipt: boolean,
    readAttributes: () => Columns,
  ): IntakeOutcome {
    try {
      const retained = new SdkRecord(record, readAttributes());
      return this.#intake.accept(retained, retained, wantsReceipt);
    } catch {
      return this.#intake.reject("not_readable", unreadable());
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

function unreadable(): TailgateError {
  return new TailgateError("AUDIT_REFUSED", "The record cannot be read.");
}

/** Where a `DirectLoggerProvider` sends its records, with their attributes separate. */
export interface EmittedRecordSink<Result> {
  accept(record: EmittedRecord, attributes: Columns, wantsReceipt: boolean): Result;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
}

/** What is read of a record as the SDK has it; undefined stands for what is absent. */
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

/** What a record takes in memory beside its texts, which callers mostly hold themselves until the end of the turn. */
const RECORD_BYTES = 512;

/** What a flat object of the caller's may have of members: a larger one is encoded at once. */
const FLAT_MEMBERS_MAX = 64;

const SECOND_NANOS = 1_000_000_000n;

/**
 * What the gateway keeps of a record of the SDK, until somebody wants it as OpenTelemetry has it. The SDK's own record
 * is let go: in the journal it would take most of the memory, and most of the garbage collector's time.
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
  /** There for a record whose values are kept as bytes. */
  #record: Uint8Array | undefined;

  /** The attributes are given apart. */
  constructor(record: EmittedRecord, { keys, values }: Columns) {
    const { hrTime, hrTimeObserved, spanContext, body } = record;
    const [seconds, nanos] = shownTime(hrTime, hrTimeObserved);
    this.seconds = seconds;
    this.micros = Math.floor(nanos / 1000);
    this.severityNumber = integerOrNone(record.severityNumber);
    this.severityText = textOrNone(record.severityText);
    // An object is still the caller's own, who may change it.
    this.body = typeof body === "string" ? body : plainValue(body);
    this.eventName = textOrNone(record.eventName);
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
   * Asked for when the record was encoded and is kept. How much memory lists and maps hold nobody knows: a record that
   * has some is kept as bytes from then on.
   */
  get recordBytes(): number {
    if (this.#record === undefined && isPlain(this.body) && this.values.every(isPlain)) {
      return RECORD_BYTES;
    }
    this.#record ??= this.#piece();
    this.body = undefined;
    this.values = [];
    return RECORD_BYTES + this.#record.length;
  }

  otlp(): EncodedRecord {
    return {
      resource: remembered(RESOURCES, this.#resource, resourcePieceOf),
      scope: remembered(SCOPES, this.#scope, scopePieceOf),
      record: this.#record ?? this.#piece(),
    };
  }

  #piece(): Uint8Array {
    return encodeRecordFields(this.#fields(), this.keys, this.values.map(plainValue));
  }

  record(): LogRecord {
    const { droppedAttributes: _, ...fields } = this.#fields();
    return {
      ...fields,
      attributes: attributesOf(this.keys, this.values),
      resource: null,
      scope: scopeOf(this.#scope),
    };
  }

  #fields(): LogRecordFields {
    const timestamp = nanosOf(this.#timeSeconds, this.#timeNanos);
    // Mostly it was observed when it was made.
    const isSame =
      this.#timeSeconds === this.#observedSeconds && this.#timeNanos === this.#observedNanos;
    return {
      timestamp,
      observedTimestamp: isSame ? timestamp : nanosOf(this.#observedSeconds, this.#observedNanos),
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

/** Whether a value holds about as much memory as its JSON has bytes: one that is no object, or an object without others. */
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

/** Code in JavaScript may put anything where its types want a number or a text. */
function integerOrNone(value: unknown): number | undefined {
  return Number.isInteger(value) ? (value as number) : undefined;
}

function textOrNone(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? undefined : textOf(value);
}

/** The record's time, else the time it was observed; a time that is none stands for now. */
function shownTime(hrTime: HrTime, hrTimeObserved: HrTime): HrTime {
  const time = hrTime[0] === 0 && hrTime[1] === 0 ? hrTimeObserved : hrTime;
  return time[0] >= 0 && time[1] >= 0 && time[1] < 1e9 ? time : [NO_SECONDS, 0];
}

function nanosOf(seconds: number, nanos: number): bigint {
  const valid = Number.isSafeInteger(seconds) && Number.isFinite(nanos) && seconds >= 0;
  return valid ? BigInt(seconds) * SECOND_NANOS + BigInt(Math.trunc(nanos)) : 0n;
}

function attributesOf(keys: readonly string[], values: readonly unknown[]): Map<string, Value> {
  const attributes = new Map<string, Value>();
  for (let index = 0; index < keys.length; index++) {
    const value = plainValue(values[index]);
    if (value !== undefined) attributes.set(keys[index]!, value);
  }
  return attributes;
}

function scopeOf(scope: ReadableLogRecord["instrumentationScope"]): Scope {
  const attributes = scope.attributes ?? {};
  return {
    name: scope.name,
    version: scope.version ?? "",
    attributes: attributesOf(Object.keys(attributes), Object.values(attributes)),
  };
}

/** What was encoded of resources and scopes, which nearly all records share. */
const RESOURCES = new WeakMap<ReadableLogRecord["resource"], Uint8Array>();
const SCOPES = new WeakMap<ReadableLogRecord["instrumentationScope"], Uint8Array>();

function remembered<Key extends object>(
  pieces: WeakMap<Key, Uint8Array>,
  key: Key,
  pieceOf: (key: Key) => Uint8Array,
): Uint8Array {
  let piece = pieces.get(key);
  if (piece === undefined) {
    piece = pieceOf(key);
    pieces.set(key, piece);
  }
  return piece;
}

function resourcePieceOf({ attributes, schemaUrl }: ReadableLogRecord["resource"]): Uint8Array {
  const plain = attributesOf(Object.keys(attributes), Object.values(attributes));
  return encodeResource({ attributes: plain }, schemaUrl);
}

function scopePieceOf(scope: ReadableLogRecord["instrumentationScope"]): Uint8Array {
  return encodeScope(scopeOf(scope), scope.schemaUrl);
}
