import { createRequire } from "node:module";
import { PinoInstrumentation } from "@opentelemetry/instrumentation-pino";

// It changes what is required after it; in a CommonJS program a plain `require("pino")` below does.
new PinoInstrumentation().enable();
const { pino } = createRequire(import.meta.url)("pino");

// An attribute `logger`, else `name`, is the logger's name.
const logger = pino({ name: "orchestrator.server" });
const audit = logger.child({ logger: "orchestrator.audit" });

logger.warn({ memory_mb: 512 }, "High memory usage detected");
logger.error(new Error("no slot is free"), "Spawning failed");
audit.info(
  { event_type: "instance_spawn", instance_id: "abc-123", details: { role: "general" } },
  "instance_spawn",
);
