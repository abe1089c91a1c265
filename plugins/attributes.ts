/** Sets, renames and deletes attributes of records before they are stored. */

import { defineProcessor, parseFilter, z, type Processor } from "tailgate/plugin";
import { actionSchema, createAction, fieldsOf } from "./attributes/actions.ts";
import { filterText } from "./filter/filter-text.ts";

const options = z.strictObject({
  actions: z
    .array(actionSchema)
    .min(1)
    .meta({ title: "list of actions" })
    .describe(
      "Actions, in this order, each with `key`, `action` (`insert`, `update`, `upsert`, `copy`, `rename` or `delete`) and the source of the value: `value`, `from_attribute`, `from_resource` or `from_env`.",
    ),
  filter: filterText
    .optional()
    .describe("The records to change; all others stay as they are. Default: all records."),
});

export default defineProcessor({
  name: "attributes",
  description: "Sets, copies, renames and deletes attributes before records are stored.",
  options,
  plan({ actions }) {
    for (const action of actions) createAction(action, process.env);
    return {};
  },
  open(given): Processor {
    const actions = given.actions.map((action) => createAction(action, process.env));
    const filter = parseFilter({ q: given.filter });
    /** Of the audit event that was inspected last; "" if that was a system log. */
    let auditLogger = "";
    return {
      inspect(view) {
        // If no action would change the record as it is, none changes it after the ones before.
        const isNeeded = actions.some((action) => action.isNeeded(view));
        if (!isNeeded || !filter.matches(view, 0)) return "pass";
        auditLogger = view.type() === "audit_log" ? view.logger() : "";
        return "process";
      },
      process(record) {
        const naming = [...record.attributes].filter(([, value]) => value === auditLogger);
        const fields = fieldsOf(record);
        for (const action of actions) action.apply(record.attributes, fields);
        // An attribute may name the logger, which makes an audit event of the record: it stays one.
        const isRenamed = naming.some(([key, value]) => record.attributes.get(key) !== value);
        if (auditLogger === "" || !isRenamed) return record;
        return { ...record, scope: { ...record.scope, name: auditLogger } };
      },
    };
  },
});
