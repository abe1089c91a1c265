import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ANONYMOUS } from "../../auth/access.ts";
import { ClientLimits, type LimitedClient } from "../../auth/limits/client-limits.ts";
import { forwardedOf } from "../../auth/proxies/public-base.ts";
import type { Access, AddressedRequest, RouteRefusal } from "../../plugin/index.ts";
import type { Metric } from "../metrics/metric.ts";

/** Applies the limits of principals and addresses to requests, which must have been authenticated before. */
export class LimitedClients {
  readonly metrics: readonly Metric[];
  readonly #limits: ClientLimits;
  readonly #accessOf: (request: AddressedRequest) => Access;
  /** The last client on each connection to a port of a plugin's own. */
  readonly #connections = new WeakMap<AddressedRequest["socket"], LimitedClient>();
  readonly #open = new WeakSet<AddressedRequest["socket"]>();

  constructor(limits: ClientLimits, accessOf: (request: AddressedRequest) => Access) {
    this.#limits = limits;
    this.#accessOf = accessOf;
    this.metrics = [limits.metric];
  }

  /** See `HostHttp.charge`. */
  charge(request: AddressedRequest, bytes: number): RouteRefusal | undefined {
    return this.#limits.charge(this.#clientOf(request), bytes);
  }

  /** Counts a request of the main port until its response ends. */
  beginRequest(request: IncomingMessage, response: ServerResponse): RouteRefusal | undefined {
    const client = this.#clientOf(request);
    const refusal = this.#limits.begin(client, "request");
    if (refusal === undefined) response.once("close", () => this.#limits.end(client, "request"));
    return refusal;
  }

  /** Counts a WebSocket until its socket closes. */
  beginWebSocket(request: IncomingMessage, socket: Duplex): RouteRefusal | undefined {
    const client = this.#clientOf(request);
    const refusal = this.#limits.begin(client, "websocket");
    if (refusal === undefined) socket.once("close", () => this.#limits.end(client, "websocket"));
    return refusal;
  }

  /** Watches the connections to a port of a plugin's own, for {@link beginConnection}. */
  watch(server: Server): void {
    const add = (socket: Socket): void => {
      this.#open.add(socket);
      socket.once("close", () => {
        this.#open.delete(socket);
        this.#endConnection(socket);
      });
    };
    // Requests over TLS have the second one.
    server.on("connection", add);
    server.on("secureConnection", add);
  }

  /** Counts the connection of a request to a port of a plugin's own for its principal, until another one uses it. */
  beginConnection(request: AddressedRequest): RouteRefusal | undefined {
    const { socket } = request;
    if (!this.#open.has(socket)) return undefined;
    const client = this.#clientOf(request);
    if (this.#connections.get(socket)?.principal === client.principal) return undefined;
    this.#endConnection(socket);
    const refusal = this.#limits.begin(client, "request");
    if (refusal === undefined) this.#connections.set(socket, client);
    return refusal;
  }

  #endConnection(socket: AddressedRequest["socket"]): void {
    const client = this.#connections.get(socket);
    if (client !== undefined) this.#limits.end(client, "request");
    this.#connections.delete(socket);
  }

  #clientOf(request: AddressedRequest): LimitedClient {
    const { principal } = this.#accessOf(request);
    return {
      principal: principal === ANONYMOUS.principal ? undefined : principal,
      address: forwardedOf(request)?.address ?? request.socket.remoteAddress,
    };
  }
}
