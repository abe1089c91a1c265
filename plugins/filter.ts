/** Keeps or drops records by the filter language, before they are stored. */

import { defineProcessor, parseFilter, TailgateError, z, type Processor } from "tailgate/plugin";

const filterText = z.string().superRefine((text, context) => {
  const problem = problemOf(text);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

const options = z
  .strictObject({
    keep: filterText
      .optional()
      .meta({ title: "filter" })
      .describe("Records that match stay; all others are dropped. Either this or `drop`."),
    drop: filterText
      .optional()
      .meta({ title: "filter" })
      .describe("Records that match are dropped; all others stay. Either this or `keep`."),
    audit: z
      .boolean()
      .default(false)
      .describe("Whether audit events may be dropped, too. If not, they always pass."),
  })
  .superRefine(({ keep, drop }, context) => {
    if ((keep === undefined) !== (drop === undefined)) return;
    const count = keep === undefined ? "neither" : "both";
    context.addIssue({
      code: "custom",
      path: [keep === undefined ? "keep" : "drop"],
      message: `set either keep or drop, not ${count}`,
    });
  });

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

export default defineProcessor({
  name: "filter",
  description: "Keeps or drops records by the filter language, before they are stored.",
  options,
  open({ keep, drop, audit }): Processor {
    const filter = parseFilter({ q: keep ?? drop });
    const isKept = keep !== undefined;
    const dropped = isKept ? `that do not match ${keep}` : `that match ${drop}`;
    return {
      ...(audit && {
        dropsAuditEvents: `Audit events ${dropped} are dropped: they are not part of the audit trail.`,
      }),
      inspect(view) {
        if (!audit && view.type() === "audit_log") return "pass";
        return filter.matches(view, 0) === isKept ? "pass" : "drop";
      },
    };
  },
});
