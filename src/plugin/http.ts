import type { X509Certificate } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server as SecureServer, ServerOptions as SecureServerOptions } from "node:https";
import type { Server as NetServer } from "node:net";
import type { Duplex } from "node:stream";
import type { Access, RouteAccess } from "./access.ts";

/**
 * Node's HTTP module without an import: an ES module import reads every export and so loads the classes of `fetch`, which
 * adds 20 ms and 4 MB to every start.
 */
export const { createServer, maxHeaderSize, STATUS_CODES } = process.getBuiltinModule("node:http");

/** As `https.createServer`, loaded by the gateways that need it. */
export function createSecureServer(options: SecureServerOptions): SecureServer {
  return process.getBuiltinModule("node:https").createServer(options);
}

/** What a plugin may use of the gateway's HTTP server. */
export interface HostHttp {
  /**
   * Serves `method path` on the main port; `handler` ends the response. The method `*` stands for all methods, except for
   * OPTIONS if that has a handler of its own. With
   * authentication on, the handler runs only for principals that `access` admits; {@link accessOf} tells which one.
   * @throws Error if another plugin serves the path.
   */
  route(method: string, path: string, handler: RouteHandler, options?: RouteOptions): void;
  /**
   * Accepts WebSocket upgrades of `path` on the main port, with the same `access` as for a route.
   * @throws Error if another plugin serves the path.
   */
  upgrade(path: string, handler: UpgradeHandler, options?: Pick<RouteOptions, "access">): void;
  /**
   * Checks a request on a port of the receiver's own. Returns why it must be rejected, or undefined. Host must name this
   * gateway, and so must Origin if there is one; without Origin, the request must not come from another site. With
   * authentication on, the request must have the credentials of a principal that `access` admits; default: `["admin"]`.
   * `crossOrigin`: as for a route.
   */
  refusalOf(
    request: AddressedRequest,
    access?: RouteAccess,
    crossOrigin?: CrossOrigin,
  ): RouteRefusal | undefined;
  /** Like {@link refusalOf}, without the status code and headers. */
  refusal(request: AddressedRequest, access?: RouteAccess): string | undefined;
  /** Returns who makes a request that was admitted to a route or an upgrade, or by {@link refusalOf}. */
  accessOf(request: AddressedRequest): Access;
  /**
   * Charges an ingested body, after decompression, to the rate limits of the request's principal and address. Returns why
   * the sender has to wait, and charges nothing then. Call it with 0 before the body is read, to reject early a
   * sender that has to wait.
   */
  charge(request: AddressedRequest, bytes: number): RouteRefusal | undefined;
  /** Reports how many stored records a client was given, for the record of exports in the access trail. */
  recordsRead(request: AddressedRequest, records: number): void;
  /**
   * Applies the gateway's limits to a server of the receiver's own; call it before the server listens. They are the number
   * of connections and, for HTTP/1, how long a client may read nothing of its response.
   */
  protect(server: NetServer): void;
  /**
   * Reports a request that the plugin rejected: counts it by status and logs its sender and the reason. Equal lines are
   * logged once a minute, and a request counts once. Without this call, a rejected request on the main port is logged with
   * its status only, and one on a port of the receiver's own not at all.
   */
  rejected(request: AddressedRequest, rejection: Rejection): void;
}

/** Serves a request and ends its response. If it throws, the gateway logs the error and answers 500. */
export type RouteHandler = (
  request: IncomingMessage,
  response: ServerResponse,
) => void | Promise<void>;

/** The options of a route. */
export interface RouteOptions {
  /** Answers rejected requests in the route's own protocol; the default is plain text. */
  readonly refuse?: RefusalHandler;
  /** Who may use the route if authentication is on. Default: `["admin"]`. */
  readonly access?: RouteAccess;
  /**
   * Pages of other origins whose requests are served; default: none. The handler sends the CORS headers, and answers the
   * preflight requests: register the method OPTIONS with the access `public`, because they have no credentials.
   */
  readonly crossOrigin?: CrossOrigin | undefined;
}

/** The pages of other origins that may use a route. Their cookies, and whatever else identifies their user, do not count. */
export interface CrossOrigin {
  /** Returns whether pages of an origin, as it is in the header `Origin`, may use the route. */
  allows(origin: string): boolean;
  /** The option that lists the origins, such as `receivers.otlp.cors_origins`, for rejections. */
  readonly option: string;
}

/**
 * Why the gateway does not serve a request: 400 for two Host headers; 401 without valid credentials; 403 for Host, Origin,
 * site or a missing scope; 429 over a rate limit; 503 while stopping or while the tokens cannot be read.
 */
export interface RouteRefusal {
  /** The status code of the response. */
  readonly status: 400 | 401 | 403 | 429 | 503;
  /** The reason, as the client may read it. */
  readonly text: string;
  /** Headers that the response must have, such as `WWW-Authenticate` and `Retry-After`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Answers a request that the gateway does not serve. */
export type RefusalHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  refusal: RouteRefusal,
) => void;

/** Takes over a socket after Host, Origin and credentials were checked. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** How a request was rejected. */
export interface Rejection {
  /** The protocol of the request. */
  readonly protocol: "http" | "grpc" | "websocket";
  /** The protocol's own status, such as 413 or INVALID_ARGUMENT. */
  readonly status: number | string;
  /** A sentence, as in the response. */
  readonly reason: string;
}

/** The value of a header, or those of a repeated one. */
type HeaderValue = string | readonly string[] | undefined;

/** The parts of a request that tell whom it addresses and which page sent it. A request of node:http has them. */
export interface AddressedRequest {
  readonly headers: {
    /** For HTTP/2, `:authority`. */
    readonly host?: string | undefined;
    readonly origin?: string | undefined;
    readonly authorization?: string | undefined;
    readonly cookie?: string | undefined;
    /** `websocket` for a handshake. */
    readonly upgrade?: string | undefined;
    /** Subprotocols of a WebSocket handshake, one of which may be a ticket. */
    readonly "sec-websocket-protocol"?: string | undefined;
    readonly "sec-fetch-site"?: string | undefined;
    readonly "sec-fetch-mode"?: string | undefined;
    readonly "sec-fetch-dest"?: string | undefined;
    /** For the log. */
    readonly "user-agent"?: string | undefined;
    /** What a proxy says about its client; it counts if the proxy is trusted. */
    readonly "x-forwarded-for"?: HeaderValue;
    readonly "x-forwarded-proto"?: HeaderValue;
    readonly "x-forwarded-host"?: HeaderValue;
    readonly "x-forwarded-prefix"?: HeaderValue;
  };
  /** Alternating names and values, repeated headers included. */
  readonly rawHeaders?: readonly string[];
  readonly httpVersion?: string;
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly socket: {
    readonly localPort?: number | undefined;
    /** A connection to this address may name it in Host. */
    readonly localAddress?: string | undefined;
    /** For the log. */
    readonly remoteAddress?: string | undefined;
    /** Whether the client's certificate is one of an accepted authority, or the client has resumed a session of TLS 1.3. */
    readonly authorized?: boolean;
    /** Returns the client's certificate, valid or not. */
    getPeerX509Certificate?(): X509Certificate | undefined;
  };
}

type RejectionObserver = (status: number, text: string) => void;

const rejectionObservers = new WeakMap<Duplex, RejectionObserver>();

/** Calls `observe` after {@link refuseUpgrade} has rejected an upgrade on the socket and sent its response. */
export function observeUpgradeRejection(socket: Duplex, observe: RejectionObserver): void {
  rejectionObservers.set(socket, observe);
}

/** Rejects an upgrade request with a status and a text, and closes the connection. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  // The client may be gone already.
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => {
    rejectionObservers.get(socket)?.(status, text);
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

/** A URL to send requests to, with its credentials separate. */
export interface RequestUrl {
  /** The URL without user and password: `fetch` rejects them, and they would show up in messages. */
  readonly url: URL;
  /** The URL as errors and logs may show it: without user, password, query and fragment. */
  readonly name: string;
  /** The `Authorization` header for the user and the password (RFC 7617); undefined without them. */
  readonly authorization: string | undefined;
}

/**
 * Parses a URL and turns its user and password into a header. Percent-encoding in them is decoded as UTF-8; an invalid
 * sequence is left as it is.
 * @throws TypeError if the text is not a URL.
 */
export function requestUrl(given: string | URL): RequestUrl {
  const url = new URL(given);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const name = `${url.origin}${url.pathname}`;
  if (username === "" && password === "") return { url, name, authorization: undefined };
  const credentials = Buffer.from(`${percentDecode(username)}:${percentDecode(password)}`);
  return { url, name, authorization: `Basic ${credentials.toString("base64")}` };
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Appends to the path of a URL, with one slash between: `/base?a=b` and `v1/logs` make `/base/v1/logs?a=b`. */
export function withPath(base: string | URL, path: string): URL {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path.replace(/^\/+/, "")}`;
  return url;
}
