import cluster from "node:cluster";
import { LoggingManager } from "tailgate";

if (cluster.isPrimary) {
  const logging = await LoggingManager.start({
    logDir: "logs",
    // No extra port: workers send to the dashboard's.
    receivers: { otlp: { port: null } },
  });
  const logger = logging.getLogger("orchestrator.primary");
  for (const name of ["worker-a", "worker-b"]) {
    cluster.fork({ OTEL_EXPORTER_OTLP_ENDPOINT: logging.url, OTEL_SERVICE_NAME: name });
  }
  cluster.on("exit", (worker, code) => logger.info("Worker exited", { worker: worker.id, code }));
} else {
  const logging = await LoggingManager.connect();
  logging.getLogger("orchestrator.worker").info("Worker started", { pid: process.pid });
  await logging.audit({ eventType: "worker_start", instanceId: String(cluster.worker.id) });
  cluster.worker.disconnect();
}
