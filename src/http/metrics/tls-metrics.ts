import type { ServerTls } from "../../tls/server-tls.ts";
import { gauge, type Metric } from "./metric.ts";

/** Returns the metrics of a gateway with TLS. */
export function tlsMetrics(tls: ServerTls): Metric[] {
  return [
    gauge(
      "tailgate_tls_certificate_expiry_timestamp_seconds",
      "When the TLS certificate expires, in seconds since 1970.",
      () => tls.certificate.validToDate.getTime() / 1000,
    ),
    {
      name: "tailgate_tls_reloads",
      description: "How often changed TLS files were read, by result: success or failure.",
      kind: "counter",
      read: () =>
        Object.entries(tls.reloads).map(([result, value]) => ({ value, labels: { result } })),
    },
  ];
}
