import { ROOT_CONTEXT, SeverityNumber, trace, TraceFlags } from "@opentelemetry/api";
import type { Level, LoggingManager } from "tailgate";
import type { DemoEvent } from "./demo-event.ts";

const SEVERITIES: Readonly<Record<Level, SeverityNumber>> = {
  DEBUG: SeverityNumber.DEBUG,
  INFO: SeverityNumber.INFO,
  WARNING: SeverityNumber.WARN,
  ERROR: SeverityNumber.ERROR,
  CRITICAL: SeverityNumber.FATAL,
};

/** Logs it like code instrumented with OpenTelemetry, at the given time or now. */
export function logEvent(
  { provider }: LoggingManager,
  { level, logger, message, fields, trace: span, error }: DemoEvent,
  timeMs = Date.now(),
): void {
  const traceFlags = TraceFlags.SAMPLED;
  provider.getLogger(logger).emit({
    timestamp: timeMs,
    severityNumber: SEVERITIES[level],
    severityText: level,
    body: message,
    attributes: fields,
    ...(error && { exception: error }),
    ...(span && { context: trace.setSpanContext(ROOT_CONTEXT, { ...span, traceFlags }) }),
  });
}
