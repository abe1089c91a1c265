import { isIPv6 } from "node:net";
import { forwardedOf } from "../../auth/proxies/public-base.ts";
import { TailgateError } from "../../wire/errors.ts";
import type { AddressedRequest, CrossOrigin, RouteRefusal } from "../../plugin/index.ts";
import { HEALTH_PATH, READINESS_PATH } from "./health.ts";
import { LOGIN_PAGE_PATH } from "./dashboard.ts";
import { METRICS_PATH } from "../metrics/metrics.ts";

/** The origins of the frontend of Tailgate's predecessor, which keeps working unchanged (original.md). */
export const DEFAULT_ORIGINS: readonly string[] = [
  "http://localhost:3000",
  "http://127.0.0.1:3000",
];

const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"];

/** A host name or address as in a URL, in lower case, and an optional port. */
const AUTHORITY = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/;

const BRACKETS = /^\[(.*)\]$/;

const PORT_MAX = 65_535;

const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/([^/]+)$/;

/** Where links of other sites may lead. */
const PAGE_PATHS: ReadonlySet<string> = new Set(["/", LOGIN_PAGE_PATH]);

const SCHEME_PORTS: ReadonlyMap<string, number> = new Map([
  ["http", 80],
  ["https", 443],
]);

/** HTTP/1.0 probes send no Host header. */
const HOSTLESS_PATHS: ReadonlySet<string> = new Set([HEALTH_PATH, READINESS_PATH, METRICS_PATH]);

/** The values of `Sec-Fetch-Site` for requests made by pages of other origins. */
const OTHER_SITES: ReadonlySet<string> = new Set(["cross-site", "same-site"]);

interface Authority {
  readonly name: string;
  /** Undefined if the text has none. */
  readonly port: number | undefined;
}

interface GuardOptions {
  /** The address that the gateway binds to. */
  readonly host: string;
  readonly allowedHosts: readonly string[];
  /** Whether pages of {@link DEFAULT_ORIGINS} are accepted. */
  readonly trustsDefaultOrigins: boolean;
  /** Whether the TLS certificate is for a host name or an address: no other site can have one for it. */
  readonly isCertified?: (host: string) => boolean;
}

/**
 * Rejects requests made by pages of other sites. Against DNS rebinding, Host must name this gateway. Against cross-site
 * requests, Origin, which all browsers send with WebSockets and POST, must be a page of this gateway, and a request
 * without Origin, such as that of an `<img>`, must not come from another site according to Sec-Fetch-Site.
 *
 * The gateway's own names are those of loopback, `host`, the address that the connection was made to, and the names of the
 * TLS certificate. They are accepted with any port, because a port forward
 * (`ssh -L`) has its own; an Origin must have the same port as Host. An entry of `allowedHosts` is a host, accepted with
 * any port; a host with a port; or an origin such as `http://localhost:3000`, whose pages are accepted.
 *
 * The host that a trusted proxy forwards is checked as well, and then is the one that Origin must match. Host is checked
 * nonetheless: pages can send any `X-Forwarded-Host`, and a browser may run on the proxy's machine.
 */
export class Guard {
  readonly #ownNames: ReadonlySet<string>;
  readonly #allowed: readonly Authority[];
  readonly #allowedOrigins: ReadonlySet<string>;
  readonly #isCertified: (host: string) => boolean;

  /** @throws TailgateError CONFIG_INVALID for an entry of `allowedHosts` that is neither a host nor an origin. */
  constructor({ host, allowedHosts, trustsDefaultOrigins, isCertified }: GuardOptions) {
    const entries = allowedHosts.map((entry) => entry.trim().toLowerCase());
    this.#isCertified = isCertified ?? (() => false);
    this.#ownNames = new Set([...LOOPBACK_NAMES, urlHost(host.toLowerCase())]);
    this.#allowed = entries.filter((entry) => !entry.includes("://")).map(allowedAuthority);
    this.#allowedOrigins = new Set([
      ...(trustsDefaultOrigins ? DEFAULT_ORIGINS : []),
      ...entries.filter((entry) => entry.includes("://")).map(allowedOrigin),
    ]);
  }

  /**
   * Returns why the request is rejected and how to allow it; undefined if it may be served. `path`: below the base path.
   * `crossOrigin`: the other pages that the route serves.
   */
  check(
    request: AddressedRequest,
    path: string | undefined = pathOf(request.url ?? ""),
    crossOrigin?: CrossOrigin,
  ): RouteRefusal | undefined {
    if (hostCount(request) > 1) {
      return { status: 400, text: "The request has more than one Host header." };
    }
    const { host, origin } = request.headers;
    // RFC 9112, 3.2
    if (host === undefined && request.httpVersion === "1.1") {
      return { status: 400, text: "The request has no Host header." };
    }
    const target = authorityOf(request.url);
    if (target === null) {
      return { status: 400, text: "The request target is neither a path nor an HTTP URL." };
    }
    for (const authority of target === undefined ? [host] : [target, host]) {
      const isOwn =
        authority === undefined
          ? isProbe(request, path)
          : this.#isOwnHost(authority, request.socket.localAddress);
      if (!isOwn) return headerRejection("Host", authority, "does not name this gateway");
    }
    const forwarded = hasForwardedHeaders(request) ? forwardedOf(request) : undefined;
    if (forwarded?.host !== undefined && !this.#isOwnHost(forwarded.host, undefined)) {
      return headerRejection("X-Forwarded-Host", forwarded.host, "does not name this gateway");
    }
    if (origin === undefined) return crossSiteRejection(request, path);
    const address = parseAuthority((forwarded?.host ?? target ?? host ?? "").toLowerCase());
    const port = address?.port ?? SCHEME_PORTS.get(forwarded?.scheme ?? "");
    const { localPort } = request.socket;
    if (
      this.#isOwnOrigin(origin.toLowerCase(), address && { ...address, port }, localPort) ||
      crossOrigin?.allows(origin) === true
    ) {
      return undefined;
    }
    return headerRejection("Origin", origin, "is not a page of this gateway", crossOrigin?.option);
  }

  #isOwnHost(host: string, localAddress: string | undefined): boolean {
    const authority = parseAuthority(host.toLowerCase());
    if (authority === undefined) return false;
    const { name, port } = authority;
    if (this.#ownNames.has(name) || name === addressHost(localAddress)) return true;
    if (this.#isCertified(name.replace(BRACKETS, "$1"))) return true;
    // Browsers omit the port of the scheme.
    const ports = new Set([undefined, ...(port === undefined ? SCHEME_PORTS.values() : [port])]);
    return this.#allowed.some((entry) => entry.name === name && ports.has(entry.port));
  }

  /** `address`: where the request was sent. Without a port, the page's port is that of its scheme or of the listener. */
  #isOwnOrigin(
    origin: string,
    address: Authority | undefined,
    localPort: number | undefined,
  ): boolean {
    if (this.#allowedOrigins.has(origin)) return true;
    const [, scheme = "", host = ""] = ORIGIN.exec(origin) ?? [];
    const schemePort = SCHEME_PORTS.get(scheme);
    const authority = parseAuthority(host);
    if (schemePort === undefined || authority === undefined) return false;
    const { name, port = schemePort } = authority;
    if (name === address?.name && port === (address.port ?? schemePort)) return true;
    if (this.#ownNames.has(name) && port === (address?.port ?? localPort)) return true;
    return this.#allowed.some(
      (entry) => entry.name === name && (entry.port === undefined || entry.port === port),
    );
  }
}

/** Whether a proxy describes the request's client, or someone claims to be one. */
export function hasForwardedHeaders({ headers }: AddressedRequest): boolean {
  return (
    headers["x-forwarded-host"] !== undefined ||
    headers["x-forwarded-proto"] !== undefined ||
    headers["x-forwarded-for"] !== undefined ||
    headers["x-forwarded-prefix"] !== undefined
  );
}

/** Node retains only the first of several Host headers. HTTP/2 requests have no raw headers here. */
function hostCount({ rawHeaders = [] }: AddressedRequest): number {
  return rawHeaders.filter(
    (text, index) => index % 2 === 0 && text.length === 4 && text.toLowerCase() === "host",
  ).length;
}

function isProbe({ httpVersion }: AddressedRequest, path: string | undefined): boolean {
  return httpVersion === "1.0" && path !== undefined && HOSTLESS_PATHS.has(path);
}

/** Rejects a request without Origin if a page of another site made it, except for a link to the dashboard. */
function crossSiteRejection(
  request: AddressedRequest,
  path: string | undefined,
): RouteRefusal | undefined {
  const { "sec-fetch-site": site, "sec-fetch-mode": mode } = request.headers;
  const isCrossSite = site?.split(",").some((value) => OTHER_SITES.has(value.trim().toLowerCase()));
  if (!isCrossSite) return undefined;
  const isLink = mode === "navigate" && request.headers["sec-fetch-dest"] === "document";
  const isRead = request.method === "GET" || request.method === "HEAD";
  // The dashboard is a static page without records.
  if (isLink && isRead && path !== undefined && PAGE_PATHS.has(path)) return undefined;
  const text = `A page of another site made the request (Sec-Fetch-Site ${JSON.stringify(site)}), and it has no Origin header. Pages whose origin is in allowed_hosts can open the WebSocket.`;
  return { status: 403, text };
}

/**
 * Returns the address that a connection was made to as in a URL: a browser on another machine names it in Host. DNS
 * rebinding needs a name.
 */
function addressHost(localAddress: string | undefined): string | undefined {
  return localAddress && urlHost(localAddress.replace(/^::ffff:(?=[0-9.]+$)/i, ""));
}

/** Returns a host as in a URL, with IPv6 addresses in brackets. */
export function urlHost(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}

function parseAuthority(text: string): Authority | undefined {
  const [, name, digits] = AUTHORITY.exec(text) ?? [];
  if (name === undefined) return undefined;
  const port = digits === undefined ? undefined : Number(digits);
  return port !== undefined && port > PORT_MAX ? undefined : { name, port };
}

function allowedAuthority(entry: string): Authority {
  const authority = parseAuthority(urlHost(entry));
  if (authority === undefined) throw invalidEntry(entry);
  return authority;
}

function allowedOrigin(entry: string): string {
  const origin = entry.replace(/\/$/, "");
  const [, scheme, host] = ORIGIN.exec(origin) ?? [];
  if (scheme === undefined || parseAuthority(host!) === undefined) throw invalidEntry(entry);
  const defaultPort = `:${SCHEME_PORTS.get(scheme)}`;
  return origin.endsWith(defaultPort) ? origin.slice(0, -defaultPort.length) : origin;
}

function invalidEntry(entry: string): TailgateError {
  return new TailgateError(
    "CONFIG_INVALID",
    `allowed_hosts: ${JSON.stringify(entry)} is neither a host (logs.example.com), nor a host with a port, nor an origin (https://app.example.com).`,
  );
}

/** User information that precedes a host may be a password, and the text is logged. */
const USER_INFORMATION = /^(https?:\/\/)?.*@/i;

/** `option`: where else pages can be listed. */
function headerRejection(
  header: string,
  value: string | undefined,
  why: string,
  option?: string,
): RouteRefusal {
  const shown =
    value === undefined ? "(missing)" : JSON.stringify(value.replace(USER_INFORMATION, "$1***@"));
  const remedy =
    option === undefined
      ? "If it is meant to, add it to allowed_hosts in the configuration."
      : `To let it send, add it to ${option} in the configuration, or to allowed_hosts if its own server forwards the request.`;
  const text = `The ${header} header ${shown} ${why}. ${remedy}`;
  return { status: 403, text };
}

/** Returns the path of a request's target, without its query. */
export function pathOf(target: string): string {
  return originForm(target).split("?", 1)[0]!;
}

/** `GET http://localhost:8001/healthz`, as clients send it to proxies (RFC 9112, 3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/i;

/** Returns the target without the scheme and authority that it may have (RFC 9112, 3.2.1). */
export function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const [, , rest] = ABSOLUTE_FORM.exec(target) ?? [];
  if (rest === undefined) return target;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** Returns the authority of a target in absolute form; undefined for a path or `*`, null for anything else. */
function authorityOf(target: string | undefined): string | undefined | null {
  if (target === undefined || target.startsWith("/") || target === "*") return undefined;
  return ABSOLUTE_FORM.exec(target)?.[1] ?? null;
}
