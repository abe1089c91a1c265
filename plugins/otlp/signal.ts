/** One of OTLP's kinds of data, as far as its address and its settings differ from the others'. */
export interface Signal {
  /** In the names of OpenTelemetry's environment variables: OTEL_EXPORTER_OTLP_LOGS_ENDPOINT. */
  readonly variable: "LOGS" | "TRACES";
  /** What an endpoint's path ends with. */
  readonly path: string;
}

export const LOGS: Signal = { variable: "LOGS", path: "v1/logs" };

export const TRACES: Signal = { variable: "TRACES", path: "v1/traces" };
