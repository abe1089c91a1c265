import type { TailgateError } from "../errors.ts";
import type { OpenBatch } from "./open-batch.ts";
import { undecodable } from "./undecodable.ts";

/**
 * A few bytes of a request can become much: an empty record has two bytes on the wire and more than two hundred in
 * memory, and a name that stands there once, the resource's or the scope's, is written for each record. These limits
 * are far beyond what an SDK sends, and keep one small request from taking all memory.
 */
export const REQUEST_RECORDS_MAX = 1 << 18;
const ENVELOPE_BYTES_MAX = 256 << 20;

/** The error for a request of more than {@link REQUEST_RECORDS_MAX} records. */
export function tooManyRecords(where: string): TailgateError {
  return undecodable(where, `there are more than ${REQUEST_RECORDS_MAX} records`);
}

/** Watches how much memory one request takes. */
export class EnvelopeBudget {
  readonly #open: OpenBatch;
  readonly #bytesMax: number;

  constructor(open: OpenBatch) {
    this.#open = open;
    this.#bytesMax = open.memoryBytes + ENVELOPE_BYTES_MAX;
  }

  /** @throws TailgateError OTLP_UNDECODABLE where the envelopes so far take too much memory. */
  check(): void {
    if (this.#open.memoryBytes <= this.#bytesMax) return;
    throw undecodable("its end", `its envelopes take more than ${ENVELOPE_BYTES_MAX} bytes`);
  }
}
