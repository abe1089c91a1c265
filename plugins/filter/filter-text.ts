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
    if (parseFilter({ q: text }).key !== "") return undefined;
    return "expected a filter with at least one term";
  } catch (error) {
    if (TailgateError.is(error, "FILTER_INVALID")) return error.message;
    throw error;
  }
}
