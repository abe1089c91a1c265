/** The session cookie: its name, and how it is read and written (RFC 6265bis). */

/** Where a cookie is valid. Cookies ignore ports, so the name must tell the gateways of one host apart. */
export interface CookieScope {
  /** Identifies the gateway: letters and digits. */
  readonly instance: string;
  /** Whether the client connects over TLS. */
  readonly isSecure: boolean;
  /** The path under which the client sees the gateway: `/`, or `/tailgate` behind a proxy. */
  readonly path: string;
}

/**
 * Browsers accept a cookie with the prefix `__Host-` only over TLS, for this host alone and for all paths, so that neither
 * another subdomain nor a plain connection can replace it. `__Secure-` allows a path, which keeps the cookie from the
 * other services behind the same proxy.
 */
export function cookieName({ instance, isSecure, path }: CookieScope): string {
  const name = `tailgate-${instance}`;
  if (!isSecure) return name;
  return path === "/" ? `__Host-${name}` : `__Secure-${name}`;
}

/** Returns the `Set-Cookie` header of a session. */
export function setCookie(scope: CookieScope, value: string, maxAgeSeconds: number): string {
  const parts = [
    `${cookieName(scope)}=${value}`,
    `Path=${scope.path}`,
    `Max-Age=${maxAgeSeconds}`,
    "HttpOnly",
    "SameSite=Strict",
    ...(scope.isSecure ? ["Secure"] : []),
  ];
  return parts.join("; ");
}

/** Returns the `Set-Cookie` header that deletes the cookie. */
export function clearCookie(scope: CookieScope): string {
  return setCookie(scope, "", 0);
}

/**
 * Returns the values that a `Cookie` header has for this name, in order. There are several if cookies of different paths
 * have the same name.
 */
export function cookieValues(header: string | undefined, name: string): string[] {
  if (header === undefined || !header.includes(name)) return [];
  const values: string[] = [];
  for (const pair of header.split(";")) {
    const at = pair.indexOf("=");
    if (at >= 0 && pair.slice(0, at).trim() === name) values.push(pair.slice(at + 1).trim());
  }
  return values;
}
