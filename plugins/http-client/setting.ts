/** A setting and its source: `OTEL_EXPORTER_OTLP_ENDPOINT`, `option endpoint`, `default`. */
export interface Setting<Value = string> {
  readonly value: Value;
  readonly source: string;
}
