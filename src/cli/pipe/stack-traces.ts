/** Which lines of a program's output belong to the line before: those of Python, Java, JavaScript and Go. */

import type { Severity } from "../../lines/severity.ts";

export const TRACEBACK = /^Traceback \(most recent call last\):/;

/** Between the tracebacks of exceptions that have led to each other. */
const TRACEBACK_CHAIN =
  /^(?:During handling of the above exception, another exception occurred:|The above exception was the direct cause of the following exception:)/;

/** The last line of a traceback: `KeyError: 'x'`. */
const PYTHON_EXCEPTION = /^[\w.]{1,200}(?:: |:?$)/;

/** `java.lang.IllegalStateException: oh`, in the line after a message. */
const JAVA_EXCEPTION = /^(?:[\w$]{1,100}\.){1,20}[\w$]{0,100}(?:Exception|Error|Throwable)(?:: |$)/;

const JAVA_UNCAUGHT = /^Exception in thread "/;

const JAVA_CAUSE = /^(?:Caused by|Suppressed): /;

/** `at main (app.js:1:7)`, of JavaScript, Java and C#. */
const FRAME = /^\s+at \S/;

/** Alone in its line, it ends an object that began before. */
const CLOSING = /^[}\])]{1,20}[;,]?$/;

const GO_PANIC = /^(?:panic|fatal error): /;

const GO_FRAME = /^(?:goroutine \d{1,20} \[|created by |\[signal |[\w./*()-]{1,500}\(.{0,500}\)$)/;

const WHITE_SPACE = /^\s/;

const WARNING = 13;

/**
 * Whether a line belongs to the `lines` before it, of which the first one has the `severity`. `hasGap` tells that there are
 * empty lines in between.
 */
export function continues(
  lines: readonly string[],
  text: string,
  { severity, hasGap }: { severity: Severity; hasGap: boolean },
): boolean {
  const first = lines[0]!;
  if (GO_PANIC.test(first) && GO_FRAME.test(text)) return true;
  if (TRACEBACK_CHAIN.test(text)) return true;
  const last = lines.at(-1)!;
  if (TRACEBACK.test(text)) {
    return TRACEBACK_CHAIN.test(last) || (!hasGap && severity.number >= WARNING);
  }
  if (hasGap) return false;
  if (WHITE_SPACE.test(text) || JAVA_CAUSE.test(text)) return true;
  if (lines.length === 1) return severity.number >= WARNING && JAVA_EXCEPTION.test(text);
  if (CLOSING.test(text)) return true;
  return WHITE_SPACE.test(last) && PYTHON_EXCEPTION.test(text) && lines.some(isTraceback);
}

function isTraceback(line: string): boolean {
  return TRACEBACK.test(line);
}

/** Whether a text that does not tell its level is an exception, with its first frame in the next line. */
export function isErrorReport(first: string, second: string | undefined): boolean {
  return JAVA_UNCAUGHT.test(first) || (second !== undefined && FRAME.test(second));
}
