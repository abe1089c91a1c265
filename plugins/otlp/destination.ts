import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, type AgentOptions } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { resolve } from "node:path";
import type { Duplex } from "node:stream";
import { createSecureContext } from "node:tls";
import { requestUrl, textOf, withPath, type EffectiveOption, type Plan } from "tailgate/plugin";
import type { DestinationOptions, Protocol } from "./destination-options.ts";
import {
  compressionVariable,
  endpointVariable,
  headerOption,
  headerVariables,
  protocolVariable,
  timeoutVariable,
  variableOf,
  type Setting,
} from "./environment.ts";
import { proxyFor } from "./proxy.ts";
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
  /** Sockets to a proxy that has not answered, or through which the server has not: destroy them to give a request up. */
  readonly tunnels: ReadonlySet<Duplex>;
}

/** What the options and the environment say, each with its source. */
interface Settings {
  readonly endpoint: Setting<URL>;
  readonly protocol: Setting<Protocol>;
  readonly compression: Setting;
  /** The later ones come before the earlier ones. */
  readonly headers: readonly Setting<Readonly<Record<string, string>>>[];
  readonly timeoutMs: Setting<number> | undefined;
  readonly proxy: Setting<URL> | undefined;
  readonly files: Readonly<Partial<Record<FileOption, Setting>>>;
  readonly tls: Tls;
}

interface Tls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** @throws Error for what cannot be used; it names the option or the variable. */
export function readDestination(options: DestinationOptions, signal: Signal): Destination {
  const { endpoint, protocol, compression, headers, timeoutMs, proxy, tls } = settingsOf(
    options,
    signal,
  );
  const { url, name, authorization } = requestUrl(endpoint.value);
  return {
    url,
    name,
    protocol: protocol.value,
    headers: mergedHeaders([
      ...(authorization === undefined ? [] : [{ Authorization: authorization }]),
      ...headers.map(({ value }) => value),
      { "Content-Type": CONTENT_TYPES[protocol.value] },
    ]),
    isGzipped: compression.value === "gzip",
    timeoutMs: timeoutMs?.value || undefined,
    ...newAgent(url, tls, proxy?.value),
  };
}

/**
 * Returns what an exporter to that destination will use.
 * @throws Error as `readDestination`
 */
export function planDestination(options: DestinationOptions, signal: Signal): Plan {
  const { endpoint, protocol, compression, headers, timeoutMs, proxy, files } = settingsOf(
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
      value: mergedHeaders(sources.map(({ value }) => value)),
      source: sources.map(({ source }) => source).join(", "),
    };
  }
  const notes: string[] = [];
  if (timeoutMs !== undefined) {
    notes.push(`A request takes at most ${timeoutMs.value} ms: ${timeoutMs.source}`);
  }
  if (proxy !== undefined) {
    notes.push(`Through the proxy ${requestUrl(proxy.value).name}: ${proxy.source}`);
  }
  return { targets: [requestUrl(endpoint.value).name], effective, notes };
}

/** Of headers of the same name, in whatever case, the last one counts. */
function mergedHeaders(all: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const merged = new Map<string, [string, string]>();
  for (const [name, value] of all.flatMap(Object.entries<string>)) {
    merged.set(name.toLowerCase(), [name, value]);
  }
  return Object.fromEntries(merged.values());
}

/** The options, then OTEL_EXPORTER_OTLP_<signal>_*, then OTEL_EXPORTER_OTLP_*. */
function settingsOf(options: DestinationOptions, signal: Signal): Settings {
  const { protocol, compression } = options;
  const endpoint = endpointOf(options, signal);
  const files: Partial<Record<FileOption, Setting>> = {};
  for (const option of FILE_OPTIONS) {
    const file = optionOf(option, options[option]) ?? variableOf(option.toUpperCase(), signal);
    if (file !== undefined) files[option] = file;
  }
  return {
    endpoint,
    protocol: optionOf("protocol", protocol) ??
      protocolVariable(signal) ?? { value: "http/protobuf", source: "default" },
    compression: optionOf("compression", compression) ??
      compressionVariable(signal) ?? { value: "none", source: "default" },
    headers: [...headerVariables(signal), headerOption(options.headers)],
    timeoutMs: timeoutVariable(signal),
    proxy: proxyOf(endpoint.value),
    files,
    tls: tlsOf(files),
  };
}

function optionOf<Value>(name: string, value: Value | undefined): Setting<Value> | undefined {
  return value === undefined ? undefined : { value, source: `option ${name}` };
}

/**
 * Returns the endpoint with the signal's path, but for that of the signal's own variable, which is used as it is
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). There is no default: what listens there may be this
 * gateway itself.
 */
function endpointOf({ endpoint }: DestinationOptions, signal: Signal): Setting<URL> {
  if (endpoint !== undefined) {
    const url = new URL(endpoint);
    const isComplete = url.pathname.replace(/\/+$/, "").endsWith(`/${signal.path}`);
    const value = isComplete ? url : withPath(url, signal.path);
    return { value, source: "option endpoint" };
  }
  const variable = endpointVariable(signal);
  if (variable === undefined) {
    throw new Error("there is no endpoint: set it, or OTEL_EXPORTER_OTLP_ENDPOINT");
  }
  const { value, source, isGeneral } = variable;
  return { value: isGeneral ? withPath(value, signal.path) : value, source };
}

const FILE_OPTIONS = ["certificate", "client_certificate", "client_key"] as const;

type FileOption = (typeof FILE_OPTIONS)[number];

function tlsOf(files: Settings["files"]): Tls {
  const { certificate, client_certificate: certificateFile, client_key: keyFile } = files;
  const ca = certificate && contentOf(certificate);
  const cert = certificateFile && contentOf(certificateFile);
  const key = keyFile && contentOf(keyFile);
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  const sources = Object.values(files).map(({ source }) => source);
  try {
    // createSecureContext silently ignores a CA that is not a certificate.
    if (ca !== undefined) void new X509Certificate(ca);
    createSecureContext(tls);
    if (cert !== undefined && key === undefined) throw new Error("client_key is missing");
    if (key !== undefined && cert === undefined) throw new Error("client_certificate is missing");
  } catch (error) {
    throw new Error(
      `the certificates cannot be used: ${textOf(error)} (of ${sources.join(", ")})`,
      { cause: error },
    );
  }
  return tls;
}

/** The path is not shown, nor the error that names it: some give the content in its place, a private key perhaps. */
function contentOf({ value, source }: Setting): Buffer {
  let why: string | undefined;
  try {
    return readFileSync(resolve(value));
  } catch (error) {
    why = (error as NodeJS.ErrnoException).code;
  }
  const name = source.replace(/^option /, "");
  throw new Error(`the file of ${name} cannot be read (${why}); expected the path of a PEM file`);
}

/** Node's own support of proxies began with 22.21 and 24.5. */
function canUseProxy(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return major > 22 ? major > 24 || (major === 24 && minor >= 5) : major === 22 && minor >= 21;
}

function proxyOf(target: URL): Setting<URL> | undefined {
  const proxy = proxyFor(target, process.env);
  if (proxy === undefined || canUseProxy()) return proxy;
  throw new Error(
    `${proxy.source} names a proxy, for which Node 22.21 or later is needed; NO_PROXY=${target.hostname} leaves this destination out`,
  );
}

/** One connection: a request is not sent before the one before is answered. */
function newAgent(
  { protocol }: URL,
  tls: Tls,
  proxy: URL | undefined,
): Pick<Destination, "agent" | "tunnels"> {
  const tunnels = new Set<Duplex>();
  const proxyEnv = proxy === undefined ? {} : { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href };
  const options: AgentOptions = { keepAlive: true, maxSockets: 1, proxyEnv };
  if (protocol === "http:") return { agent: new Agent(options), tunnels };
  const agent = new TlsAgent({ ...options, ...tls });
  if (proxy !== undefined) agent.createConnection = noting(agent.createConnection, tunnels);
  return { agent, tunnels };
}

/** Keeps the sockets to the proxy of which no tunnel is made yet: Node's request does not know them. */
function noting(create: Agent["createConnection"], tunnels: Set<Duplex>): typeof create {
  return function createTunnel(this: Agent, options, callback) {
    const socket = create.call(this, options, (error, tunnel) => {
      if (socket) tunnels.delete(socket);
      callback?.(error, tunnel);
    });
    if (socket) tunnels.add(socket);
    return socket;
  };
}
