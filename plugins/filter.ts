/** Keeps or drops records by the filter language, before they are stored. */

import { defineProcessor, parseFilter, z, type Processor } from "tailgate/plugin";
import { filterText } from "./filter/filter-text.ts";

const options = z
  .strictObject({
    keep: filterText
      .optional()
      .describe("Records that match stay; all others are dropped. Either this or `drop`."),
    drop: filterText
      .optional()
      .describe("Records that match are dropped; all others stay. Either this or `keep`."),
    audit: z
      .boolean()
      .default(false)
      .describe("Whether audit events may be dropped, too. If not, they always pass."),
  })
  .superRefine(({ keep, drop }, context) => {
    if ((keep === undefined) !== (drop === undefined)) return;
    context.addIssue({
      code: "custom",
      path: [keep === undefined ? "keep" : "drop"],
      message:
        keep === undefined ? "set a filter here or in drop" : "set either keep or drop, not both",
    });
  });

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
