import type { AddressedRequest, RouteRefusal } from "../../plugin/http.ts";

/** The names under which clients of other services put credentials into URLs. */
const PARAMETERS: ReadonlySet<string> = new Set([
  "access_token",
  "api_key",
  "apikey",
  "auth_token",
  "authorization",
  "ticket",
  "token",
]);

/** The beginning of a token: enough to recognize it, and enough to hide the rest. */
const TOKEN = /tgw_([0-9a-f]{12})_[0-9A-Za-z]*/g;

const REFUSAL: RouteRefusal = {
  status: 400,
  text: "Credentials in URLs are rejected, because URLs are logged and shared. Send the token in the header Authorization: Bearer, and for a WebSocket of a page a ticket of POST /api/tickets. If the token was valid, revoke it.",
};

/** Returns why a request with credentials in its URL is rejected; undefined if it has none. */
export function urlTokenRefusal({ url = "" }: AddressedRequest): RouteRefusal | undefined {
  const at = url.indexOf("?");
  if (at < 0) return hasToken(url) ? REFUSAL : undefined;
  const query = new URLSearchParams(url.slice(at));
  const isNamed = [...query.keys()].some((name) => PARAMETERS.has(name.toLowerCase()));
  return isNamed || hasToken(url) || hasToken(query.toString()) ? REFUSAL : undefined;
}

/** Returns the text with the secrets of tokens replaced: requests are logged as they were sent. */
export function withoutTokens(text: string): string {
  return text.includes("tgw_") ? text.replaceAll(TOKEN, "tgw_$1_***") : text;
}

function hasToken(text: string): boolean {
  return text.includes("tgw_") && text.search(TOKEN) >= 0;
}
