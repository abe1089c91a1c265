import { TailgateError } from "../errors.ts";

/** Says that a request is no OTLP: `where` in it, such as `byte 17`, and `why`. */
export function undecodable(where: string, why: string): TailgateError {
  return new TailgateError("OTLP_UNDECODABLE", `The OTLP request is wrong at ${where}: ${why}.`);
}

/** The error to refuse a request with: a record that is too large for memory is so each time that it is sent. */
export function refusalOf(error: unknown): unknown {
  return error instanceof RangeError ? undecodable("one of its records", error.message) : error;
}
