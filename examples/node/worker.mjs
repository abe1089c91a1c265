/** A worker process without a gateway of its own: `node worker.mjs`, while a gateway runs elsewhere. */

import { LoggingManager } from "tailgate";

// OTEL_EXPORTER_OTLP_ENDPOINT is where the gateway is; by default it is port 4318 of this machine.
const logging = await LoggingManager.connect({ serviceName: "worker" });
const logger = logging.getLogger("orchestrator.worker");

logger.warning("High memory usage detected", { memory_mb: 512 });
logger.error("Spawning failed", new Error("no slot is free"));

// Resolves when the gateway has stored the event, and rejects with a coded error if it has not.
const { key } = await logging.audit({ eventType: "instance_spawn", instanceId: "i-1" });
console.log(`Stored as ${key}`);

// Sends what is left. Without it, that happens when the process ends, but not at process.exit().
await logging.stop();
