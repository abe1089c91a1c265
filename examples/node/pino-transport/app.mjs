import pino from "pino";

const logger = pino({
  name: "orchestrator.server",
  transport: {
    targets: [
      { target: "pino/file" },
      {
        target: "pino-opentelemetry-transport",
        options: {
          logRecordProcessorOptions: {
            recordProcessorType: "batch",
            processorConfig: { scheduledDelayMillis: 200, maxQueueSize: 32_768 },
          },
        },
      },
    ],
  },
});
const audit = logger.child({ logger: "orchestrator.audit" }, { level: "info" });

logger.warn({ memory_mb: 512 }, "High memory usage detected");
logger.error(new Error("no slot is free"), "Spawning failed");
audit.info(
  { event_type: "instance_spawn", instance_id: "abc-123", details: { role: "general" } },
  "instance_spawn",
);
