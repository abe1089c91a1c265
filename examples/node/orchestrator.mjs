import { LoggingManager } from "tailgate";

const logging = await LoggingManager.start({ logDir: "logs", logLevel: "DEBUG" });
console.log(`Dashboard: ${logging.url}`);

const logger = logging.getLogger("orchestrator.instance_manager");
logger.info("Instance spawned", { instance_id: "abc-123" });
logger.warning("High memory usage detected", { memory_mb: 512 });
logger.error("Spawning failed", new Error("no slot is free"));

const receipt = await logging.audit({
  eventType: "instance_spawn",
  instanceId: "abc-123",
  details: { role: "general" },
});
console.log(`Stored as ${receipt.seq}, ${receipt.hash}`);

// The program's own work. The gateway does not keep the process running.
const work = setInterval(() => logger.debug("Looking for work"), 60_000);
process.once("SIGTERM", async () => {
  clearInterval(work);
  await logging.stop();
});
