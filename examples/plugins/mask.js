import { defineProcessor, z } from "tailgate/plugin";

export default defineProcessor({
  name: "mask",
  description: "Replaces the values of attributes by asterisks.",
  options: z.object({
    keys: z.array(z.string()).default(["password"]).describe("Names of the attributes."),
  }),
  open({ keys }) {
    return {
      inspect(view) {
        return keys.some((key) => view.attribute(key) !== undefined) ? "process" : "pass";
      },
      process(record) {
        for (const key of keys) {
          if (record.attributes.has(key)) record.attributes.set(key, "********");
        }
        return record;
      },
    };
  },
});
