import type { TailgateError } from "../wire/errors.ts";
import { undecodable } from "./findings.ts";

/**
 * Limits keep a small request from exhausting memory: an empty record has two bytes on the wire and more than two hundred
 * in memory, and the name of a resource or a scope is repeated in each envelope. They are far beyond what an SDK sends.
 */
export const REQUEST_RECORDS_MAX = 1 << 18;

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

/** Returns the error for a record, a resource or a scope of more than {@link PART_VALUES_MAX} values. */
export function tooManyValues(where: string): TailgateError {
  return undecodable(
    where,
    `a record, a resource or a scope has more than ${PART_VALUES_MAX} values`,
  );
}

/** Work in steps: between two of them, the caller may let other work take its turn. */
export type Steps<Result> = Generator<undefined, Result>;

/** A step ends after this many bytes of input. */
export const STEP_BYTES = 64 << 10;
