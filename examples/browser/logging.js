import { SeverityNumber } from "@opentelemetry/api";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const provider = new LoggerProvider({
  resource: resourceFromAttributes({ "service.name": "shop-web" }),
  processors: [
    // A relative URL: requests go to the server that the page was loaded from.
    new BatchLogRecordProcessor({ exporter: new OTLPLogExporter({ url: "/v1/logs" }) }),
  ],
});

export const logger = provider.getLogger("shop.web");

addEventListener("error", ({ error, message }) => {
  logger.emit({ severityNumber: SeverityNumber.ERROR, body: message, exception: error });
});
addEventListener("unhandledrejection", ({ reason }) => {
  logger.emit({ severityNumber: SeverityNumber.ERROR, body: String(reason), exception: reason });
});
