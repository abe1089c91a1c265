import { textOf, type LineParser } from "tailgate/plugin";
import type { StartsEvent } from "./event-assembler.ts";

/** How records of several lines are told apart. */
export interface LineStartOptions {
  readonly multiline: "none" | "time" | "unindented";
  readonly line_start_pattern?: string | undefined;
}

/** The start of a line on which a pattern is tried. */
const TRIED_CHARS = 4096;

/**
 * Returns whether a line starts a record; undefined if each line does.
 * @throws Error if the pattern cannot be used.
 */
export async function lineStart(
  { multiline, line_start_pattern: pattern }: LineStartOptions,
  parser: LineParser,
): Promise<StartsEvent | undefined> {
  if (pattern !== undefined) return matcherOf(pattern);
  if (multiline === "time") return parser.startsWithTime;
  return multiline === "none" ? undefined : (line) => line !== "" && line.trimStart() === line;
}

async function matcherOf(pattern: string): Promise<StartsEvent> {
  // Not loaded unless it is used.
  const { RE2JS: Engine } = await import("re2js");
  try {
    const start = Engine.compile(`^(?:${pattern})`);
    return (line) => start.test(line.slice(0, TRIED_CHARS));
  } catch (error) {
    const text = `line_start_pattern: the pattern cannot be used: ${textOf(error)}.`;
    throw new Error(text, { cause: error });
  }
}
