import type { LogRecordProcessor, ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { RecordIntake } from "../intake/intake.ts";
import { NameColumn, withAdded, type Columns } from "./columns.ts";
import { SdkRecord, type EmittedRecord } from "./sdk-record.ts";

/**
 * The way from the OpenTelemetry SDK into the gateway: encodes each record before `emit` returns, so that what happens
 * to its values afterwards does not show. It never throws into the caller.
 */
export class TailgateLogRecordProcessor implements LogRecordProcessor {
  readonly #intake: RecordIntake;
  readonly #flush: () => Promise<void>;
  readonly #names = new NameColumn();
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
      const keys = this.#names.shared(Object.keys(record.attributes));
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
