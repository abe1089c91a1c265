import { TailgateError } from "../errors.ts";

/** Says that a request is no OTLP: `where` in it, such as `byte 17`, and `why`. */
export function undecodable(where: string, why: string): TailgateError {
  return new TailgateError("OTLP_UNDECODABLE", `The OTLP request is wrong at ${where}: ${why}.`);
}
