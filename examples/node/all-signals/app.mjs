import { logs, metrics, SeverityNumber, trace } from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";

const sdk = new NodeSDK();
sdk.start();

const logger = logs.getLogger("orchestrator.server");
const spawns = metrics.getMeter("orchestrator.server").createCounter("spawns");

trace.getTracer("orchestrator.server").startActiveSpan("spawn", (span) => {
  spawns.add(1);
  logger.emit({ severityNumber: SeverityNumber.INFO, body: "Instance spawned" });
  span.end();
});

await sdk.shutdown();
