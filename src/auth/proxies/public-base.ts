import type { AddressedRequest, RouteRefusal } from "../../plugin/http.ts";
import { counterMetric, type PluginMetric } from "../../plugin/metrics.ts";
import type { HostLogger } from "../../plugin/host.ts";
import { PATH_PREFIX } from "../../runtime/path-prefix.ts";
import { quotedExcerpt } from "../../wire/printable.ts";
import { TrustedProxies } from "./trusted-proxies.ts";

type Scheme = "http" | "https";

/** What a trusted proxy says about a request. */
export interface Forwarded {
  /** Undefined unless the proxy says it; the same for the host. */
  readonly scheme?: Scheme | undefined;
  readonly host?: string | undefined;
  /** The path prefix that the proxy has removed, such as `/tailgate`; "" if there is none. */
  readonly prefix: string;
  /** The client's address; undefined if the proxy, connected over a Unix socket, does not say it. */
  readonly address: string | undefined;
}

/** A request as its client has sent it. */
export interface PublicBase {
  readonly scheme: Scheme;
  /** The host, and the port unless it is that of the scheme. */
  readonly host: string | undefined;
  /** The path of the dashboard without its trailing slash: "", or `/tailgate` under a path prefix. */
  readonly path: string;
  /** The client's address. Undefined if it has disconnected, and for a program behind a Unix socket. */
  readonly address: string | undefined;
}

const FORWARDED_HEADERS = [
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "x-forwarded-prefix",
] as const;

type ForwardedHeader = (typeof FORWARDED_HEADERS)[number];

/** WebSockets have schemes of their own, which some proxies forward. */
const SCHEMES: ReadonlyMap<string, Scheme> = new Map([
  ["http", "http"],
  ["ws", "http"],
  ["https", "https"],
  ["wss", "https"],
]);

interface ForwardingOptions {
  readonly trustedProxies: readonly string[];
  /** "" or the path below which the gateway serves everything, such as `/tailgate`. */
  readonly basePath: string;
  readonly log: HostLogger;
}

const forwardings = new WeakMap<AddressedRequest, { forwarded?: Forwarded; basePath: string }>();

/**
 * Decides whose `X-Forwarded-*` headers count: those of connections from `trusted_proxies`, and of all connections over a
 * Unix socket, whose file mode decides who can connect. Headers of anyone else are ignored and counted.
 */
export class Forwarding {
  readonly #proxies: TrustedProxies;
  readonly #options: ForwardingOptions;
  readonly #unixSockets = new WeakSet<AddressedRequest["socket"]>();
  readonly #ignored = counterMetric(
    "",
    "tailgate_http_forwarded_headers_ignored",
    "Headers by which proxies describe their clients, from addresses that are not in trusted_proxies, by header.",
  );
  #isWarned = false;
  readonly metrics: readonly PluginMetric[] = [this.#ignored.metric];

  /** @throws TypeError for an invalid entry of `trustedProxies`. */
  constructor(options: ForwardingOptions) {
    this.#options = options;
    this.#proxies = new TrustedProxies(options.trustedProxies);
    for (const header of FORWARDED_HEADERS) this.announce(header);
  }

  get basePath(): string {
    return this.#options.basePath;
  }

  /** Shows a header in /metrics before the first one is ignored. */
  announce(header: string): void {
    this.#ignored.add(0, { header });
  }

  /** Trusts the peer of a connection over a Unix socket. TCP connections that have ended have no address, either. */
  trustUnixSocket(socket: AddressedRequest["socket"]): void {
    this.#unixSockets.add(socket);
  }

  /** Returns whether the request was sent by a trusted proxy. */
  isTrusted({ socket }: AddressedRequest): boolean {
    return this.#unixSockets.has(socket) || this.#proxies.trusts(socket.remoteAddress);
  }

  /**
   * Reads the headers of a request, before anything else uses it. Returns why the request is rejected: a trusted proxy
   * sends what the gateway does not understand.
   */
  read(request: AddressedRequest): RouteRefusal | undefined {
    const { basePath } = this.#options;
    const sent = FORWARDED_HEADERS.filter((name) => request.headers[name] !== undefined);
    if (sent.length > 0 && this.isTrusted(request)) {
      const forwarded = this.#parse(request);
      if ("status" in forwarded) return forwarded;
      forwardings.set(request, { forwarded, basePath });
      return undefined;
    }
    for (const header of sent) this.ignore(request, header);
    if (basePath !== "") forwardings.set(request, { basePath });
    return undefined;
  }

  /** Counts a header of someone who is no trusted proxy, and logs the first one. `label`: its name in /metrics. */
  ignore({ socket }: AddressedRequest, header: string, label = header): void {
    this.#ignored.add(1, { header: label });
    if (this.#isWarned) return;
    this.#isWarned = true;
    const peer = socket.remoteAddress ?? "an unknown address";
    this.#options.log.warning(
      `The header ${header} of a request from ${peer} was ignored: the address is not in trusted_proxies. Further ones are counted in /metrics only.`,
    );
  }

  #parse(request: AddressedRequest): Forwarded | RouteRefusal {
    const proto = lastValue(request, "x-forwarded-proto")?.toLowerCase();
    const scheme = proto === undefined ? undefined : SCHEMES.get(proto);
    if (proto !== undefined && scheme === undefined) {
      return invalid(request, "x-forwarded-proto", "is neither http nor https");
    }
    const prefix = valueOf(request, "x-forwarded-prefix") ?? "";
    if (!PATH_PREFIX.test(prefix)) {
      return invalid(request, "x-forwarded-prefix", "is not a path such as /tailgate");
    }
    const { remoteAddress } = request.socket;
    const address = this.#proxies.clientOf(
      valueOf(request, "x-forwarded-for") ?? "",
      remoteAddress,
    );
    const host = lastValue(request, "x-forwarded-host");
    return { scheme, host, prefix: prefix.replace(/\/$/, ""), address };
  }
}

/** Returns what a trusted proxy says about the request; undefined for a request of anyone else. */
export function forwardedOf(request: AddressedRequest): Forwarded | undefined {
  return forwardings.get(request)?.forwarded;
}

/**
 * Returns the request as its client has sent it: for redirects, links, the attributes of cookies, and logs. Before
 * {@link Forwarding.read}, a request is taken for one without a proxy.
 */
export function publicBase(request: AddressedRequest): PublicBase {
  const { forwarded, basePath = "" } = forwardings.get(request) ?? {};
  const { socket, headers } = request;
  const isEncrypted = "encrypted" in socket && socket.encrypted === true;
  const prefix = forwarded?.prefix ?? "";
  return {
    scheme: forwarded?.scheme ?? (isEncrypted ? "https" : "http"),
    host: forwarded?.host ?? headers.host,
    // A proxy may name the prefix that it keeps.
    path: prefix === basePath ? basePath : prefix + basePath,
    address: forwarded === undefined ? socket.remoteAddress : forwarded.address,
  };
}

/** Repeated headers are one list. */
function valueOf({ headers }: AddressedRequest, name: ForwardedHeader): string | undefined {
  const value = headers[name];
  return typeof value === "string" || value === undefined ? value : value.join(",");
}

/** The last element is that of the nearest proxy. */
function lastValue(request: AddressedRequest, name: ForwardedHeader): string | undefined {
  return valueOf(request, name)?.split(",").at(-1)!.trim();
}

function invalid(request: AddressedRequest, name: ForwardedHeader, why: string): RouteRefusal {
  const header = name.replaceAll(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());
  const value = quotedExcerpt(valueOf(request, name)!);
  return { status: 400, text: `The header ${header} of the proxy ${why}: ${value}.` };
}
