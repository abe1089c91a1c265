import { parseFilter, TailgateError, z } from "tailgate/plugin";

/** A filter as the text of an option, with at least one term. */
export const filterText = z
  .string()
  .superRefine((text, context) => {
    const problem = problemOf(text);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  })
  .meta({ title: "filter" });

/** Returns why a text is no filter; undefined if it is one. */
function problemOf(text: string): string | undefined {
  try {
    parseFilter({ q: text });
    return text.trim() === "" ? "expected a filter with at least one term" : undefined;
  } catch (error) {
    if (TailgateError.is(error, "FILTER_INVALID")) return error.message;
    throw error;
  }
}
