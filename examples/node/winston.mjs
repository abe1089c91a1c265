import { OpenTelemetryTransportV3 } from "@opentelemetry/winston-transport";
import winston from "winston";

const root = winston.createLogger({
  level: "info",
  transports: [new winston.transports.Console(), new OpenTelemetryTransportV3()],
});
// The field `logger` names the logger; the default is `label`.
const logger = root.child({ logger: "orchestrator.server" });
const audit = root.child({ logger: "orchestrator.audit" });

logger.warn("High memory usage detected", { memory_mb: 512 });
logger.error("Spawning failed", new Error("no slot is free"));
audit.info("instance_spawn", {
  event_type: "instance_spawn",
  instance_id: "abc-123",
  details: { role: "general" },
});
