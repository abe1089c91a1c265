import type { LogRecordProcessor, ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { RecordIntake } from "../intake/intake.ts";
import { SdkRecord, type Columns, type EmittedRecord } from "./sdk-record.ts";

/**
 * The way from the OpenTelemetry SDK into the gateway: encodes each record before `emit` returns, so that what happens
 * to its values afterwards does not show. It never throws into the caller.
 */
export class TailgateLogRecordProcessor implements LogRecordProcessor {
  readonly #intake: RecordIntake;
  readonly #flush: () => Promise<void>;
  #given: Columns | undefined;

  constructor(intake: RecordIntake, flush: () => Promise<void>) {
    this.#intake = intake;
    this.#flush = flush;
  }

  /**
   * Runs `emit`, whose one record gets `attributes` beside those that the SDK gives it: the SDK drops or loses what it
   * does not know (bigint, Date, circular values, empty names, `__proto__`).
   */
  withAttributes(attributes: Columns, emit: () => void): void {
    this.#given = attributes;
    try {
      emit();
    } finally {
      this.#given = undefined;
    }
  }

  onEmit(record: ReadableLogRecord): void {
    const given = this.#given;
    this.#given = undefined;
    this.#take(record, () => {
      const keys = Object.keys(record.attributes);
      const own = { keys, values: Object.values(record.attributes) };
      // The SDK has what it was not given too: the fields of an exception.
      return given === undefined ? own : withAdded(given, own);
    });
  }

  /** Takes a record whose attributes are given apart. */
  take(record: EmittedRecord, attributes: Columns): void {
    this.#take(record, () => attributes);
  }

  #take(record: EmittedRecord, attributesOf: () => Columns): void {
    try {
      const kept = new SdkRecord(record, attributesOf());
      this.#intake.take(kept, kept);
    } catch {
      this.#intake.drop("not_readable");
    }
  }

  forceFlush(): Promise<void> {
    return this.#flush();
  }

  /** The gateway outlives the provider; it is stopped for itself. */
  shutdown(): Promise<void> {
    return this.#flush();
  }
}

/** Attributes, and of some others those whose names are not among them. */
export function withAdded(given: Columns, others: Columns): Columns {
  const { keys, values } = others;
  if (keys.length === 0) return given;
  const added = keys.map((_, index) => index).filter((index) => !given.keys.includes(keys[index]!));
  return {
    keys: [...given.keys, ...added.map((index) => keys[index]!)],
    values: [...given.values, ...added.map((index) => values[index])],
  };
}
