/** Sends OpenTelemetry logs over OTLP/HTTP: `node --import ./telemetry.mjs app.mjs`. */

import { logs } from "@opentelemetry/api";
import { logs as logsOfBridges } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { defaultResource, detectResources, envDetector } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const provider = new LoggerProvider({
  // Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which the SDK does not read on its own.
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })),
  processors: [
    new BatchLogRecordProcessor({
      // Sends to OTEL_EXPORTER_OTLP_ENDPOINT; the default is port 4318 on this machine.
      exporter: new OTLPLogExporter(),
      scheduledDelayMillis: 200,
      // When the queue is full, the SDK drops records. Its default, 2048, is too small for bursts.
      maxQueueSize: 32_768,
    }),
  ],
});
const isRegistered = logs.setGlobalLoggerProvider(provider);
if (!isRegistered) throw new Error("Another LoggerProvider is registered");
logsOfBridges.setGlobalLoggerProvider(provider); // winston's transport uses this API

// Sends the queue when the program ends on its own or by a signal.
process.once("beforeExit", () => provider.shutdown());
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    // Your own handler, if there is one, ends the program.
    if (process.listenerCount(signal) > 0) return provider.forceFlush();
    await provider.shutdown();
    process.kill(process.pid, signal);
  });
}
