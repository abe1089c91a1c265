import { CommanderError } from "commander";
import { TailgateError, textOf } from "../wire/errors.ts";
import { printableLines } from "../wire/printable.ts";

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
