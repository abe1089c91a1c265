import { LEVELS, z } from "tailgate/plugin";
import { destinationOptions } from "../otlp/destination-options.ts";
import { TRACES } from "../otlp/signal.ts";

export const options = z.strictObject({
  ...destinationOptions(TRACES),
  service_name: z
    .string()
    .min(1)
    .optional()
    .describe(
      "The service of all spans. Without it each instance has that of the process that logged it; for this process OTEL_SERVICE_NAME counts, else `orchestrator`.",
    ),
  log_events: z
    .enum([...LEVELS, "none"])
    .default("ERROR")
    .describe(
      "System logs that name an instance are events of its span from this level on; `none` keeps them out.",
    ),
  max_open_instances: z
    .int()
    .min(1)
    .max(10_000)
    .default(256)
    .describe(
      "How many instances may be open at a time; where one more is spawned, the one that was opened first is closed as evicted.",
    ),
});

export type SpansOptions = z.output<typeof options>;
