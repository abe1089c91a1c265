import { logs, SeverityNumber } from "@opentelemetry/api";

const logger = logs.getLogger("orchestrator.server");
const audit = logs.getLogger("orchestrator.audit");

logger.emit({
  severityNumber: SeverityNumber.WARN,
  body: "High memory usage detected",
  attributes: { memory_mb: 512 },
});
logger.emit({
  severityNumber: SeverityNumber.ERROR,
  body: "Spawning failed",
  exception: new Error("no slot is free"),
});
audit.emit({
  severityNumber: SeverityNumber.INFO,
  body: "instance_spawn",
  attributes: {
    event_type: "instance_spawn",
    instance_id: "abc-123",
    details: { role: "general" },
  },
});
