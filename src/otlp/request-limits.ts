import type { TailgateError } from "../wire/errors.ts";
import type { BatchBuilder } from "../batch/batch-builder.ts";
import { undecodable } from "./findings.ts";

/**
 * Limits keep a small request from exhausting memory: an empty record has two bytes on the wire and more than two hundred
 * in memory, and the name of a resource or a scope is repeated in each envelope. They are far beyond what an SDK sends.
 */
export const REQUEST_RECORDS_MAX = 1 << 18;
const ENVELOPE_BYTES_MAX = 256 << 20;

/** How many fields a request may have around its records, mostly resources and scopes. */
const REQUEST_PARTS_MAX = 1 << 18;

/** The largest record, resource or scope, as it is sent: each is processed without interruption. */
export const PART_BYTES_MAX = 4 << 20;

/** The largest envelope of a record; a control character takes six bytes in it. */
export const PART_ENVELOPE_BYTES_MAX = 8 << 20;

/** How many values a record, a resource or a scope may have, including the elements of lists and maps. */
export const PART_VALUES_MAX = 1 << 16;

/** Returns the error for a request of more than {@link REQUEST_RECORDS_MAX} records. */
export function tooManyRecords(where: string): TailgateError {
  return undecodable(where, `there are more than ${REQUEST_RECORDS_MAX} records`);
}

/** Counts the fields around the records of a request. */
export class PartBudget {
  #parts = 0;

  /** @throws TailgateError OTLP_UNDECODABLE if there are too many. */
  add(position: number): void {
    if (++this.#parts <= REQUEST_PARTS_MAX) return;
    throw undecodable(
      `byte ${position}`,
      `there are more than ${REQUEST_PARTS_MAX} resources and scopes`,
    );
  }
}

/** @throws TailgateError OTLP_UNDECODABLE if a record, a resource or a scope is too large. */
export function checkPart(start: number, end: number): void {
  if (end - start <= PART_BYTES_MAX) return;
  throw undecodable(
    `byte ${start}`,
    `a record, a resource or a scope has more than ${PART_BYTES_MAX} bytes`,
  );
}

/** Returns the error for a record, a resource or a scope of more than {@link PART_VALUES_MAX} values. */
export function tooManyValues(where: string): TailgateError {
  return undecodable(
    where,
    `a record, a resource or a scope has more than ${PART_VALUES_MAX} values`,
  );
}

/** Limits how much memory the envelopes of one request take. */
export class EnvelopeBudget {
  readonly #open: BatchBuilder;
  readonly #bytesMax: number;

  constructor(open: BatchBuilder) {
    this.#open = open;
    this.#bytesMax = open.memoryBytes + ENVELOPE_BYTES_MAX;
  }

  /** @throws TailgateError OTLP_UNDECODABLE if the envelopes so far take too much memory. */
  check(): void {
    if (this.#open.memoryBytes <= this.#bytesMax) return;
    throw undecodable("its end", `its envelopes take more than ${ENVELOPE_BYTES_MAX} bytes`);
  }
}

/** Work in steps: between two of them, the caller may let other work take its turn. */
export type Steps<Result> = Generator<undefined, Result>;

/** A step ends after this many bytes of input. */
export const STEP_BYTES = 64 << 10;

/** Does the work without interruption, or abandons it after that many steps and returns undefined. */
export function runWithin<Result>(steps: Steps<Result>, stepsMax: number): Result | undefined {
  for (let count = 0; count <= stepsMax; count++) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
  steps.return(undefined as never);
  return undefined;
}

/** Does the work without interruption. */
export function runToEnd<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
