import pino, { type Logger } from "pino";

const logger: Logger = pino({ name: "orchestrator.server" });
const audit: Logger = logger.child({ logger: "orchestrator.audit" }, { level: "info" });

interface AuditEvent {
  event_type: string;
  instance_id: string;
  details?: object;
}

function logAuditEvent(event: AuditEvent): void {
  audit.info(event, event.event_type);
}

logger.warn({ memory_mb: 512 }, "High memory usage detected");
logger.error(new Error("no slot is free"), "Spawning failed");
logAuditEvent({
  event_type: "instance_spawn",
  instance_id: "abc-123",
  details: { role: "general" },
});
