import type { LogRecordProcessor, ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { RecordIntake } from "../intake/intake.ts";
import { SdkRecord, type Columns } from "./sdk-record.ts";

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
    try {
      const kept = new SdkRecord(record, attributesOf(record, given));
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

/** What was given apart, then what the SDK has and was not given: the fields of an exception. */
function attributesOf(record: ReadableLogRecord, given: Columns | undefined): Columns {
  const keys = Object.keys(record.attributes);
  const values = Object.values(record.attributes);
  if (given === undefined) return { keys, values };
  if (keys.length === 0) return given;
  const added = keys.map((_, index) => index).filter((index) => !given.keys.includes(keys[index]!));
  return {
    keys: [...given.keys, ...added.map((index) => keys[index]!)],
    values: [...given.values, ...added.map((index) => values[index])],
  };
}
