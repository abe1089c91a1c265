import { z } from "tailgate/plugin";
import { destinationOptions } from "./destination-options.ts";
import { LOGS } from "./signal.ts";

export const options = z.strictObject({
  ...destinationOptions(LOGS),
  logger_attribute: z
    .string()
    .min(1)
    .optional()
    .describe(
      "The logger's name is sent as an attribute of this name too, for stores that drop the scope.",
    ),
  record_uid: z
    .boolean()
    .default(true)
    .describe(
      "Each record is sent with the attribute `log.record.uid`, the same one whenever it is sent, unless it came with one: a record that arrives twice, after a crash or a lost answer, can be told by it.",
    ),
  max_batch_bytes: z
    .int()
    .min(1)
    .default(2 << 20)
    .describe("About how large a request becomes, before compression; a larger record goes alone."),
  quarantine_max_bytes: z
    .int()
    .min(1)
    .default(64 << 20)
    .describe(
      "What the quarantine holds, in two files; beyond it the older one is deleted, and its records are counted.",
    ),
});

export type OtlpOptions = z.output<typeof options>;
