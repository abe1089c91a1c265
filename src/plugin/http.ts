import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server as NetServer } from "node:net";
import type { Duplex } from "node:stream";

/**
 * Node's module for HTTP, not imported: as an ES module it would load the classes of `fetch`, too, as each of its
 * exports is read then (20 ms and 4 MB of every start).
 */
export const { createServer, maxHeaderSize, Server, STATUS_CODES } =
  process.getBuiltinModule("node:http");

/** The gateway's HTTP server, as far as a plugin may use it. */
export interface HostHttp {
  /**
   * Serves `method path` on the main port; the handler ends the response. Method `*` takes all methods. `refuse` answers
   * in the route's own protocol what is refused; plain text where absent. Throws where another plugin has the place.
   */
  route(method: string, path: string, handler: RouteHandler, refuse?: RefusalHandler): void;
  /** Takes WebSocket upgrades of `path` on the main port. Throws where another plugin has the place. */
  upgrade(path: string, handler: UpgradeHandler): void;
  /**
   * Returns why a request on a port of the receiver's own is refused, undefined if it may be served: Host must name
   * this gateway, and so must Origin if there is one; without it, the request must not come from another site.
   */
  refusal(request: AddressedRequest): string | undefined;
  /** The same, with the status that fits. */
  refusalOf(request: AddressedRequest): RouteRefusal | undefined;
  /**
   * Puts the gateway's limits on a server of the receiver's own, before it listens: the number of connections, and for
   * HTTP/1 how long a client may read nothing of its answer.
   */
  protect(server: NetServer): void;
  /**
   * Counts a request that the plugin rejects, by status, and logs its sender and the reason; equal lines are written once
   * a minute. What is said twice of one request counts once. Without it, a rejected request on the main port is logged
   * with the status alone, and one on a port of the receiver's own not at all.
   */
  rejected(request: AddressedRequest, rejection: Rejection): void;
}

export type RouteHandler = (
  request: IncomingMessage,
  response: ServerResponse,
) => void | Promise<void>;

/** Why the gateway does not serve a request: 400 for two Hosts, 403 for Host, Origin or site, 503 while it stops. */
export interface RouteRefusal {
  readonly status: 400 | 403 | 503;
  readonly text: string;
}

/** Answers a request that the gateway does not serve. */
export type RefusalHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  refusal: RouteRefusal,
) => void;

/** Takes over a socket after Host and Origin were checked. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** How a request was rejected. */
export interface Rejection {
  readonly protocol: "http" | "grpc" | "websocket";
  /** The protocol's own: 413, or INVALID_ARGUMENT. */
  readonly status: number | string;
  /** A sentence, as the sender is told it. */
  readonly reason: string;
}

/** What says to whom a request is addressed, and by which page; a request of node:http is one. */
export interface AddressedRequest {
  readonly headers: {
    /** Of HTTP/2 it is `:authority`. */
    readonly host?: string | undefined;
    readonly origin?: string | undefined;
    readonly "sec-fetch-site"?: string | undefined;
    readonly "sec-fetch-mode"?: string | undefined;
    readonly "sec-fetch-dest"?: string | undefined;
    /** For the log. */
    readonly "user-agent"?: string | undefined;
  };
  /** Names and values in turn, with those that are repeated. */
  readonly rawHeaders?: readonly string[];
  readonly httpVersion?: string;
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly socket: {
    readonly localPort?: number | undefined;
    /** For the log. */
    readonly remoteAddress?: string | undefined;
  };
}

type Observer = (status: number, text: string) => void;

const observers = new WeakMap<Duplex, Observer>();

/** Calls `observe` when a request for an upgrade on the socket was refused, and its client was told so. */
export function observeUpgradeRejection(socket: Duplex, observe: Observer): void {
  observers.set(socket, observe);
}

/** Answers a request for an upgrade with an error and a text, and ends the connection. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  // A peer that is gone already needs no answer.
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => {
    observers.get(socket)?.(status, text);
    socket.destroy();
  });
  const body = `${text}\n`;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    "X-Content-Type-Options: nosniff",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}

/** A URL to send requests to. */
export interface RequestUrl {
  /** Without user and password: `fetch` rejects them, and texts that name the URL would show them. */
  readonly url: URL;
  /** The URL as errors and logs may show it: without user, password, query and fragment. */
  readonly name: string;
  /** The value of `Authorization` that the user and the password stand for (RFC 7617); undefined without them. */
  readonly authorization: string | undefined;
}

/**
 * Takes the user and the password out of a URL, and makes a header of them. Escapes (`%40`) are decoded as UTF-8; what
 * is no valid escape is taken as it is.
 * @throws TypeError if the text is no URL.
 */
export function requestUrl(given: string | URL): RequestUrl {
  const url = new URL(given);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const name = `${url.origin}${url.pathname}`;
  if (username === "" && password === "") return { url, name, authorization: undefined };
  const credentials = Buffer.from(`${decoded(username)}:${decoded(password)}`);
  return { url, name, authorization: `Basic ${credentials.toString("base64")}` };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Appends to the path of a URL, before its query, with one slash in between: `/base?a=b` and `v1/logs` are `/base/v1/logs?a=b`. */
export function withPath(base: string | URL, path: string): URL {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path.replace(/^\/+/, "")}`;
  return url;
}
