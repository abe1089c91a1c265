import { LoggingManager } from "tailgate";

const logging = await LoggingManager.connect({ serviceName: "worker" });
const logger = logging.getLogger("orchestrator.worker");

logger.warning("High memory usage detected", { memory_mb: 512 });
logger.error("Spawning failed", new Error("no slot is free"));

const { key } = await logging.audit({ eventType: "instance_spawn", instanceId: "abc-123" });
console.log(`Stored with the key ${key}`);

await logging.stop();
