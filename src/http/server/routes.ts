import type {
  HostLogger,
  RefusalHandler,
  RouteHandler,
  UpgradeHandler,
} from "../../plugin/index.ts";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { observeUpgradeRejection, refuseUpgrade } from "../../plugin/http.ts";

/** What serves a method of a path. */
export interface Route {
  readonly handler: RouteHandler;
  readonly refuse: RefusalHandler | undefined;
}

/** A path's routes by method; `*` takes all methods. */
export type Methods = ReadonlyMap<string, Route>;

/** What plugins serve on the main port. */
export class RouteTable {
  readonly #paths = new Map<string, Map<string, Route>>();
  readonly #reserved: readonly string[];

  /** `reserved` paths are the gateway's own. */
  constructor(reserved: readonly string[]) {
    this.#reserved = reserved;
  }

  /** @throws Error where the place is taken, or the path is none. */
  add(method: string, path: string, handler: RouteHandler, refuse?: RefusalHandler): void {
    if (!path.startsWith("/")) throw new Error(`The route ${path} does not start with a slash.`);
    const methods = this.#paths.get(path) ?? new Map<string, Route>();
    const isTaken = methods.has(method) || methods.has("*") || (method === "*" && methods.size > 0);
    if (isTaken || this.#reserved.includes(path)) {
      throw new Error(`The route ${method} ${path} is taken already.`);
    }
    this.#paths.set(path, methods.set(method, { handler, refuse }));
  }

  at(path: string): Methods | undefined {
    return this.#paths.get(path);
  }
}

/** The path of a request's target, without its query. */
export function pathOf(target: string): string {
  const path = originForm(target);
  const query = path.indexOf("?");
  return query < 0 ? path : path.slice(0, query);
}

/** `GET http://localhost:8001/healthz`, as clients send it to proxies (RFC 9112, 3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/i;

/** The target as paths are written: without the scheme and the authority that it may have. */
export function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const [, , rest] = ABSOLUTE_FORM.exec(target) ?? [];
  if (rest === undefined) return target;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** The authority of a target in absolute form; undefined for a path or `*`, null for anything else. */
export function authorityOf(target: string | undefined): string | undefined | null {
  if (target === undefined || target.startsWith("/") || target === "*") return undefined;
  return ABSOLUTE_FORM.exec(target)?.[1] ?? null;
}

export function routeOf(methods: Methods | undefined, method: string): Route | undefined {
  return methods?.get(method) ?? methods?.get("*");
}

/** Why a request is not served. */
export interface Refusal {
  readonly status: number;
  readonly text: string;
}

/** What became of a request for an upgrade; without a reason it was granted. */
export type UpgradeOutcome = (
  request: IncomingMessage,
  status: number,
  reason: string | undefined,
) => void;

/** Who takes over the sockets of WebSocket upgrades, and which of them are open. */
export class UpgradeTable {
  readonly #handlers = new Map<string, UpgradeHandler>();
  readonly #sockets = new Set<Duplex>();
  readonly #log: HostLogger;
  readonly #ended: UpgradeOutcome;

  constructor(log: HostLogger, ended: UpgradeOutcome = () => {}) {
    this.#log = log;
    this.#ended = ended;
  }

  /** @throws Error where the path is taken. */
  add(path: string, handler: UpgradeHandler): void {
    if (this.#handlers.has(path)) throw new Error(`WebSockets on ${path} are taken already.`);
    this.#handlers.set(path, handler);
  }

  get paths(): Iterable<string> {
    return this.#handlers.keys();
  }

  has(path: string): boolean {
    return this.#handlers.has(path);
  }

  /** Hands the socket to the path's handler, or refuses and destroys it. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer, refusal: Refusal | undefined): void {
    // Node has taken its own listeners off, and an error without a listener would end the process.
    socket.on("error", ignoreError);
    observeUpgradeRejection(socket, (status, text) => this.#ended(request, status, text));
    if (refusal) return refuseUpgrade(socket, refusal.status, refusal.text);
    if (!asksForWebSocket(request)) return refuseUpgrade(socket, 400, NOT_A_WEBSOCKET);
    const path = pathOf(request.url!);
    const handler = this.#handlers.get(path);
    if (!handler) {
      const text = `There is no WebSocket at ${JSON.stringify(path)}.`;
      return refuseUpgrade(socket, 404, text);
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    try {
      handler(request, socket, head);
      const isGranted = !socket.destroyed && !socket.writableEnded;
      if (isGranted) this.#ended(request, 101, undefined);
    } catch (error) {
      this.#log.error(`Taking over a socket on ${path} failed.`, error);
      socket.destroy();
    }
  }

  /** Destroys the sockets that their handlers have left open. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Other protocols than WebSocket are offered, not demanded: such a request is served as if it did not (RFC 9110, 7.8). */
export function asksForWebSocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === "websocket";
}

const NOT_A_WEBSOCKET = "The only upgrade here is to WebSocket.";

function ignoreError(): void {}
