import { isIPv6 } from "node:net";
import { TailgateError } from "../errors.ts";
import type { AddressedRequest } from "../plugin.ts";

/** Where the frontend of the system that Tailgate succeeds runs; it goes on working unchanged (original.md). */
const SEED_FRONTEND_ORIGINS = ["http://localhost:3000", "http://127.0.0.1:3000"];

const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"];

/** A name or an address as URLs have it, in lower case, and a port where there is one. */
const AUTHORITY = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/;

const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/([^/]+)$/;

const SCHEME_PORTS: ReadonlyMap<string, number> = new Map([
  ["http", 80],
  ["https", 443],
]);

interface Authority {
  readonly name: string;
  /** Undefined where the text has none. */
  readonly port: number | undefined;
}

/**
 * Keeps pages of other sites out: against DNS rebinding, Host must name this gateway; against cross-site requests,
 * Origin, which all browsers send with WebSockets and with POST, must be a page of this gateway.
 *
 * The gateway's own names (loopback's and `host`) count with the port on which the request came, and a Host may leave
 * the port out. An entry of `allowed_hosts` is a host and counts with any port, for a proxy's differs from ours; or a
 * host with a port, and counts with that one; or an origin such as `http://localhost:3000`, and lets pages of that
 * origin in. Pages of the original's frontend, {@link SEED_FRONTEND_ORIGINS}, are let in always.
 */
export class Guard {
  readonly #ownNames: ReadonlySet<string>;
  readonly #allowed: readonly Authority[];
  readonly #allowedOrigins: ReadonlySet<string>;

  /** @throws TailgateError CONFIG_INVALID for an entry of `allowedHosts` that is neither a host nor an origin. */
  constructor(host: string, allowedHosts: readonly string[]) {
    const entries = allowedHosts.map((entry) => entry.trim().toLowerCase());
    this.#ownNames = new Set([...LOOPBACK_NAMES, urlHost(host.toLowerCase())]);
    this.#allowed = entries.filter((entry) => !entry.includes("://")).map(allowedAuthority);
    this.#allowedOrigins = new Set([
      ...SEED_FRONTEND_ORIGINS,
      ...entries.filter((entry) => entry.includes("://")).map(allowedOrigin),
    ]);
  }

  /** Undefined where the request may be served; else the reason, with the header and what would allow it. */
  refusal(request: AddressedRequest): string | undefined {
    const { host, origin } = request.headers;
    const port = request.socket.localPort;
    if (host === undefined || !this.#isOwnHost(host.toLowerCase(), port)) {
      return refusalText("Host", host, "does not name this gateway");
    }
    if (origin !== undefined && !this.#isOwnOrigin(origin.toLowerCase(), port)) {
      return refusalText("Origin", origin, "is not a page of this gateway");
    }
    return undefined;
  }

  #isOwnHost(host: string, localPort: number | undefined): boolean {
    const authority = parseAuthority(host);
    if (authority === undefined) return false;
    const { name, port } = authority;
    if (this.#ownNames.has(name) && (port === undefined || port === localPort)) return true;
    return this.#allowed.some(
      (entry) =>
        entry.name === name &&
        (entry.port === undefined ||
          entry.port === port ||
          (port === undefined && isSchemePort(entry.port))),
    );
  }

  #isOwnOrigin(origin: string, localPort: number | undefined): boolean {
    if (this.#allowedOrigins.has(origin)) return true;
    const [, scheme = "", host = ""] = ORIGIN.exec(origin) ?? [];
    const schemePort = SCHEME_PORTS.get(scheme);
    const authority = parseAuthority(host);
    if (schemePort === undefined || authority === undefined) return false;
    const { name, port = schemePort } = authority;
    if (this.#ownNames.has(name) && port === localPort) return true;
    return this.#allowed.some(
      (entry) => entry.name === name && (entry.port === undefined || entry.port === port),
    );
  }
}

/** A host as it stands in a URL: IPv6 addresses in brackets. */
export function urlHost(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}

function parseAuthority(text: string): Authority | undefined {
  const [, name, port] = AUTHORITY.exec(text) ?? [];
  if (name === undefined) return undefined;
  return { name, port: port === undefined ? undefined : Number(port) };
}

/** True for the ports that browsers leave out of Host. */
function isSchemePort(port: number): boolean {
  return port === 80 || port === 443;
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

function refusalText(header: string, value: string | undefined, why: string): string {
  const shown = value === undefined ? "(missing)" : JSON.stringify(value);
  return `The ${header} header ${shown} ${why}. If it is meant to, add it to allowed_hosts in the configuration.`;
}
