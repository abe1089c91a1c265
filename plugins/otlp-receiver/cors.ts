/** Requests of pages of other origins: CORS, as the Fetch standard defines it. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { z, type CrossOrigin } from "tailgate/plugin";

const ORIGIN = /^([a-z][a-z0-9+.-]*:\/\/(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+))(?::(\d{1,5}|\*))?\/?$/i;

const DEFAULT_PORTS: ReadonlyMap<string, string> = new Map([
  ["http:", ":80"],
  ["https:", ":443"],
]);

/** Chromium forgets what it may send after two hours at the latest, Firefox after a day. */
const PREFLIGHT_SECONDS_MAX = 7200;

/** Headers that SDKs, their users and instrumentation of `fetch` set. */
const REQUEST_HEADERS = [
  "authorization",
  "baggage",
  "content-encoding",
  "content-type",
  "traceparent",
  "tracestate",
  "user-agent",
];

/** Headers that the page's SDK may read beside those that each page may. */
const RESPONSE_HEADERS = ["Retry-After", "WWW-Authenticate"];

export const corsOption = z
  .array(
    z.string().regex(ORIGIN, {
      error:
        "expected an origin such as https://shop.example.com, or http://localhost:* for any port",
    }),
  )
  .default([])
  .describe(
    "Origins of web pages that may send logs, traces and metrics directly, such as `https://shop.example.com`; `http://localhost:*` stands for any port. Browsers block pages of all other origins.",
  );

/** The origins whose pages may send. */
export class CorsOrigins implements CrossOrigin {
  readonly option: string;
  readonly #origins = new Set<string>();
  /** Those of any port, without one. */
  readonly #hosts = new Set<string>();

  /** `option`: the name of the option that lists the origins. */
  constructor(origins: readonly string[], option: string) {
    this.option = option;
    for (const origin of origins) {
      const [, host = "", port] = ORIGIN.exec(origin.toLowerCase())!;
      if (port === "*") this.#hosts.add(host);
      else this.#origins.add(port === undefined ? host : withoutDefaultPort(`${host}:${port}`));
    }
  }

  allows(origin: string): boolean {
    const lower = origin.toLowerCase();
    return this.#origins.has(lower) || this.#hosts.has(lower.replace(/:\d+$/, ""));
  }
}

/** Lets a page read the response, whatever its status; call it before the response is written. */
export function addCorsHeaders(response: ServerResponse, origin: string): void {
  response.setHeader("Vary", "Origin");
  response.setHeader("Access-Control-Allow-Origin", origin);
  // `navigator.sendBeacon` needs it. The cookies that it sends do not count on pages of other origins.
  response.setHeader("Access-Control-Allow-Credentials", "true");
  response.setHeader("Access-Control-Expose-Headers", RESPONSE_HEADERS.join(", "));
}

/** Responds to a preflight request of an accepted page; returns false if the request is something else. */
export function answerPreflight(
  { headers, method }: IncomingMessage,
  response: ServerResponse,
): boolean {
  if (method !== "OPTIONS" || headers["access-control-request-method"] === undefined) return false;
  // Chromium asks before a page of a public site reaches a private address.
  const isPrivate = headers["access-control-request-private-network"] === "true";
  response.writeHead(204, {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": REQUEST_HEADERS.join(", "),
    "Access-Control-Max-Age": PREFLIGHT_SECONDS_MAX,
    ...(isPrivate && { "Access-Control-Allow-Private-Network": "true" }),
  });
  response.end();
  return true;
}

/**
 * Returns whether the body is that of `navigator.sendBeacon(url, text)`, which cannot set another type. Such a request needs
 * no preflight request: accept it only of pages whose Origin was checked.
 */
export function isBeacon({ headers: { "content-type": type = "" } }: IncomingMessage): boolean {
  return /^text\/plain *(?:;|$)/i.test(type);
}

/** Browsers omit the port of the scheme. */
function withoutDefaultPort(origin: string): string {
  const port = DEFAULT_PORTS.get(origin.slice(0, origin.indexOf("/"))) ?? "";
  return port !== "" && origin.endsWith(port) ? origin.slice(0, -port.length) : origin;
}
