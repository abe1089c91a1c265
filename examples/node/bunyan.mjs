import { OpenTelemetryBunyanStream } from "@opentelemetry/instrumentation-bunyan";
import bunyan from "bunyan";

// The field `logger` names the logger; the default is `name`.
const logger = bunyan.createLogger({
  name: "orchestrator.server",
  streams: [
    { stream: process.stdout },
    { type: "raw", level: "info", stream: new OpenTelemetryBunyanStream() },
  ],
});
const audit = logger.child({ logger: "orchestrator.audit" });

logger.warn({ memory_mb: 512 }, "High memory usage detected");
logger.error(new Error("no slot is free"), "Spawning failed");
audit.info(
  { event_type: "instance_spawn", instance_id: "abc-123", details: { role: "general" } },
  "instance_spawn",
);
