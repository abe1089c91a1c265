import { TailgateError } from "../wire/errors.ts";

/** Says that a request is no OTLP: `where` in it, such as `byte 17`, and `why`. */
export function undecodable(where: string, why: string): TailgateError {
  return new TailgateError("OTLP_UNDECODABLE", messageOf(where, why));
}

function messageOf(where: string, why: string): string {
  return `The OTLP request is wrong at ${where}: ${why}.`;
}

/** Thrown for a value of the wrong type or form. What stands beside it in the request can still be read. */
export class WrongValue extends TailgateError {
  /** The value's place and what is wrong with it. */
  readonly text: string;

  constructor(where: string, why: string) {
    super("OTLP_UNDECODABLE", messageOf(where, why));
    this.text = `${where}: ${why}`;
  }
}

/** The error to refuse a request with: a record that is too large for memory is so each time that it is sent. */
export function refusalOf(error: unknown): unknown {
  return error instanceof RangeError ? undecodable("one of its records", error.message) : error;
}
