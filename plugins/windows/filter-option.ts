import { parseFilter, textOf, z } from "tailgate/plugin";

/** Returns an option that is a text of the filter language; "" matches every record. */
export function filterOption(description: string) {
  return z
    .string()
    .default("")
    .superRefine((q, context) => {
      try {
        parseFilter({ q });
      } catch (error) {
        context.addIssue({ code: "custom", message: textOf(error) });
      }
    })
    .describe(`${description} In the filter language; by default all system logs.`);
}
