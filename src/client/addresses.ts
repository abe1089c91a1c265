const SOCKET_PATH = "/ws/logs";
const HISTORY_PATH = "/api/logs";

/** Where a gateway is reached. */
export interface Addresses {
  /** Of the WebSocket. */
  readonly socket: URL;
  /** The same place, for a plain request. */
  readonly endpoint: URL;
  readonly history: URL;
}

/**
 * Takes the gateway's own address (`http://127.0.0.1:8001`), that of its WebSocket (`ws://127.0.0.1:8001/ws/logs`), and
 * on a page of the gateway `/`. A proxy may put a path in front of both.
 * @throws TypeError where it is no such address.
 */
export function addressesOf(given: string | URL): Addresses {
  const url = new URL(given, pageAddress());
  if (!/^(ws|http)s?:$/.test(url.protocol)) {
    throw new TypeError(
      `${shown(url)} is no address of a gateway, such as ws://127.0.0.1:8001/ws/logs.`,
    );
  }
  // Browsers have no way to send them with a WebSocket, and `fetch` rejects them.
  if (url.username !== "" || url.password !== "") {
    throw new TypeError(
      `${shown(url)} has a user or a password, which cannot be sent: remove them.`,
    );
  }
  if (url.search !== "") {
    throw new TypeError(`${shown(url)} has a query: filter and start are options of their own.`);
  }
  url.hash = "";
  const path = url.pathname.endsWith("/")
    ? `${url.pathname.slice(0, -1)}${SOCKET_PATH}`
    : url.pathname;
  const prefix = path.endsWith(SOCKET_PATH) ? path.slice(0, -SOCKET_PATH.length) : "";
  const isSecure = url.protocol === "wss:" || url.protocol === "https:";
  const at = (scheme: string, place: string): URL =>
    new URL(`${scheme}${isSecure ? "s" : ""}://${url.host}${place}`);
  return {
    socket: at("ws", path),
    endpoint: at("http", path),
    history: at("http", `${prefix}${HISTORY_PATH}`),
  };
}

/** The URL without user, password and query, which an error must not show. */
function shown({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`;
}

/** Returns the page's address without user and password, which the browser sends by itself; undefined outside of a browser. */
export function pageAddress(): string | undefined {
  const href = (globalThis as { location?: { href?: string } }).location?.href;
  return href?.replace(/^([a-z]+:\/\/)[^/?#]*@/, "$1");
}
