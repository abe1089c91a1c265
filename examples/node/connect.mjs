/** Sends OpenTelemetry logs through Tailgate's own queue: `node --import ./connect.mjs app.mjs`. */

import { LoggingManager } from "tailgate";

// Reads OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_ENDPOINT.
export const logging = await LoggingManager.connect();
