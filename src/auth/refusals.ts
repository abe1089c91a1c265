/** How requests are rejected for lack of credentials or scopes (RFC 6750, section 3). */

import type { RouteRefusal } from "../plugin/index.ts";
import type { AccessScope } from "../wire/access-scopes.ts";

const CHALLENGE = 'Bearer realm="tailgate"';

/** The challenge for credentials that are not valid, or no longer. */
export const INVALID_CREDENTIALS_CHALLENGE = `${CHALLENGE}, error="invalid_token"`;

/** Longer than it takes to write a file. */
const RETRY_AFTER_SECONDS = 2;

/** For a request without credentials. The challenge names no error then. */
export const MISSING_CREDENTIALS: RouteRefusal = {
  status: 401,
  text: "This gateway requires authentication. Send a token in the header Authorization: Bearer.",
  headers: { "WWW-Authenticate": CHALLENGE },
};

/** A sender that gets 401 drops its records for good, and the token may well be valid. */
export const TOKENS_UNAVAILABLE: RouteRefusal = {
  status: 503,
  text: "The tokens file of this gateway cannot be read, so the token cannot be checked. Retry later.",
  headers: { "Retry-After": String(RETRY_AFTER_SECONDS) },
};

export function rejectedCredentials(text: string): RouteRefusal {
  return {
    status: 401,
    text,
    headers: { "WWW-Authenticate": INVALID_CREDENTIALS_CHALLENGE },
  };
}

/** `scopes`: one of them would be enough. */
export function missingScope(principal: string, scopes: readonly AccessScope[]): RouteRefusal {
  const challenge = `${CHALLENGE}, error="insufficient_scope", scope="${scopes.join(" ")}"`;
  return {
    status: 403,
    text: `${principal} lacks the scope ${scopes.join(" or ")}.`,
    headers: { "WWW-Authenticate": challenge },
  };
}

/** For a user who is known, but may do nothing here. */
export function noAccess(text: string): RouteRefusal {
  const challenge = `${CHALLENGE}, error="insufficient_scope"`;
  return { status: 403, text, headers: { "WWW-Authenticate": challenge } };
}
