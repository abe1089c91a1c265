import type { AddressedRequest } from "../plugin/http.ts";
import { publicBase } from "./public-base.ts";

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
  const { origin, upgrade, "sec-fetch-site": site } = request.headers;
  if (site !== undefined && !OWN_SITES.has(site)) return false;
  if (origin === undefined) return upgrade === undefined && SAFE_METHODS.has(request.method);
  return origin === ownOrigin(request);
}

/** Returns the origin of the gateway's pages as the client of this request sees it. */
function ownOrigin(request: AddressedRequest): string {
  const { scheme, host = "" } = publicBase(request);
  const name = host.toLowerCase();
  const defaultPort = DEFAULT_PORTS[scheme];
  const isDefault = name.endsWith(defaultPort);
  return `${scheme}://${isDefault ? name.slice(0, -defaultPort.length) : name}`;
}
