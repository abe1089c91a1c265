/** Sends OpenTelemetry logs over OTLP/HTTP: `node --import ./telemetry.mjs app.mjs`. */

import { logs } from "@opentelemetry/api";
import { logs as logsOfBridges } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { defaultResource, detectResources, envDetector } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const provider = new LoggerProvider({
  // Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which the SDK ignores by itself.
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })),
  processors: [
    new BatchLogRecordProcessor({
      // Sends to OTEL_EXPORTER_OTLP_ENDPOINT, or to port 4318 of this machine.
      exporter: new OTLPLogExporter(),
      scheduledDelayMillis: 200,
      // The SDK drops what exceeds the queue. Its default, 2048, is less than a burst may have.
      maxQueueSize: 32_768,
    }),
  ],
});
const isRegistered = logs.setGlobalLoggerProvider(provider);
if (!isRegistered) throw new Error("Another LoggerProvider is registered");
logsOfBridges.setGlobalLoggerProvider(provider); // winston's transport uses this API

// Sends what is queued when the program ends by itself or by a signal.
process.once("beforeExit", () => provider.shutdown());
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await provider.shutdown();
    process.kill(process.pid, signal);
  });
}
