import { z } from "tailgate/plugin";

export const PROTOCOLS = ["http/protobuf", "http/json"] as const;

export type Protocol = (typeof PROTOCOLS)[number];

export const options = z.strictObject({
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      "Where to send to; `/v1/logs` is added to a path that does not end so. Without it OTEL_EXPORTER_OTLP_LOGS_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT count; one of the three has to be there.",
    ),
  protocol: z
    .enum(PROTOCOLS)
    .optional()
    .describe("Without it OTEL_EXPORTER_OTLP_(LOGS_)PROTOCOL counts, else http/protobuf."),
  headers: z
    .record(z.string(), z.string())
    .default({})
    .describe(
      "Headers of each request, such as Authorization, beside those of OTEL_EXPORTER_OTLP_(LOGS_)HEADERS. They are never shown.",
    ),
  compression: z
    .enum(["gzip", "none"])
    .optional()
    .describe("Without it OTEL_EXPORTER_OTLP_(LOGS_)COMPRESSION counts, else none."),
  certificate: z
    .string()
    .optional()
    .describe(
      "PEM file of the authorities that the server is checked with. Without it OTEL_EXPORTER_OTLP_(LOGS_)CERTIFICATE counts, else the system's.",
    ),
  client_certificate: z
    .string()
    .optional()
    .describe("PEM file of our own certificate, or OTEL_EXPORTER_OTLP_(LOGS_)CLIENT_CERTIFICATE."),
  client_key: z
    .string()
    .optional()
    .describe("PEM file of its private key, or OTEL_EXPORTER_OTLP_(LOGS_)CLIENT_KEY."),
  logger_attribute: z
    .string()
    .min(1)
    .optional()
    .describe(
      "The logger's name is sent as an attribute of this name too, for stores that drop the scope.",
    ),
  max_batch_bytes: z
    .int()
    .min(1)
    .default(2 << 20)
    .describe("About how large a request becomes, before compression; a larger record goes alone."),
});

export type OtlpOptions = z.output<typeof options>;
