import { TailgateError, textOf } from "../wire/errors.ts";
import { CommanderError } from "commander";
import { printableLines } from "../wire/printable.ts";

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

/** What commander's errors of usage end with, as sysexits(3) has it. */
const USAGE_EXIT_CODE = 64;

/** Says on stderr why a command ends, and answers with its exit code. */
export function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has written its message, or the help that was asked for.
    return error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
  }
  const failure = TailgateError.is(error)
    ? error
    : new TailgateError("INTERNAL", `${stackOf(error)}\n`, { cause: error });
  say(`${failure.code}: ${failure.message}`);
  return failure.exitCode;
}

/** A line of the program's own. */
export function say(text: string): void {
  process.stderr.write(`tailgate: ${printableLines(text)}\n`);
}

function stackOf(error: unknown): string {
  return error instanceof Error && typeof error.stack === "string" ? error.stack : textOf(error);
}
