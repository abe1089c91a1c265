/** Passes pino's records to OpenTelemetry: `node --import ./telemetry.mjs --import ./instrument-pino.mjs app.mjs`. */

import { register } from "node:module";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { PinoInstrumentation } from "@opentelemetry/instrumentation-pino";

// Without this hook, `import pino from "pino"` is not instrumented; `require("pino")` does not need it.
register("@opentelemetry/instrumentation/hook.mjs", import.meta.url);
registerInstrumentations({ instrumentations: [new PinoInstrumentation()] });
