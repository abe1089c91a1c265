import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { pathOf } from "./guard.ts";
import { observeUpgradeRejection, refuseUpgrade } from "../../plugin/http.ts";
import type {
  CrossOrigin,
  HostLogger,
  RefusalHandler,
  RouteAccess,
  RouteHandler,
  RouteOptions,
  UpgradeHandler,
} from "../../plugin/index.ts";

/** Who may use a plugin's route that does not say it: a route that was forgotten exposes nothing. */
export const DEFAULT_ACCESS: RouteAccess = ["admin"];

/** For what hands out records: the filter of the principal's access limits which. */
export const READ_ACCESS: RouteAccess = ["read:system", "read:audit"];

interface Route {
  readonly handler: RouteHandler;
  /** Answers a request that the gateway rejects, in the route's own protocol. */
  readonly reject: RefusalHandler | undefined;
  readonly access: RouteAccess;
  readonly crossOrigin: CrossOrigin | undefined;
}

/** The routes of a path by method; `*` serves all methods. */
export type PathRoutes = ReadonlyMap<string, Route>;

/** What plugins serve on the main port. */
export class RouteTable {
  readonly #paths = new Map<string, Map<string, Route>>();
  readonly #reserved: readonly string[];

  /** `reserved`: the gateway's own paths. */
  constructor(reserved: readonly string[]) {
    this.#reserved = reserved;
  }

  /** @throws Error if the path is invalid, reserved, or already registered for this method. */
  add(
    method: string,
    path: string,
    handler: RouteHandler,
    { refuse: reject, access = DEFAULT_ACCESS, crossOrigin }: RouteOptions = {},
  ): void {
    if (!path.startsWith("/")) throw new Error(`The route ${path} does not start with a slash.`);
    const routes = this.#paths.get(path) ?? new Map<string, Route>();
    const isTaken = routes.has(method) || [...routes.keys()].some((one) => overlaps(one, method));
    if (isTaken || this.#reserved.includes(path)) {
      throw new Error(`The route ${method} ${path} is already registered.`);
    }
    this.#paths.set(path, routes.set(method, { handler, reject, access, crossOrigin }));
  }

  remove(method: string, path: string): void {
    const routes = this.#paths.get(path);
    routes?.delete(method);
    if (routes?.size === 0) this.#paths.delete(path);
  }

  at(path: string): PathRoutes | undefined {
    return this.#paths.get(path);
  }
}

/** OPTIONS can be registered beside `*`. */
function overlaps(one: string, other: string): boolean {
  return one !== "OPTIONS" && other !== "OPTIONS" && (one === "*" || other === "*");
}

export function findRoute(routes: PathRoutes | undefined, method: string): Route | undefined {
  return routes?.get(method) ?? routes?.get("*");
}

/** Why a request is not served. */
export interface HttpRejection {
  readonly status: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Upgrade {
  readonly handler: UpgradeHandler;
  readonly access: RouteAccess;
}

/** The handlers of WebSocket upgrades by path, and the sockets that they have open. */
export class UpgradeTable {
  readonly #upgrades = new Map<string, Upgrade>();
  readonly #sockets = new Set<Duplex>();
  readonly #log: HostLogger;
  readonly #observe: (request: IncomingMessage, status: number, reason?: string) => void;

  /** `observe` is told the outcome of each upgrade request; without a reason it succeeded. */
  constructor(
    log: HostLogger,
    observe: (request: IncomingMessage, status: number, reason?: string) => void = () => {},
  ) {
    this.#log = log;
    this.#observe = observe;
  }

  /** @throws Error if the path is already registered. */
  add(
    path: string,
    handler: UpgradeHandler,
    { access = DEFAULT_ACCESS }: Pick<RouteOptions, "access"> = {},
  ): void {
    if (this.has(path)) throw new Error(`WebSockets at ${path} are already registered.`);
    this.#upgrades.set(path, { handler, access });
  }

  /** Sockets that the path's handler has taken over stay open. */
  remove(path: string): void {
    this.#upgrades.delete(path);
  }

  get paths(): Iterable<string> {
    return this.#upgrades.keys();
  }

  has(path: string): boolean {
    return this.#upgrades.has(path);
  }

  /** Returns who may open a WebSocket at the path; undefined if there is none. */
  accessOf(path: string): RouteAccess | undefined {
    return this.#upgrades.get(path)?.access;
  }

  /** Passes the socket to the path's handler, or rejects the request and destroys the socket. */
  handle(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    rejection: HttpRejection | undefined,
  ): void {
    // Node has removed its own listeners, and an error without a listener would end the process.
    socket.on("error", () => {});
    observeUpgradeRejection(socket, (status, text) => this.#observe(request, status, text));
    if (rejection) {
      return refuseUpgrade(socket, rejection.status, rejection.text, rejection.headers);
    }
    if (!isWebSocketUpgrade(request)) {
      return refuseUpgrade(socket, 400, "The only supported upgrade is WebSocket.");
    }
    const path = pathOf(request.url!);
    const upgrade = this.#upgrades.get(path);
    if (!upgrade) {
      return refuseUpgrade(socket, 404, `There is no WebSocket at ${JSON.stringify(path)}.`);
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    try {
      upgrade.handler(request, socket, head);
      if (!socket.destroyed && !socket.writableEnded) this.#observe(request, 101);
    } catch (error) {
      this.#log.error(`The WebSocket upgrade of ${path} failed.`, error);
      socket.destroy();
    }
  }

  /** Destroys the sockets that their handlers have left open. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Other protocols are only offered by clients: their requests are served without an upgrade (RFC 9110, 7.8). */
export function isWebSocketUpgrade(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === "websocket";
}
