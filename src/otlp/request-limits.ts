import type { TailgateError } from "../wire/errors.ts";
import type { BatchBuilder } from "../batch/batch-builder.ts";
import { undecodable } from "./findings.ts";

/**
 * A few bytes of a request can become much: an empty record has two bytes on the wire and more than two hundred in
 * memory, and a name that stands there once, the resource's or the scope's, is written for each record. These limits
 * are far beyond what an SDK sends, and keep one small request from taking all memory.
 */
export const REQUEST_RECORDS_MAX = 1 << 18;
const ENVELOPE_BYTES_MAX = 256 << 20;

/** How many resources and scopes a request may have, with what else stands beside its records. */
const REQUEST_PARTS_MAX = 1 << 18;

/** The largest record, resource or scope of a request, as it was sent: each is worked on in one go. */
export const PART_BYTES_MAX = 4 << 20;

/** The largest envelope that a record of a request may become: a control character has six bytes there. */
export const PART_ENVELOPE_BYTES_MAX = 8 << 20;

/** How many values a record, a resource or a scope may have: its attributes, with the elements of lists and maps. */
export const PART_VALUES_MAX = 1 << 16;

/** The error for a request of more than {@link REQUEST_RECORDS_MAX} records. */
export function tooManyRecords(where: string): TailgateError {
  return undecodable(where, `there are more than ${REQUEST_RECORDS_MAX} records`);
}

/** Counts what stands in a request beside its records. */
export class PartBudget {
  #parts = 0;

  /** @throws TailgateError OTLP_UNDECODABLE if there are too many. */
  add(place: number): void {
    if (++this.#parts <= REQUEST_PARTS_MAX) return;
    throw undecodable(
      `byte ${place}`,
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

/** The error for a record, a resource or a scope of more than {@link PART_VALUES_MAX} values. */
export function tooManyValues(where: string): TailgateError {
  return undecodable(
    where,
    `a record, a resource or a scope has more than ${PART_VALUES_MAX} values`,
  );
}

/** Watches how much memory one request takes. */
export class EnvelopeBudget {
  readonly #open: BatchBuilder;
  readonly #bytesMax: number;

  constructor(open: BatchBuilder) {
    this.#open = open;
    this.#bytesMax = open.memoryBytes + ENVELOPE_BYTES_MAX;
  }

  /** @throws TailgateError OTLP_UNDECODABLE where the envelopes so far take too much memory. */
  check(): void {
    if (this.#open.memoryBytes <= this.#bytesMax) return;
    throw undecodable("its end", `its envelopes take more than ${ENVELOPE_BYTES_MAX} bytes`);
  }
}

/** Work that can be put off between two steps, so that a large piece of it does not hold up everything else. */
export type Steps<Result> = Generator<undefined, Result>;

/** After so many bytes of input there is a step. */
export const STEP_BYTES = 64 << 10;

/** Does the work in one go if it has no more than so many steps; else undefined, and it is ended where it is. */
export function runWithin<Result>(steps: Steps<Result>, stepsMax: number): Result | undefined {
  for (let count = 0; count <= stepsMax; count++) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
  steps.return(undefined as never);
  return undefined;
}

/** Does the work in one go. */
export function runToEnd<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
