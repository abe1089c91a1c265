import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { HTTP_DEFAULTS, type HttpConfig } from "../../config/config.ts";
import { TailgateError, textOf } from "../../wire/errors.ts";
import type { GatewayView } from "../../gateway/status.ts";
import { createServer } from "../../plugin/http.ts";
import type {
  AddressedRequest,
  HostHttp,
  HostLogger,
  RouteHandler,
  RouteRefusal,
} from "../../plugin/index.ts";
import { AnswerBudget } from "./response-budget.ts";
import { createApplication } from "./application.ts";
import { Connections, watchProtocol } from "./connections.ts";
import { Guard, urlHost } from "./guard.ts";
import { HEALTH_PATH, liveness, READINESS_PATH, readiness } from "./health.ts";
import { counts, COUNTS_PATH } from "../api/counts.ts";
import { history, HISTORY_PATH } from "../api/history.ts";
import { JournalWalks } from "../api/journal-search.ts";
import { SearchQueue } from "../api/search-queue.ts";
import { counter, type Metric } from "../metrics/metric.ts";
import { Metrics, METRICS_PATH, RequestMetrics } from "../metrics/metrics.ts";
import { page, pagePaths } from "./dashboard.ts";
import { reasonOf, Rejections } from "./rejections.ts";
import {
  asksForWebSocket,
  type Methods,
  originForm,
  pathOf,
  type Refusal,
  routeOf,
  RouteTable,
  UpgradeTable,
} from "./routes.ts";
import { stats, STATS_PATH } from "../api/stats.ts";
import { WaitingRoom } from "../api/long-poll.ts";

/** Against requests that come slowly (reliability.md, threats), however long the answer takes. Node looks for them every few seconds. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const TIMEOUT_CHECK_MS = 2_000;

/** Longer than the pause between two requests of a batching OTLP exporter, which would else find the connection closed. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;

/** No plugin can have them, nor those of the page. */
const OWN_PATHS = [
  HISTORY_PATH,
  COUNTS_PATH,
  STATS_PATH,
  HEALTH_PATH,
  READINESS_PATH,
  METRICS_PATH,
];

/** Returns the paths of the main port that are the gateway's own. */
export function reservedPaths(): string[] {
  return [...pagePaths(), ...OWN_PATHS];
}

/** The files of the dashboard, in /metrics. */
const ASSETS = "/assets";

const STOPPING: RouteRefusal = { status: 503, text: "The gateway is stopping." };
const STARTING: RouteRefusal = { status: 503, text: "The gateway is starting." };

export interface HttpServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly allowedHosts: readonly string[];
  /** Whether pages of `DEFAULT_ORIGINS` are let in; default true. */
  readonly trustsDefaultOrigins?: boolean | undefined;
  /** Those that are absent are {@link HTTP_DEFAULTS}. */
  readonly limits?: Partial<HttpConfig> | undefined;
  readonly log: HostLogger;
  /** Whether the process stays alive while it listens; default true. */
  readonly keepsAlive?: boolean;
  /** How many of the gateway's own lines were left out, for /metrics. */
  readonly suppressedLines?: () => number;
}

/**
 * The main port. Its life:
 *
 * 1. `new HttpServer(...)`; plugins register with `plugins`.
 * 2. `mount(view)`: the gateway's own endpoints have something to show.
 * 3. `listen()`: requests come.
 * 4. `stopAccepting()`: new requests and upgrades are answered 503, those in flight go on, but for those that only
 *    wait: they are answered at once. Health still answers.
 * 5. `close(signal)`: last, when the plugins have closed the sockets that they took over. Safe to call again.
 */
export class HttpServer {
  readonly plugins: HostHttp;
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  readonly #guard: Guard;
  readonly #limits: HttpConfig;
  readonly #connections: Connections;
  readonly #budget: AnswerBudget;
  readonly #rejections: Rejections;
  readonly #requests = new RequestMetrics();
  /** How requests to the gateway's own paths are called in /metrics. */
  readonly #ownRoutes = new Map<string, string>();
  readonly #page = page();
  readonly #routes = new RouteTable([...this.#page.map(({ path }) => path), ...OWN_PATHS]);
  readonly #upgrades: UpgradeTable;
  /** Requests that the guard has refused. */
  #refused = 0;
  #application: RouteHandler | undefined;
  #metrics: Metrics | undefined;
  #waitingRoom: WaitingRoom | undefined;
  #stopping = false;
  #inFlight = 0;
  /** Resolved when nothing is in flight any more, once somebody waits for it. */
  #idle: PromiseWithResolvers<void> | undefined;

  /** @throws TailgateError CONFIG_INVALID for an entry of `allowedHosts` that says nothing. */
  constructor(options: HttpServerOptions) {
    this.#options = options;
    const { host, allowedHosts, trustsDefaultOrigins = true } = options;
    this.#guard = new Guard({ host, allowedHosts, trustsDefaultOrigins });
    this.#limits = { ...HTTP_DEFAULTS, ...options.limits };
    this.#rejections = new Rejections(options.log);
    this.#connections = new Connections(this.#limits, options.log, (request, rejection) =>
      this.#rejections.count(request, rejection),
    );
    this.#budget = new AnswerBudget(this.#limits.answerBytesMax);
    this.#upgrades = new UpgradeTable(options.log, (request, status, reason) =>
      this.#upgraded(request, status, reason),
    );
    this.#server = createServer({
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      // The guard does so, where it is seen.
      requireHostHeader: false,
      shouldUpgradeCallback: asksForWebSocket,
    });
    this.#server.on("request", (request, response) => this.#handle(request, response));
    this.#connections.watch(this.#server);
    watchProtocol(this.#server, this.#rejections);
    this.#server.on("upgrade", (request, socket, head) => {
      this.#connections.handOver(request.socket);
      const refusal = this.#refusal(request);
      request.url = originForm(request.url!);
      this.#upgrades.take(request, socket, head, refusal);
    });
    this.plugins = {
      route: (method, path, handler, refuse) => this.#routes.add(method, path, handler, refuse),
      upgrade: (path, handler) => this.#upgrades.add(path, handler),
      refusal: (request) => this.#guardRefusal(request)?.text,
      refusalOf: (request) => this.#guardRefusal(request),
      protect: (server) => {
        this.#connections.watch(server);
        watchProtocol(server, this.#rejections);
      },
      rejected: (request, rejection) => this.#rejections.add(request, rejection),
    };
  }

  mount(view: GatewayView): void {
    const { log } = this.#options;
    const notReady = (): string | undefined => (this.#stopping ? "stopping" : view.notReady);
    this.#waitingRoom = new WaitingRoom(view.journal);
    const queue = new SearchQueue(this.#limits);
    const counted = [this.#connections, this.#budget, queue, this.#waitingRoom];
    const metrics = [...counted.flatMap((part) => part.metrics), ...this.#ownMetrics()];
    this.#metrics = new Metrics(view, metrics, log);
    const walks = new JournalWalks(view.journal, queue);
    const endpoints = [
      ...this.#page,
      history(view.journal, walks, { waitingRoom: this.#waitingRoom, budget: this.#budget }),
      counts(view.journal, walks),
      stats(view),
      liveness,
      readiness(view, notReady),
      this.#metrics.endpoint,
    ];
    for (const { path } of endpoints) this.#ownRoutes.set(path, path);
    for (const { path } of this.#page) this.#ownRoutes.set(path, path === "/" ? path : ASSETS);
    for (const route of new Set(this.#ownRoutes.values()))
      this.#requests.announce(route, "GET", 200);
    for (const path of this.#upgrades.paths) this.#requests.announce(path, "GET", 101);
    this.#application = createApplication(endpoints, {
      budget: this.#budget,
      log,
      rejections: this.#rejections,
    });
  }

  #ownMetrics(): Metric[] {
    const { suppressedLines = () => 0 } = this.#options;
    const refused = "Requests that were refused because of their Host, Origin or site.";
    const suppressed = "Lines of the gateway's own that were left out of its log: too many alike.";
    return [
      ...this.#requests.metrics,
      this.#rejections.metric,
      counter("tailgate_http_requests_refused", refused, () => this.#refused),
      counter("tailgate_log_lines_suppressed", suppressed, suppressedLines),
    ];
  }

  /**
   * Resolves with the URL when requests are taken.
   * @throws TailgateError PORT_IN_USE or LISTEN_FAILED
   */
  async listen(): Promise<string> {
    const { host, port, log } = this.#options;
    this.#server.listen({ port, host, exclusive: true });
    try {
      await once(this.#server, "listening");
    } catch (error) {
      throw listenError(error, host, port);
    }
    this.#server.on("error", (error) => log.error("The HTTP server has trouble.", error));
    if (this.#options.keepsAlive === false) this.#server.unref();
    const address = this.#server.address() as AddressInfo;
    return `http://${urlHost(host)}:${address.port}`;
  }

  stopAccepting(): void {
    this.#stopping = true;
    this.#waitingRoom?.close();
  }

  /** Waits for what is in flight until `signal` aborts, and ends all connections. */
  async close(signal: AbortSignal): Promise<void> {
    this.stopAccepting();
    this.#server.close();
    await this.#whenIdle(signal);
    this.#server.closeAllConnections();
    this.#upgrades.close();
    this.#connections.close();
    await this.#metrics?.close();
    this.#metrics = undefined;
  }

  async #whenIdle(signal: AbortSignal): Promise<void> {
    if (this.#inFlight === 0 || signal.aborted) return;
    this.#idle ??= Promise.withResolvers();
    const { promise, resolve } = this.#idle;
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    this.#inFlight++;
    const startedAtMs = performance.now();
    const path = pathOf(request.url!);
    const { socket } = request;
    response.once("close", () => {
      if (--this.#inFlight === 0) this.#idle?.resolve();
      this.#answered(request, response, { path, startedAtMs, socket });
    });
    const refusal = this.#refusal(request, path);
    request.url = originForm(request.url!);
    const methods = this.#routes.at(path);
    if (refusal) this.#refuse(methods, request, response, refusal);
    else if (methods) this.#serveRoute(methods, request, response);
    else if (this.#upgrades.has(path)) answerUpgradeRequired(response);
    else if (this.#application) void this.#callHandler(this.#application, request, response);
    else this.#reject(request, response, STARTING);
  }

  #answered(
    request: IncomingMessage,
    { headersSent, statusCode }: ServerResponse,
    { path, startedAtMs, socket }: { path: string; startedAtMs: number; socket: Socket },
  ): void {
    const status = headersSent ? statusCode : undefined;
    const seconds = (performance.now() - startedAtMs) / 1000;
    this.#requests.add({ route: this.#routeName(path), method: request.method!, status, seconds });
    if (status === undefined || !isRejection(status) || isHealth(path)) return;
    if (this.#rejections.isCounted(request)) return;
    const rejection = { protocol: "http", status, reason: reasonOf(status) } as const;
    this.#rejections.add(request, rejection, socket);
  }

  #upgraded(request: IncomingMessage, status: number, reason: string | undefined): void {
    const route = this.#routeName(pathOf(request.url!));
    this.#requests.add({ route, method: request.method!, status });
    if (reason === undefined) return;
    this.#rejections.add(request, { protocol: "websocket", status, reason });
  }

  #routeName(path: string): string | undefined {
    const isPlugins = this.#routes.at(path) !== undefined || this.#upgrades.has(path);
    return isPlugins ? path : this.#ownRoutes.get(path);
  }

  #reject(request: IncomingMessage, response: ServerResponse, { status, text }: Refusal): void {
    this.#rejections.add(request, { protocol: "http", status, reason: text });
    answerText(response, { status, text });
  }

  #refuse(
    methods: Methods | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    refusal: RouteRefusal,
  ): void {
    const refuse = routeOf(methods, request.method!)?.refuse;
    if (!refuse) return this.#reject(request, response, refusal);
    if (endsConnection(refusal.status)) response.setHeader("Connection", "close");
    void this.#callHandler(() => refuse(request, response, refusal), request, response);
  }

  #refusal(request: IncomingMessage, path?: string): RouteRefusal | undefined {
    const refusal = this.#guardRefusal(request);
    if (refusal !== undefined) return refusal;
    return this.#stopping && !isHealth(path) ? STOPPING : undefined;
  }

  /** A browser hides the answer to a refused WebSocket from its page, so that the reason must be seen here. */
  #guardRefusal(request: AddressedRequest): RouteRefusal | undefined {
    const refusal = this.#guard.refusal(request);
    if (refusal === undefined) return undefined;
    this.#refused++;
    const { status, text } = refusal;
    const message = `A request was refused. ${text}`;
    this.#rejections.log(request, { status, reason: text }, { message });
    return refusal;
  }

  #serveRoute(methods: Methods, request: IncomingMessage, response: ServerResponse): void {
    const route = routeOf(methods, request.method!);
    if (route) void this.#callHandler(route.handler, request, response);
    else {
      response.setHeader("Allow", allowed(methods));
      this.#reject(request, response, {
        status: 405,
        text: `The methods here are: ${allowed(methods)}.`,
      });
    }
  }

  async #callHandler(
    handler: RouteHandler,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    try {
      await handler(request, response);
    } catch (error) {
      this.#options.log.error(`${request.method} ${request.url} failed.`, error);
      if (response.headersSent) response.destroy();
      else answerText(response, { status: 500, text: "The gateway failed to answer." });
    }
  }
}

function answerText(response: ServerResponse, { status, text }: Refusal): void {
  response.writeHead(status, {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    ...(endsConnection(status) && { Connection: "close" }),
  });
  response.end(`${text}\n`);
}

/**
 * A client that comes again after a 503 does so on a new connection, and so to whoever listens there then. After a 400
 * nobody knows where the next request begins.
 */
function endsConnection(status: number): boolean {
  return status === 503 || status === 400;
}

function allowed(methods: Methods): string {
  return [...methods.keys()].join(", ");
}

/** A fault of the gateway's own is told where it happens. */
function isRejection(status: number): boolean {
  return status >= 400 && status !== 500;
}

function isHealth(path: string | undefined): boolean {
  return path === HEALTH_PATH || path === READINESS_PATH;
}

/** RFC 9110, 15.5.22: names the protocol that is required. */
function answerUpgradeRequired(response: ServerResponse): void {
  response.setHeader("Upgrade", "websocket");
  response.setHeader("Connection", "Upgrade");
  answerText(response, { status: 426, text: "Connect to this path with a WebSocket." });
}

function listenError(error: unknown, host: string, port: number): TailgateError {
  const place = `${urlHost(host)}:${port}`;
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const text = `Port ${port} of ${host} is in use; --port chooses another.`;
    return new TailgateError("PORT_IN_USE", text, { cause: error });
  }
  const text = `Listening on ${place} is not possible: ${textOf(error)}.`;
  return new TailgateError("LISTEN_FAILED", text, { cause: error });
}
