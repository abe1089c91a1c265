import pino from "pino";

// The attribute `logger`, else `name`, is the name of the logger.
const logger = pino({ name: "orchestrator.server" });
// A level of its own, so that a higher `level` of the parent does not suppress audit events.
const audit = logger.child({ logger: "orchestrator.audit" }, { level: "info" });

logger.warn({ memory_mb: 512 }, "High memory usage detected");
logger.error(new Error("no slot is free"), "Spawning failed");
audit.info(
  { event_type: "instance_spawn", instance_id: "abc-123", details: { role: "general" } },
  "instance_spawn",
);
