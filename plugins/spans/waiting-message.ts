import { z } from "tailgate/plugin";
import { fieldsSchema } from "./fields.ts";
import { spanReferenceSchema } from "./span-reference.ts";

/** One half of a message whose other half has not come, as JSON has it. */
export const waitingMessageSchema = z.object({
  side: z.enum(["sent", "received"]),
  /** "" where it has none: then the oldest one of the other side is taken. */
  messageId: z.string(),
  instanceId: z.string(),
  timeNanos: z.string().transform((text) => BigInt(text)),
  sequence: z.number(),
  fields: fieldsSchema,
  context: spanReferenceSchema.optional(),
});

export type WaitingMessage = z.output<typeof waitingMessageSchema>;
