import { z } from "zod";
import {
  LOGS,
  readDestination,
  type Destination,
  type TokenSource,
} from "../../plugins/otlp/destination.ts";
import { formatPath, Problems } from "../config/problems.ts";
import { validate } from "../config/validation.ts";
import type { WriteLine } from "../gateway/host-log.ts";
import { AUDIT_LOGGER, LEVELS, type Level } from "../wire/envelope.ts";
import { textOf } from "../wire/errors.ts";

/** OpenTelemetry's default, where a Tailgate on the same host listens. */
const DEFAULT_ENDPOINT = "http://127.0.0.1:4318";

const ENDPOINT_VARIABLES = ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/** The longest delay of a Node timer. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const LOWERCASE_LEVELS = LEVELS.map((level) => level.toLowerCase() as Lowercase<Level>);

const attribute = z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]);

/**
 * The options of `LoggingManager.connect`. The other variables of OpenTelemetry's exporter apply too:
 * OTEL_EXPORTER_OTLP_(LOGS_)HEADERS, _COMPRESSION, _CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY, the proxy
 * variables, OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
 */
const connectOptions = z.strictObject({
  /**
   * URL of the gateway or collector; `/v1/logs` is appended unless the path ends with it. Default:
   * OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT, else http://127.0.0.1:4318.
   */
  endpoint: z.url({ protocol: /^https?$/, error: "expected an http or https URL" }).optional(),
  /** Headers of each request, such as Authorization. Default: none. */
  headers: z.record(z.string(), z.string()).default({}),
  /**
   * The gateway's token, or a function that returns the current one, called before each request. Overrides the headers.
   * Default: TAILGATE_TOKEN, unless the headers or the endpoint have credentials.
   */
  token: z
    .union([
      z.string().min(1),
      z.custom<TokenSource>((given) => typeof given === "function", "expected text or a function"),
    ])
    .optional(),
  /** The `service` of all records. Default: OTEL_SERVICE_NAME, else OpenTelemetry's `unknown_service:node`. */
  serviceName: z.string().min(1).optional(),
  /** Further resource attributes of all records. Default: none. */
  resourceAttributes: z.record(z.string(), attribute).default({}),
  /** Records below this level are not sent; audit events are sent from INFO on. Default: INFO. */
  logLevel: z.enum([...LEVELS, ...LOWERCASE_LEVELS]).default("INFO"),
  /** The lowest level whose records have module, function and line. Default: WARNING. */
  callSiteLevel: z.enum([...LEVELS, "never"]).default("WARNING"),
  /** The gateway's `audit_loggers`; `audit` uses the first one. Default: `["orchestrator.audit"]`. */
  auditLoggers: z.array(z.string().min(1)).min(1).default([AUDIT_LOGGER]),
  /** Whether `logs.getLogger()` of the OpenTelemetry APIs leads here too. Default: true. */
  registerGlobally: z.boolean().default(true),
  /** Whether a signal that nobody else in the process handles flushes before it ends the process. Default: true. */
  handleSignals: z.boolean().default(true),
  /** Records that wait or are in flight; further ones are dropped and counted. Default: 32768. */
  queueCapacity: z.int().min(1).default(32_768),
  /** Maximum number of records of one request. Default: 512. */
  batchSize: z.int().min(1).default(512),
  /** How long a record waits for others before its batch is sent, in milliseconds. Default: 200. */
  batchDelayMs: z.int().min(0).max(TIMER_MS_MAX).default(200),
  /** Timeout of one request, in milliseconds. Default: OTEL_EXPORTER_OTLP_(LOGS_)TIMEOUT, else 10000. */
  requestTimeoutMs: z.int().min(1).max(TIMER_MS_MAX).optional(),
  /** How long `audit` retries before it rejects, in milliseconds. Default: 10000. */
  auditTimeoutMs: z.int().min(1).max(TIMER_MS_MAX).default(10_000),
  /** How long `stop` and the end of the process wait for the destination, in milliseconds. Default: 5000. */
  stopTimeoutMs: z.int().min(0).max(TIMER_MS_MAX).default(5000),
});

export type ConnectOptions = Readonly<z.input<typeof connectOptions>> & {
  /** Writes the connection's own warnings. Default: stderr. */
  readonly write?: WriteLine;
};

/** The options with their defaults. */
export type ConnectSettings = z.output<typeof connectOptions> & {
  readonly requestTimeoutMs: number;
};

const REQUEST_TIMEOUT_MS = 10_000;

/** Where records and audit events go. Each has its own agent, so that an audit event does not wait for a batch. */
export interface Destinations {
  readonly records: Destination;
  readonly audit: Destination;
}

/** @throws TailgateError CONFIG_INVALID */
export async function readOptions(
  options: Omit<ConnectOptions, "write">,
): Promise<{ settings: ConnectSettings; destinations: Destinations }> {
  const problems = new Problems();
  const given = await validate(connectOptions, options, { place: formatPath, problems });
  const destinations = given && readDestinations(given, problems);
  problems.throwIfAny("LoggingManager.connect");
  const { timeoutMs = REQUEST_TIMEOUT_MS } = destinations!.records;
  const settings = { ...given!, requestTimeoutMs: given!.requestTimeoutMs ?? timeoutMs };
  return { settings, destinations: destinations! };
}

function readDestinations(
  { endpoint, headers, token }: z.output<typeof connectOptions>,
  problems: Problems,
): Destinations | undefined {
  const isConfigured = ENDPOINT_VARIABLES.some((name) => process.env[name]?.trim());
  const url = endpoint ?? (isConfigured ? undefined : DEFAULT_ENDPOINT);
  // OpenTelemetry's exporter sends JSON, so that OTEL_EXPORTER_OTLP_PROTOCOL does not apply.
  const options = { endpoint: url, headers, protocol: "http/json" } as const;
  const read = (): Destination =>
    typeof token === "function"
      ? { ...readDestination({ ...options, token: null }, LOGS), token }
      : readDestination({ ...options, token }, LOGS);
  try {
    return { records: read(), audit: read() };
  } catch (error) {
    problems.add("endpoint", textOf(error));
    return undefined;
  }
}
