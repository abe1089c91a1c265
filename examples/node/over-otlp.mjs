/** To a gateway that runs elsewhere: `node --import ./over-otlp.mjs winston.mjs`. */

import { logs } from "@opentelemetry/api";
import { logs as logsOfBridges } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const processor = new BatchLogRecordProcessor({
  // OTEL_EXPORTER_OTLP_ENDPOINT says where to; else it is port 4318 of this machine.
  exporter: new OTLPLogExporter(),
  scheduledDelayMillis: 200,
  // The default, 2048, is full after a burst of that many in one turn, and what comes then is dropped.
  maxQueueSize: 32_768,
});
const resource = resourceFromAttributes({ "service.name": "orchestrator" });
const provider = new LoggerProvider({ resource, processors: [processor] });
logs.setGlobalLoggerProvider(provider);
logsOfBridges.setGlobalLoggerProvider(provider); // those for pino and winston use this API

// Sends what is left, where the program has nothing more to do, and where it is ended.
process.once("beforeExit", () => provider.shutdown());
process.once("SIGTERM", async () => {
  await provider.shutdown();
  process.exit();
});
