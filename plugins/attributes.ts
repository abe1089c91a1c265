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
    return {
      inspect(view) {
        // If no action would change the record as it is, none changes it after the ones before.
        const isNeeded = actions.some((action) => action.isNeeded(view));
        return isNeeded && filter.matches(view, 0) ? "process" : "pass";
      },
      process(record) {
        const fields = fieldsOf(record);
        for (const action of actions) action.apply(record.attributes, fields);
        return record;
      },
    };
  },
});
