import type { AddressedRequest, RouteRefusal } from "../plugin/http.ts";
import { quotedExcerpt } from "../wire/printable.ts";
import { publicBase } from "./proxies/public-base.ts";

/** The values of `Sec-Fetch-Site` for requests of the gateway's own pages, and of the user alone, such as by a bookmark. */
const OWN_SITES: ReadonlySet<string> = new Set(["same-origin", "none"]);

const SAFE_METHODS: ReadonlySet<string | undefined> = new Set(["GET", "HEAD"]);

const DEFAULT_PORTS = { http: ":80", https: ":443" } as const;

/**
 * Returns whether a page of exactly this gateway's origin has made a request. Browsers send cookies with requests of every
 * page of the same host, whatever its port, so that a cookie alone proves nothing. Other origins in `allowed_hosts`, and
 * those that the gateway trusts by default, are not its own.
 *
 * Origin is required where browsers always send it: with unsafe methods and WebSockets.
 */
export function isOwnPage(request: AddressedRequest): boolean {
  if (isForeignPage(request)) return false;
  const { origin, upgrade } = request.headers;
  return origin !== undefined || (upgrade === undefined && SAFE_METHODS.has(request.method));
}

/**
 * Returns why the user of a browser does not count in a request of a page of another origin; undefined for the gateway's own
 * pages and for programs. Browsers send a client certificate, and what a proxy knows their user by, with requests of every
 * page, as they do with cookies.
 */
export function foreignPageRefusal(request: AddressedRequest): RouteRefusal | undefined {
  if (!isForeignPage(request)) return undefined;
  const { origin } = request.headers;
  const page =
    origin === undefined ? "A page of another site" : `The page ${quotedExcerpt(origin)}`;
  return {
    status: 403,
    text: `${page} does not belong to this gateway, so it needs credentials of its own, such as a ticket: those of its user's browser do not count. If it does, a proxy changes its address: it must send X-Forwarded-Host and X-Forwarded-Proto, and be listed in trusted_proxies.`,
    headers: {},
  };
}

/** Programs send neither header. */
function isForeignPage(request: AddressedRequest): boolean {
  const { origin, "sec-fetch-site": site } = request.headers;
  if (site !== undefined && !OWN_SITES.has(site)) return true;
  return origin !== undefined && origin !== ownOrigin(request);
}

/** Returns the origin of the gateway's pages as the client of this request sees it. */
function ownOrigin(request: AddressedRequest): string {
  const { scheme, host = "" } = publicBase(request);
  const name = host.toLowerCase();
  const defaultPort = DEFAULT_PORTS[scheme];
  const isDefault = name.endsWith(defaultPort);
  return `${scheme}://${isDefault ? name.slice(0, -defaultPort.length) : name}`;
}
