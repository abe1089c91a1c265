import { CommanderError } from "commander";
import { TailgateError, textOf } from "../wire/errors.ts";
import { printableLines } from "../wire/printable.ts";

/**
 * Writes to stdout. Returns false if no more should be written before stdout has drained.
 * @throws TailgateError OUTPUT_FAILED if stdout is a file that cannot be written.
 */
export function print(text: string): boolean {
  try {
    return process.stdout.write(text);
  } catch (error) {
    throw outputFailed(error);
  }
}

export function outputFailed(cause: unknown): TailgateError {
  const text = `The output of the command cannot be written: ${textOf(cause)}.`;
  return new TailgateError("OUTPUT_FAILED", text, { cause });
}

/** The exit code of usage errors that commander finds (sysexits(3)). */
const USAGE_EXIT_CODE = 64;

/** Writes an error that ends a command to stderr, and returns its exit code. */
export function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has written its message, or the requested help.
    return error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
  }
  const failure = TailgateError.is(error)
    ? error
    : new TailgateError("INTERNAL", `${stackOf(error)}\n`, { cause: error });
  say(`${failure.code}: ${failure.message}`);
  return failure.exitCode;
}

/** Writes a line to stderr. */
export function say(text: string): void {
  process.stderr.write(`tailgate: ${printableLines(text)}\n`);
}

function stackOf(error: unknown): string {
  return error instanceof Error && typeof error.stack === "string" ? error.stack : textOf(error);
}
