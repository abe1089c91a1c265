import { pageAddress } from "./browser-page.ts";

const SOCKET_PATH = "/ws/logs";
const HISTORY_PATH = "/api/logs";

/** A gateway's URLs. */
export interface Endpoints {
  /** Of the WebSocket. */
  readonly socket: URL;
  /** The WebSocket's URL for a plain HTTP request. */
  readonly probe: URL;
  readonly history: URL;
  /** The header Authorization for the user and the password of the given URL; "" without them. */
  readonly authorization: string;
}

/**
 * Returns a gateway's URLs. Accepts its base URL (`http://127.0.0.1:8001`, `https://example.com/tailgate`), the URL of
 * its WebSocket (`ws://127.0.0.1:8001/ws/logs`), and `/` or `./` on one of its own pages. A user and a password become a
 * header: `fetch` rejects them, and Node's WebSocket ignores them.
 * @throws TypeError if it is not such a URL.
 */
export function parseGatewayUrl(given: string | URL): Endpoints {
  const url = new URL(given, pageAddress());
  const { protocol, host, search } = url;
  if (!/^(ws|http)s?:$/.test(protocol) || search) {
    const problem = search
      ? "has a query: use the options filter and start instead."
      : "is not a gateway URL, such as http://127.0.0.1:8001.";
    // Without credentials and query, which an error must not reveal.
    throw new TypeError(`${protocol}//${host}${url.pathname} ${problem}`);
  }
  const path = socketPath(url);
  const prefix = path.endsWith(SOCKET_PATH) ? path.slice(0, -SOCKET_PATH.length) : "";
  const origin = `${protocol.replace("ws", "http")}//${host}`;
  return {
    socket: new URL(`${origin.replace("http", "ws")}${path}`),
    probe: new URL(origin + path),
    history: new URL(origin + prefix + HISTORY_PATH),
    authorization: basicAuthorization(url),
  };
}

/**
 * Returns the path of the WebSocket that a gateway URL names. The path of an http or https URL, and one that ends with a
 * slash, is the gateway's base path.
 */
export function socketPath({ protocol, pathname }: Pick<URL, "protocol" | "pathname">): string {
  const isBase = pathname.endsWith("/") || protocol.startsWith("http");
  if (!isBase || pathname.endsWith(SOCKET_PATH)) return pathname;
  return `${pathname.replace(/\/$/, "")}${SOCKET_PATH}`;
}

/** RFC 7617, with UTF-8: the URL has each of its bytes percent-encoded, and `unescape` decodes them to bytes. */
function basicAuthorization({ username, password }: URL): string {
  return username || password ? `Basic ${btoa(unescape(`${username}:${password}`))}` : "";
}

/** Returns the URL with the parameters that are defined. */
export function withQuery(url: URL, parameters: object): URL {
  const target = new URL(url);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) target.searchParams.set(name, String(value));
  }
  return target;
}
