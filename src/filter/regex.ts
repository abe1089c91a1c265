/** Regular expressions in the syntax of RE2, matched in linear time and with bounds: never by the engine of JavaScript. */

import type { RE2JS } from "re2js";
import { requireDependency } from "../runtime/package.ts";
import type { RegexPattern } from "../wire/query/ast.ts";
import { TailgateError } from "../wire/errors.ts";
import { quotedExcerpt } from "../wire/printable.ts";

/** The maximum size of a compiled expression: about its length with repetitions written out. */
const REGEX_INSTRUCTIONS_MAX = 250;

/** The maximum length of an expression, which bounds how long it takes to compile. */
const REGEX_SOURCE_CHARACTERS_MAX = 1000;

/**
 * How many instructions a value may cost in the worst case, at about 65 ns each: `[a-h].{100}z` on text of `a` to `h`. Most
 * expressions take a hundredth of that.
 */
const INSTRUCTIONS_PER_VALUE_MAX = 1_000_000;

/** The maximum number of a value's characters (UTF-16 code units) that any expression is matched with. */
const REGEX_CHARACTERS_MAX = 16_384;

/** An expression that is ready to be matched with values. */
export interface ValueRegex {
  /** How many instructions it has. */
  readonly instructions: number;
  /** How many characters of a value it is matched with, at least 4000. */
  readonly charactersMax: number;
  /**
   * Returns whether the value has a match in its first `charactersMax` characters. Of a longer value without one, returns what
   * the pattern says about the rest.
   */
  test(value: string): boolean;
}

/**
 * Compiles a regular expression.
 * @throws TailgateError FILTER_INVALID if it is invalid or too large
 */
export function compileRegex({ source, assumesMatch = false }: RegexPattern): ValueRegex {
  if (source.length > REGEX_SOURCE_CHARACTERS_MAX) {
    throw invalidRegex(
      source,
      `it has ${source.length} characters, of at most ${REGEX_SOURCE_CHARACTERS_MAX}`,
      "Use several terms.",
    );
  }
  const regex = compile(source);
  const instructions = regex.programSize();
  if (instructions > REGEX_INSTRUCTIONS_MAX) {
    throw invalidRegex(
      source,
      `it has ${instructions} instructions, of at most ${REGEX_INSTRUCTIONS_MAX}`,
      "Use fewer or smaller repetitions and alternatives.",
    );
  }
  const charactersMax = Math.min(
    REGEX_CHARACTERS_MAX,
    Math.floor(INSTRUCTIONS_PER_VALUE_MAX / instructions),
  );
  return {
    instructions,
    charactersMax,
    test(value) {
      if (value.length <= charactersMax) return regex.test(value.normalize("NFC"));
      return regex.test(value.slice(0, charactersMax).normalize("NFC")) || assumesMatch;
    },
  };
}

function compile(source: string): RE2JS {
  // Loaded when it is needed: that takes some 20 ms.
  const { RE2JS: Engine } = requireDependency("re2js") as typeof import("re2js");
  try {
    return Engine.compile(source.normalize("NFC"), Engine.CASE_INSENSITIVE);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw invalidRegex(
      source,
      text.replace(/^error parsing regexp: /, ""),
      "The syntax is that of RE2, which has no lookaround and no backreferences.",
    );
  }
}

function invalidRegex(source: string, reason: string, suggestion: string): TailgateError {
  const term = quotedExcerpt(`/${source}/`);
  const text = `The regular expression ${term} is invalid: ${reason}. ${suggestion}`;
  return new TailgateError("FILTER_INVALID", text);
}
