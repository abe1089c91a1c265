import { readFileSync } from "node:fs";
import type { Agent } from "node:http";
import { resolve } from "node:path";
import { createSecureContext } from "node:tls";
import {
  convertLegacyHttpOptions,
  getSharedConfigurationFromEnvironment,
} from "@opentelemetry/otlp-exporter-base/node-http";
import { requestUrl, textOf, withPath } from "tailgate/plugin";
import { PROTOCOLS, type DestinationOptions, type Protocol } from "./destination-options.ts";
import type { Signal } from "./signal.ts";

const CONTENT_TYPES: Readonly<Record<Protocol, string>> = {
  "http/protobuf": "application/x-protobuf",
  "http/json": "application/json",
};

/** Where requests go, and how. */
export interface Destination {
  /** Without user and password, which are in the headers. */
  readonly url: URL;
  /** The URL as it may be shown: without user, password and query. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly headers: Readonly<Record<string, string>>;
  readonly isGzipped: boolean;
  /** Of one request, by the environment; delivery has a limit of its own. */
  readonly timeoutMs: number | undefined;
  readonly agent: Agent;
}

/**
 * What the options say, then OTEL_EXPORTER_OTLP_<signal>_*, then OTEL_EXPORTER_OTLP_*, as OpenTelemetry's own
 * exporters read them. What cannot be used ends the start, where that one would go on without it.
 */
export async function readDestination(
  options: DestinationOptions,
  signal: Signal,
): Promise<Destination> {
  const protocol = protocolOf(options, signal);
  checkEndpoint(options, signal);
  const endpoint = endpointOf(options, signal);
  const tls = tlsOf(options, signal);
  const {
    url: complete,
    headers,
    compression,
    agentFactory,
  } = convertLegacyHttpOptions(
    {
      ...(endpoint !== undefined && { url: endpoint.href }),
      headers: options.headers,
      // One connection: a request is not sent before the one before is answered.
      httpAgentOptions: { keepAlive: true, maxSockets: 1, ...tls },
    },
    signal.variable,
    signal.path,
    { "Content-Type": CONTENT_TYPES[protocol] },
  );
  const { url, name, authorization } = requestUrl(complete);
  const others = await headers();
  const isAuthorized = Object.keys(others).some((header) => /^authorization$/i.test(header));
  return {
    url,
    name,
    protocol,
    headers: {
      ...(authorization !== undefined && !isAuthorized && { Authorization: authorization }),
      ...others,
    },
    isGzipped: (options.compression ?? compression) === "gzip",
    timeoutMs: getSharedConfigurationFromEnvironment(signal.variable).timeoutMillis,
    agent: await agentFactory(url.protocol),
  };
}

function protocolOf({ protocol }: DestinationOptions, signal: Signal): Protocol {
  if (protocol !== undefined) return protocol;
  const variable = variableOf("PROTOCOL", signal);
  if (variable === undefined) return "http/protobuf";
  const known = PROTOCOLS.find((one) => one === variable.value);
  if (known !== undefined) return known;
  throw new Error(
    `${variable.name} is ${variable.value}, and this exporter speaks ${PROTOCOLS.join(" and ")}; its option protocol overrides it`,
  );
}

/** Nothing is sent to a default address: what listens there may be this gateway itself. */
function checkEndpoint({ endpoint }: DestinationOptions, signal: Signal): void {
  if (endpoint !== undefined) return;
  const variable = variableOf("ENDPOINT", signal);
  if (variable === undefined) {
    throw new Error("there is no endpoint: set it, or OTEL_EXPORTER_OTLP_ENDPOINT");
  }
  if (!/^https?:\/\//i.test(variable.value) || !URL.canParse(variable.value)) {
    throw new Error(`${variable.name} is no URL that begins with http:// or https://`);
  }
}

/**
 * Returns the endpoint with the signal's path; undefined for that of the signal's own variable, which is used as it is
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). The general variable is read here because
 * OpenTelemetry's reader appends the path to the query.
 */
function endpointOf({ endpoint }: DestinationOptions, signal: Signal): URL | undefined {
  if (endpoint !== undefined) {
    const url = new URL(endpoint);
    const isComplete = url.pathname.replace(/\/+$/, "").endsWith(`/${signal.path}`);
    return isComplete ? url : withPath(url, signal.path);
  }
  const variable = variableOf("ENDPOINT", signal)!;
  const isGeneral = variable.name === "OTEL_EXPORTER_OTLP_ENDPOINT";
  return isGeneral ? withPath(variable.value, signal.path) : undefined;
}

function tlsOf(
  options: DestinationOptions,
  signal: Signal,
): { ca?: Buffer; cert?: Buffer; key?: Buffer } {
  const ca = fileOf("certificate", options, signal);
  const cert = fileOf("client_certificate", options, signal);
  const key = fileOf("client_key", options, signal);
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  try {
    createSecureContext(tls);
  } catch (error) {
    throw new Error(`the certificates cannot be used: ${textOf(error)}`, { cause: error });
  }
  return tls;
}

function fileOf(
  option: "certificate" | "client_certificate" | "client_key",
  { [option]: given }: DestinationOptions,
  signal: Signal,
): Buffer | undefined {
  const source =
    given === undefined ? variableOf(option.toUpperCase(), signal) : { name: option, value: given };
  if (source === undefined) return undefined;
  try {
    return readFileSync(resolve(source.value));
  } catch (error) {
    throw new Error(`the file of ${source.name} cannot be read`, { cause: error });
  }
}

/** The variable for the signal, else the one for all of them; what is empty is not set. */
function variableOf(
  name: string,
  { variable: signal }: Signal,
): { name: string; value: string } | undefined {
  for (const variable of [`OTEL_EXPORTER_OTLP_${signal}_${name}`, `OTEL_EXPORTER_OTLP_${name}`]) {
    const value = process.env[variable]?.trim();
    if (value) return { name: variable, value };
  }
  return undefined;
}
