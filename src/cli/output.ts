import { TailgateError, textOf } from "../wire/errors.ts";

/**
 * Writes to stdout. Answers false where no more should come before it has drained.
 * @throws TailgateError OUTPUT_FAILED: a file takes what is written, or does not, before this returns.
 */
export function print(text: string): boolean {
  try {
    return process.stdout.write(text);
  } catch (error) {
    throw outputFailure(error);
  }
}

export function outputFailure(cause: unknown): TailgateError {
  const text = `What the command shows cannot be written: ${textOf(cause)}.`;
  return new TailgateError("OUTPUT_FAILED", text, { cause });
}
