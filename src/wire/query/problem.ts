/** Errors of the filter language, with their positions. */

import { TailgateError } from "../errors.ts";
import { quotedExcerpt } from "../printable.ts";
import type { Span } from "./lexer.ts";

/** Why a text is no filter, and where. */
export interface QueryProblem extends Span {
  /** What is wrong, as the end of a sentence. */
  readonly reason: string;
  /** A whole sentence; "" if there is none. */
  readonly suggestion: string;
  /** Whether more text can follow that makes it a filter. */
  readonly isUnfinished: boolean;
}

/** Returns the position and the reason of an error that {@link parseQuery} has thrown; undefined if it is about no position. */
export function problemOf(error: unknown): QueryProblem | undefined {
  return error instanceof Error ? problems.get(error) : undefined;
}

const problems = new WeakMap<Error, QueryProblem>();

export function limitExceeded(text: string, max: number): TailgateError {
  return new TailgateError("FILTER_INVALID", `${text}; at most ${max} are allowed.`);
}

type Problem = Pick<QueryProblem, "reason" | "suggestion"> & Partial<QueryProblem>;

export function invalidTerm(term: string, problem: Problem): TailgateError {
  const { reason, suggestion, from, to, isUnfinished = false } = problem;
  const position = from === undefined ? "" : ` (at character ${from + 1})`;
  const text = `The filter term ${quotedExcerpt(term)} is invalid: ${reason}${position}.`;
  const error = new TailgateError(
    "FILTER_INVALID",
    suggestion === "" ? text : `${text} ${suggestion}`,
  );
  if (from !== undefined && to !== undefined)
    problems.set(error, { from, to, reason, suggestion, isUnfinished });
  return error;
}

/** Why a value is invalid, before its position is known. */
export class InvalidValue extends Error {
  readonly suggestion: string;

  constructor(reason: string, suggestion: string) {
    super(reason);
    this.suggestion = suggestion;
  }
}
