import { z } from "tailgate/plugin";
import type { Signal } from "./signal.ts";

export const PROTOCOLS = ["http/protobuf", "http/json"] as const;

export type Protocol = (typeof PROTOCOLS)[number];

/** The options that say where data of that signal goes, and how. */
export function destinationOptions({ variable, path }: Signal) {
  return {
    endpoint: z
      .url({
        protocol: /^https?$/,
        error: "expected an http or https URL such as http://127.0.0.1:4318",
      })
      .optional()
      .describe(
        `Where to send to; \`/${path}\` is added to a path that does not end so. Without it OTEL_EXPORTER_OTLP_${variable}_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT count; one of the three has to be there.`,
      ),
    protocol: z
      .enum(PROTOCOLS)
      .optional()
      .describe(`Without it OTEL_EXPORTER_OTLP_(${variable}_)PROTOCOL counts, else http/protobuf.`),
    headers: z
      .record(z.string(), z.string())
      .default({})
      .describe(
        `Headers of each request, such as Authorization, beside those of OTEL_EXPORTER_OTLP_(${variable}_)HEADERS. They are never shown.`,
      ),
    compression: z
      .enum(["gzip", "none"])
      .optional()
      .describe(`Without it OTEL_EXPORTER_OTLP_(${variable}_)COMPRESSION counts, else none.`),
    certificate: z
      .string()
      .optional()
      .describe(
        `PEM file of the authorities that the server is checked with. Without it OTEL_EXPORTER_OTLP_(${variable}_)CERTIFICATE counts, else the system's.`,
      ),
    client_certificate: z
      .string()
      .optional()
      .describe(
        `PEM file of our own certificate, or OTEL_EXPORTER_OTLP_(${variable}_)CLIENT_CERTIFICATE.`,
      ),
    client_key: z
      .string()
      .optional()
      .describe(`PEM file of its private key, or OTEL_EXPORTER_OTLP_(${variable}_)CLIENT_KEY.`),
  };
}

export type DestinationOptions = z.output<z.ZodObject<ReturnType<typeof destinationOptions>>>;
