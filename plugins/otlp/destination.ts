import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { requestUrl, textOf, withPath, z, type EffectiveOption, type Plan } from "tailgate/plugin";
import { createAgent, type Connection } from "../http-client/agent.ts";
import { checkHeaderOption, isToken, mergeHeaders } from "../http-client/headers.ts";
import { resolveProxy } from "../http-client/proxy.ts";
import type { Setting } from "../http-client/setting.ts";
import {
  FILE_OPTIONS,
  readSecretFile,
  readTlsFiles,
  type FileOption,
} from "../http-client/tls-files.ts";
import {
  COMPRESSIONS,
  PROTOCOLS,
  readChoice,
  readEndpoint,
  readHeaders,
  readTimeout,
  readTokenVariable,
  readVariable,
  TOKEN_VARIABLE,
  type Protocol,
  type Signal,
} from "./environment.ts";

export const LOGS: Signal = { variable: "LOGS", path: "v1/logs" };

export const TRACES: Signal = { variable: "TRACES", path: "v1/traces" };

const CONTENT_TYPES: Readonly<Record<Protocol, string>> = {
  "http/protobuf": "application/x-protobuf",
  "http/json": "application/json",
};

/** Returns the options that configure the destination of a signal. */
export function destinationOptions({ variable, path }: Signal) {
  return {
    endpoint: z
      .url({
        protocol: /^https?$/,
        error: "expected an http or https URL such as http://127.0.0.1:4318",
      })
      .optional()
      .describe(
        `URL to send to; \`/${path}\` is appended unless the path ends with it. Required, here or as OTEL_EXPORTER_OTLP_${variable}_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT.`,
      ),
    protocol: z
      .enum(PROTOCOLS)
      .optional()
      .describe(
        `Encoding of requests. Default: OTEL_EXPORTER_OTLP_(${variable}_)PROTOCOL, else http/protobuf.`,
      ),
    headers: z
      .record(z.string(), z.string())
      .default({})
      .describe(
        `Headers of each request, such as Authorization, in addition to OTEL_EXPORTER_OTLP_(${variable}_)HEADERS. They are never shown.`,
      ),
    token: z
      .string()
      .min(1)
      .nullable()
      .optional()
      .describe(
        `Token of a gateway, sent as \`Authorization: Bearer\`; overrides the headers. Never shown. ${
          variable === "LOGS"
            ? `Default: ${TOKEN_VARIABLE}, unless the headers or the endpoint have credentials; null sends none.`
            : "Default: none."
        }`,
      ),
    token_file: z
      .string()
      .min(1)
      .optional()
      .describe(
        "File with the token, instead of `token`. Read before each request, so that the token can be replaced.",
      ),
    compression: z
      .enum(COMPRESSIONS)
      .optional()
      .describe(
        `Compression of requests. Default: OTEL_EXPORTER_OTLP_(${variable}_)COMPRESSION, else none.`,
      ),
    certificate: z
      .string()
      .optional()
      .describe(
        `PEM file of the certificate authorities to verify the server with. Default: OTEL_EXPORTER_OTLP_(${variable}_)CERTIFICATE, else those of Node.js.`,
      ),
    client_certificate: z
      .string()
      .optional()
      .describe(
        `PEM file of the client certificate. Default: OTEL_EXPORTER_OTLP_(${variable}_)CLIENT_CERTIFICATE.`,
      ),
    client_key: z
      .string()
      .optional()
      .describe(
        `PEM file of the client certificate's private key. Default: OTEL_EXPORTER_OTLP_(${variable}_)CLIENT_KEY.`,
      ),
  };
}

type DestinationOptions = z.output<z.ZodObject<ReturnType<typeof destinationOptions>>>;

/** Returns the current token. */
export type TokenSource = () => string | Promise<string>;

/** An endpoint with everything that a request to it needs. */
export interface Destination extends Connection {
  readonly protocol: Protocol;
  /** Without the token: see {@link requestHeaders}. */
  readonly headers: Readonly<Record<string, string>>;
  readonly token: TokenSource | undefined;
  readonly isGzipped: boolean;
  /** Timeout of one request by the environment; delivery has its own. */
  readonly timeoutMs: number | undefined;
}

/** @throws Error that names the option or the variable that is not valid. */
export function readDestination(options: DestinationOptions, signal: Signal): Destination {
  const { endpoint, protocol, compression, headers, token, timeoutMs, proxy, tls } = readSettings(
    options,
    signal,
  );
  const { url, name, authorization } = requestUrl(endpoint.value);
  return {
    url,
    name,
    protocol: protocol.value,
    headers: mergeHeaders([
      ...(authorization === undefined ? [] : [{ Authorization: authorization }]),
      ...headers.map(({ value }) => value),
      { "Content-Type": CONTENT_TYPES[protocol.value] },
    ]),
    token: token?.read,
    isGzipped: compression.value === "gzip",
    timeoutMs: timeoutMs?.value || undefined,
    ...createAgent(url, tls, proxy?.value),
  };
}

/** Thrown before anything is sent. */
export class TokenError extends Error {}

/**
 * Returns the headers of a request, with the current token.
 * @throws TokenError if there is none.
 */
export async function requestHeaders({
  headers,
  token,
}: Pick<Destination, "headers" | "token">): Promise<Record<string, string>> {
  if (token === undefined) return headers;
  let text: string;
  try {
    text = (await token()).trim();
  } catch (error) {
    throw new TokenError(`the token cannot be obtained: ${textOf(error)}`, { cause: error });
  }
  if (!isToken(text))
    throw new TokenError("the token is empty or has characters that are not allowed in headers");
  return mergeHeaders([headers, { Authorization: `Bearer ${text}` }]);
}

/**
 * Returns the effective options of an exporter to the destination.
 * @throws Error as {@link readDestination} does.
 */
export function planDestination(options: DestinationOptions, signal: Signal): Plan {
  const { endpoint, protocol, compression, headers, token, timeoutMs, proxy, files } = readSettings(
    options,
    signal,
  );
  const effective: Record<string, EffectiveOption> = {
    endpoint: { value: endpoint.value.href, source: endpoint.source },
    protocol,
    compression,
    ...files,
  };
  const sources = headers.filter(({ value }) => Object.keys(value).length > 0);
  if (sources.length > 0) {
    effective["headers"] = {
      value: mergeHeaders(sources.map(({ value }) => value)),
      source: sources.map(({ source }) => source).join(", "),
    };
  }
  if (token !== undefined) effective[token.option] = { value: token.value, source: token.source };
  const notes: string[] = [];
  if (timeoutMs !== undefined) {
    notes.push(`Request timeout ${timeoutMs.value} ms: ${timeoutMs.source}`);
  }
  if (proxy !== undefined) {
    notes.push(`Through the proxy ${requestUrl(proxy.value).name}: ${proxy.source}`);
  }
  const paths = Object.values(files).map(({ value }) => resolve(value));
  return { targets: [requestUrl(endpoint.value).name], files: paths, effective, notes };
}

/**
 * Returns the effective settings, each with its source. Options override OTEL_EXPORTER_OTLP_<signal>_*, which override
 * OTEL_EXPORTER_OTLP_*. Later headers override earlier ones.
 */
function readSettings(options: DestinationOptions, signal: Signal) {
  const { protocol, compression } = options;
  const endpoint = resolveEndpoint(options, signal);
  const files: Partial<Record<FileOption, Setting>> = {};
  for (const option of FILE_OPTIONS) {
    const file = toSetting(option, options[option]) ?? readVariable(option.toUpperCase(), signal);
    if (file !== undefined) files[option] = file;
  }
  const headers = [...readHeaders(signal), checkHeaderOption(options.headers)];
  return {
    endpoint,
    protocol: toSetting("protocol", protocol) ??
      readChoice("PROTOCOL", signal, PROTOCOLS) ?? { value: "http/protobuf", source: "default" },
    compression: toSetting("compression", compression) ??
      readChoice("COMPRESSION", signal, COMPRESSIONS) ?? { value: "none", source: "default" },
    headers,
    token: resolveToken(options, signal, hasCredentials(endpoint.value, headers)),
    timeoutMs: readTimeout(signal),
    proxy: resolveProxy(endpoint.value),
    files,
    tls: readTlsFiles(files),
  };
}

function toSetting<Value>(name: string, value: Value | undefined): Setting<Value> | undefined {
  return value === undefined ? undefined : { value, source: `option ${name}` };
}

function hasCredentials({ username, password }: URL, headers: readonly Setting<object>[]): boolean {
  const names = headers.flatMap(({ value }) => Object.keys(value));
  const hasHeader = names.some((name) => name.toLowerCase() === "authorization");
  return hasHeader || username !== "" || password !== "";
}

interface TokenSetting extends Setting {
  readonly option: "token" | "token_file";
  readonly read: TokenSource;
}

/** `hasOthers`: the endpoint or the headers have credentials, which the environment does not override. */
function resolveToken(
  { token, token_file: file }: DestinationOptions,
  signal: Signal,
  hasOthers: boolean,
): TokenSetting | undefined {
  if (file !== undefined) {
    if (token !== undefined) throw new Error("token and token_file cannot be combined");
    readSecretFile({ value: file, source: "option token_file" }, "a file with a token");
    const read = (): Promise<string> => readFile(resolve(file), "utf8");
    return { option: "token_file", value: file, source: "option token_file", read };
  }
  const isNone = token === null || (token === undefined && hasOthers);
  const setting = isNone ? undefined : (toSetting("token", token) ?? readTokenVariable(signal));
  if (setting === undefined) return undefined;
  const { value, source } = setting;
  const text = value.trim();
  if (!isToken(text)) throw new Error(`${source} has characters that are not allowed in headers`);
  return { option: "token", value, source, read: () => text };
}

/**
 * Returns the endpoint with the signal's path appended, except for the signal's own variable, which is used as it is
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). There is no default, because the server at
 * OpenTelemetry's may be this gateway itself.
 */
function resolveEndpoint({ endpoint }: DestinationOptions, signal: Signal): Setting<URL> {
  if (endpoint !== undefined) {
    const url = new URL(endpoint);
    const isComplete = url.pathname.replace(/\/+$/, "").endsWith(`/${signal.path}`);
    const value = isComplete ? url : withPath(url, signal.path);
    return { value, source: "option endpoint" };
  }
  const variable = readEndpoint(signal);
  if (variable === undefined) {
    throw new Error("endpoint is missing: set it, or OTEL_EXPORTER_OTLP_ENDPOINT");
  }
  const { value, source, isGeneral } = variable;
  return { value: isGeneral ? withPath(value, signal.path) : value, source };
}
