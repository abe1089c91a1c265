import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { HTTP_DEFAULTS, type AuthConfig, type HttpConfig } from "../../config/config.ts";
import type { PluginHttp } from "../../gateway/host.ts";
import type { GatewayView } from "../../gateway/status.ts";
import { STATUS_CODES } from "../../plugin/http.ts";
import type {
  Access,
  RouteAccess,
  AddressedRequest,
  CrossOrigin,
  HostLogger,
  RouteHandler,
  RouteRefusal,
} from "../../plugin/index.ts";
import type { ServerTls } from "../../tls/server-tls.ts";
import type { ErrorCode } from "../../wire/errors.ts";
import { counts, COUNTS_PATH } from "../api/counts.ts";
import { fields, fieldValues, FIELDS_PATH, VALUES_PATH } from "../api/fields.ts";
import { history, HISTORY_PATH } from "../api/history.ts";
import { patterns, PATTERNS_PATH } from "../api/patterns.ts";
import { record, RECORD_PATH } from "../api/record.ts";
import { JournalSearches } from "../api/journal-search.ts";
import { LongPolling } from "../api/long-poll.ts";
import { SearchQueue } from "../api/search-queue.ts";
import {
  identity,
  IDENTITY_PATH,
  LOGIN_PATH,
  LOGOUT_PATH,
  SESSION_PATH,
  SESSIONS_PATH,
  signInEndpoints,
  ticketIssue,
  TICKETS_PATH,
} from "../api/sign-in.ts";
import { stats, STATS_PATH } from "../api/stats.ts";
import { counter, type Metric } from "../metrics/metric.ts";
import { Metrics, METRICS_PATH, RequestMetrics } from "../metrics/metrics.ts";
import { tlsMetrics } from "../metrics/tls-metrics.ts";
import { AccessRecorder, type AccessRecorderOptions } from "./access-recorder.ts";
import { createApplication, EndpointTable, type Endpoint } from "./application.ts";
import { destinationOf, pathAt, rejectionAt, type Destination } from "./base-path.ts";
import { Connections, type ConnectionLimits } from "./connections.ts";
import { dashboardEndpoints, dashboardPaths, LOGIN_PAGE_PATH } from "./dashboard.ts";
import type { Authenticator } from "../../auth/authenticator.ts";
import { ClientLimits } from "../../auth/limits/client-limits.ts";
import type { SignIn } from "../../auth/sessions/sign-in.ts";
import { Tickets } from "../../auth/sessions/tickets.ts";
import { OPEN_ACCESS } from "../../plugin/access.ts";
import { Forwarding, publicBase } from "../../auth/proxies/public-base.ts";
import { Guard, hasForwardedHeaders, originForm, pathOf } from "./guard.ts";
import { HEALTH_PATH, liveness, READINESS_PATH, readiness } from "./health.ts";
import { LimitedClients } from "./limited-clients.ts";
import { createListeners, type ListenAddress, type Listener } from "./listeners.ts";
import { Rejections } from "./rejections.ts";
import { ResponseBudget } from "./response-budget.ts";
import {
  DEFAULT_ACCESS,
  findRoute,
  RouteTable,
  UpgradeTable,
  type HttpRejection,
  type PathRoutes,
} from "./routes.ts";

/** The gateway's own paths beside those of the dashboard. */
const OWN_PATHS = [
  HISTORY_PATH,
  RECORD_PATH,
  COUNTS_PATH,
  FIELDS_PATH,
  VALUES_PATH,
  PATTERNS_PATH,
  STATS_PATH,
  IDENTITY_PATH,
  LOGIN_PATH,
  LOGOUT_PATH,
  SESSIONS_PATH,
  SESSION_PATH,
  TICKETS_PATH,
  HEALTH_PATH,
  READINESS_PATH,
  METRICS_PATH,
];

/** Returns the paths of the main port that plugins cannot use. */
export function reservedPaths(): string[] {
  return [...dashboardPaths(), ...OWN_PATHS];
}

const PAGE_PATHS: ReadonlySet<string> = new Set(["/", LOGIN_PAGE_PATH]);

/** The route of the dashboard's other files in /metrics. */
const ASSETS = "/assets";

/** The codes of rejections by authentication, which have headers, in the responses of the gateway's own endpoints. */
const ACCESS_CODES: Readonly<Partial<Record<RouteRefusal["status"], ErrorCode>>> = {
  401: "UNAUTHENTICATED",
  403: "FORBIDDEN",
  429: "OVERLOADED",
  503: "TOKENS_UNREADABLE",
};

/** The parts of the server and the pipeline of a large body each wait for the end of a response; Node warns of more than ten. */
const LISTENERS_MAX = 20;

const STOPPING: RouteRefusal = { status: 503, text: "The gateway is stopping." };
const STARTING: RouteRefusal = { status: 503, text: "The gateway is starting." };

type PrincipalLimits = Pick<
  AuthConfig,
  "connectionsPerPrincipalMax" | "ingestBytesPerSecondPerPrincipal"
>;

/** The settings that may change while the server runs. */
export interface HttpSettings {
  readonly allowedHosts: readonly string[];
  /** Whether pages of `DEFAULT_ORIGINS` are accepted; default: true. */
  readonly trustsDefaultOrigins?: boolean | undefined;
  /** Default: {@link HTTP_DEFAULTS}. */
  readonly limits?: Partial<HttpConfig & ConnectionLimits> | undefined;
}

export interface HttpServerOptions extends ListenAddress, HttpSettings {
  readonly tls?: ServerTls | undefined;
  /** How long browsers that used TLS must use nothing else for this host name; default: 0, no such rule. */
  readonly hstsSeconds?: number | undefined;
  /** Whose `X-Forwarded-*` headers count, and the base path; default: nobody's, and none. */
  readonly forwarding?: Forwarding | undefined;
  readonly log: HostLogger;
  /** Whether the listening socket keeps the process alive; default: true. */
  readonly keepsAlive?: boolean;
  /** Undefined: everyone may do everything. */
  readonly authenticator?: Authenticator | undefined;
  /** Records who uses the gateway; undefined if nobody wants to know. */
  readonly access?: AccessRecorderOptions | undefined;
  /** The limits of one principal; default: none. */
  readonly principalLimits?: PrincipalLimits | undefined;
  /** Signs browsers in; undefined without authentication. */
  readonly signIn?: SignIn | undefined;
  /** The tickets that the authenticator knows. Without authentication they open nothing, and clients may request them. */
  readonly tickets?: Tickets | undefined;
  /** Further metrics of the gateway. */
  readonly metrics?: readonly Metric[] | undefined;
  /** Returns how many lines of the gateway's log were suppressed, for /metrics. */
  readonly suppressedLines?: () => number;
}

/**
 * The main port. Its lifecycle:
 *
 * 1. Creation. Plugins register their routes with `plugins`.
 * 2. `mount(view)`: adds the gateway's own endpoints.
 * 3. `listen()`: accepts requests.
 * 4. `stopAccepting()`: new requests and upgrades get 503. Requests in flight are completed; those that wait for records
 *    are answered at once. Health checks are still answered.
 * 5. `close(signal)`: last, after the plugins have closed the sockets that they took over. Safe to call again.
 */
export class HttpServer {
  readonly plugins: PluginHttp;
  readonly #options: HttpServerOptions;
  readonly #listeners: readonly Listener[];
  /** What it listens on, the port first: `http://127.0.0.1:8001`, `unix:/run/tailgate.sock`. */
  readonly urls: string[] = [];
  #guard: Guard;
  readonly #forwarding: Forwarding;
  readonly #basePath: string;
  readonly #limits: HttpConfig & ConnectionLimits;
  readonly #connections: Connections;
  readonly #clients: LimitedClients;
  readonly #clientLimits: ClientLimits;
  readonly #recorder: AccessRecorder | undefined;
  readonly #budget: ResponseBudget;
  readonly #rejections: Rejections;
  readonly #requests = new RequestMetrics();
  /** The route in /metrics of each of the gateway's own paths. */
  readonly #ownRoutes = new Map<string, string>();
  readonly #dashboard = dashboardEndpoints();
  readonly #routes = new RouteTable([...this.#dashboard.map(({ path }) => path), ...OWN_PATHS]);
  readonly #upgrades: UpgradeTable;
  /** Requests that the guard has rejected. */
  #rejected = 0;
  #application: RouteHandler | undefined;
  #endpoints: EndpointTable | undefined;
  #metrics: Metrics | undefined;
  #longPolling: LongPolling | undefined;
  #stopping = false;
  #inFlight = 0;
  /** Resolves when no request is in flight; undefined until `close()` waits for it. */
  #idle: PromiseWithResolvers<void> | undefined;

  /** @throws TailgateError CONFIG_INVALID for an invalid entry of `allowedHosts`. */
  constructor(options: HttpServerOptions) {
    this.#options = options;
    const { log, tls } = options;
    const none = { trustedProxies: [], basePath: "", log };
    this.#forwarding = options.forwarding ?? new Forwarding(none);
    this.#basePath = this.#forwarding.basePath;
    this.#guard = this.#createGuard(options);
    this.#limits = { ...HTTP_DEFAULTS, ...options.limits };
    this.#rejections = new Rejections(log);
    this.#connections = new Connections(this.#limits, log, this.#rejections);
    const { principalLimits } = options;
    this.#clientLimits = new ClientLimits({
      principalConnectionsMax: principalLimits?.connectionsPerPrincipalMax,
      principalIngestBytesPerSecond: principalLimits?.ingestBytesPerSecondPerPrincipal,
      addressWebSocketsMax: this.#limits.webSocketsPerAddressMax,
      addressIngestBytesPerSecond: this.#limits.ingestBytesPerSecondPerAddress,
    });
    this.#clients = new LimitedClients(this.#clientLimits, (request) => this.#accessOf(request));
    this.#recorder = options.access && new AccessRecorder(options.access);
    this.#budget = new ResponseBudget(this.#limits.answerBytesMax);
    this.#upgrades = new UpgradeTable(log, (request, status, reason) =>
      this.#countUpgrade(request, status, reason),
    );
    this.#listeners = createListeners(options, tls);
    for (const listener of this.#listeners) this.#serve(listener);
    this.plugins = {
      route: (...route) => this.#routes.add(...route),
      removeRoute: (method, path) => this.#routes.remove(method, path),
      upgrade: (...upgrade) => this.#addUpgrade(...upgrade),
      removeUpgrade: (path) => this.#upgrades.remove(path),
      refusal: (request, access) => this.#refusalOf(request, access)?.text,
      refusalOf: (...given) => this.#refusalOf(...given),
      accessOf: (request) => this.#accessOf(request),
      recordsRead: (request, records) => this.#recordRead(request, records),
      charge: (request, bytes) =>
        this.#clientLimits.isIngestLimited ? this.#clients.charge(request, bytes) : undefined,
      protect: (server) => {
        this.#connections.watch(server);
        this.#clients.watch(server);
      },
      rejected: (request, rejection) => this.#rejections.add(request, rejection),
    };
  }

  #createGuard({ allowedHosts, trustsDefaultOrigins = true }: HttpSettings): Guard {
    const { host, tls } = this.#options;
    const isCertified = (name: string): boolean => tls?.isFor(name) ?? false;
    return new Guard({ host, allowedHosts, trustsDefaultOrigins, isCertified });
  }

  /**
   * Replaces settings while it runs; requests in flight are not affected.
   * @throws TailgateError CONFIG_INVALID for an invalid entry of `allowedHosts`; nothing changes then.
   */
  apply(settings: HttpSettings): void {
    this.#guard = this.#createGuard(settings);
    // Shared by those that enforce them.
    Object.assign(this.#limits, HTTP_DEFAULTS, settings.limits);
    this.#budget.bytesMax = this.#limits.answerBytesMax;
    this.#clientLimits.setAddressLimits({
      addressWebSocketsMax: this.#limits.webSocketsPerAddressMax,
      addressIngestBytesPerSecond: this.#limits.ingestBytesPerSecondPerAddress,
    });
  }

  #serve({ server, isUnixSocket }: Listener): void {
    server.on("request", (request, response) => this.#handle(request, response));
    server.on("checkContinue", (request, response) => this.#handle(request, response, true));
    this.#connections.watch(server);
    server.on("connection", (socket) => {
      if (isUnixSocket) this.#forwarding.trustUnixSocket(socket);
    });
    server.on("upgrade", (request, socket, head) => {
      this.#connections.release(request.socket);
      const destination = this.#destinationOf(request);
      const path = pathAt(destination) ?? "";
      const access = this.#upgrades.accessOf(path) ?? "public";
      const rejection =
        this.#rejection(request, path) ??
        rejectionAt(destination, this.#basePath) ??
        this.#authenticationRefusal(request, access) ??
        (this.#upgrades.has(path) ? this.#clients.beginWebSocket(request, socket) : undefined);
      request.url = destination.target;
      this.#upgrades.handle(request, socket, head, rejection);
    });
  }

  mount(view: GatewayView): void {
    const { log, signIn, tickets = new Tickets() } = this.#options;
    const notReady = (): string | undefined => (this.#stopping ? "stopping" : view.notReady);
    this.#longPolling = new LongPolling(view.journal);
    const queue = new SearchQueue(this.#limits);
    const parts = [
      this.#forwarding,
      this.#connections,
      this.#clients,
      this.#budget,
      queue,
      this.#longPolling,
      this.#requests,
    ];
    const metrics = [
      ...parts.flatMap((part) => part.metrics),
      ...(signIn?.metrics ?? []),
      ...this.#ownMetrics(),
    ];
    this.#metrics = new Metrics(view, metrics, log);
    const searches = new JournalSearches(view.journal, queue);
    const endpoints = [
      ...this.#dashboard,
      history(view.journal, searches, {
        longPolling: this.#longPolling,
        budget: this.#budget,
        recorder: this.#recorder,
        log,
      }),
      record(view.journal, searches, this.#recorder),
      counts(view.journal, searches),
      fields(view.journal, searches),
      fieldValues(view.journal, searches),
      patterns(view.journal, searches, this.#recorder),
      stats(view),
      identity(signIn),
      ticketIssue(tickets),
      ...(signIn === undefined ? [] : signInEndpoints(signIn)),
      liveness,
      readiness(view, notReady),
      this.#metrics.endpoint,
    ];
    this.#announce(endpoints);
    this.#endpoints = new EndpointTable(endpoints);
    this.#application = createApplication(this.#endpoints, {
      accessOf: (request) => this.#accessOf(request),
      budget: this.#budget,
      log,
      rejections: this.#rejections,
    });
  }

  /** Exposes the routes in /metrics before their first request. */
  #announce(endpoints: readonly Endpoint[]): void {
    for (const { path } of endpoints) this.#ownRoutes.set(path, path);
    for (const { path } of this.#dashboard) {
      this.#ownRoutes.set(path, PAGE_PATHS.has(path) ? path : ASSETS);
    }
    for (const { path, method = "GET" } of endpoints) {
      this.#requests.announce(this.#ownRoutes.get(path)!, method, 200);
    }
    for (const path of this.#upgrades.paths) this.#requests.announce(path, "GET", 101);
  }

  #addUpgrade(...upgrade: Parameters<PluginHttp["upgrade"]>): void {
    this.#upgrades.add(...upgrade);
    if (this.#endpoints !== undefined) this.#requests.announce(upgrade[0], "GET", 101);
  }

  #ownMetrics(): Metric[] {
    const { suppressedLines = () => 0, tls } = this.#options;
    const rejected = "Requests rejected because of their Host, Origin or site.";
    const suppressed =
      "Lines of the gateway's log that were suppressed because there were too many.";
    return [
      this.#rejections.metric,
      ...(this.#options.access?.trail.metrics ?? []),
      ...(this.#options.metrics ?? []),
      counter("tailgate_http_requests_refused", rejected, () => this.#rejected),
      counter("tailgate_log_lines_suppressed", suppressed, suppressedLines),
      ...(tls ? tlsMetrics(tls) : []),
    ];
  }

  /**
   * Starts listening. Resolves with the first URL.
   * @throws TailgateError PORT_IN_USE or LISTEN_FAILED
   */
  async listen(): Promise<string> {
    const { log, keepsAlive } = this.#options;
    for (const { server, listen } of this.#listeners) {
      this.urls.push(await listen());
      server.on("error", (error) => log.error("The HTTP server reported an error.", error));
      if (keepsAlive === false) server.unref();
    }
    return this.urls[0]!;
  }

  stopAccepting(): void {
    this.#stopping = true;
    this.#longPolling?.close();
  }

  /** Waits for requests in flight until `signal` aborts, and closes all connections. */
  async close(signal: AbortSignal): Promise<void> {
    this.stopAccepting();
    for (const { server } of this.#listeners) server.close();
    if (this.#inFlight > 0 && !signal.aborted) {
      this.#idle ??= Promise.withResolvers();
      const { promise, resolve } = this.#idle;
      signal.addEventListener("abort", () => resolve(), { once: true });
      await promise;
    }
    for (const { server } of this.#listeners) server.closeAllConnections();
    this.#upgrades.close();
    this.#connections.close();
    await this.#metrics?.close();
    this.#metrics = undefined;
  }

  /** `isWaiting`: the client sends its body only after a `100 Continue` (RFC 9110, section 10.1.1). */
  #handle(request: IncomingMessage, response: ServerResponse, isWaiting = false): void {
    this.#inFlight++;
    this.#setTransportSecurity(request, response);
    const startedAtMs = performance.now();
    const destination = this.#destinationOf(request);
    const path = pathAt(destination) ?? "";
    const { socket } = request;
    response.setMaxListeners(LISTENERS_MAX);
    response.once("close", () => {
      if (--this.#inFlight === 0) this.#idle?.resolve();
      this.#countRequest(request, response, { path, startedAtMs, socket });
    });
    const routes = this.#routes.at(path);
    const access = this.#routeAccess(routes, path, request.method!);
    const rejection =
      this.#rejection(request, path, findRoute(routes, request.method!)?.crossOrigin) ??
      this.#authenticationRefusal(request, access) ??
      (access !== "public" && this.#clientLimits.areRequestsLimited
        ? this.#clients.beginRequest(request, response)
        : undefined);
    request.url = destination.target;
    // Whether the client sends its body after a rejection, and so where its next request starts, is unknown.
    if (isWaiting && rejection) response.setHeader("Connection", "close");
    else if (isWaiting) response.writeContinue();
    if (rejection && this.#isEndpoint(path)) this.#rejectEndpoint(request, response, rejection);
    else if (rejection) this.#rejectRoute(routes, request, response, rejection);
    else if (destination.kind !== "here") this.#respondElsewhere(destination, request, response);
    else if (routes) this.#serveRoute(routes, request, response);
    else if (this.#upgrades.has(path)) respondUpgradeRequired(response);
    else if (this.#application) void this.#callHandler(this.#application, request, response);
    else this.#reject(request, response, STARTING);
  }

  #respondElsewhere(
    destination: Destination,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (destination.kind === "slash" && isRead) return redirectToSlash(request, response);
    this.#reject(request, response, rejectionAt(destination, this.#basePath)!);
  }

  /** RFC 6797, 7.2: not without TLS. */
  #setTransportSecurity({ socket }: IncomingMessage, response: ServerResponse): void {
    const { hstsSeconds = 0 } = this.#options;
    if (hstsSeconds === 0 || !("encrypted" in socket)) return;
    response.setHeader("Strict-Transport-Security", `max-age=${hstsSeconds}`);
  }

  #countRequest(
    request: IncomingMessage,
    { headersSent, statusCode }: ServerResponse,
    { path, startedAtMs, socket }: { path: string; startedAtMs: number; socket: Socket },
  ): void {
    const status = headersSent ? statusCode : undefined;
    const seconds = (performance.now() - startedAtMs) / 1000;
    this.#requests.add({ route: this.#routeName(path), method: request.method!, status, seconds });
    if (status === undefined || !isRejection(status) || isHealthCheck(path)) return;
    if (this.#rejections.isCounted(request)) return;
    // The response does not say more than its status.
    const reason = `${STATUS_CODES[status] ?? `Status ${status}`}.`;
    this.#rejections.add(request, { protocol: "http", status, reason }, socket);
  }

  #countUpgrade(request: IncomingMessage, status: number, reason: string | undefined): void {
    const route = this.#routeName(pathOf(request.url!));
    this.#requests.add({ route, method: request.method!, status });
    if (reason === undefined) return;
    this.#rejections.add(request, { protocol: "websocket", status, reason });
  }

  #routeName(path: string): string | undefined {
    const isPlugins = this.#routes.at(path) !== undefined || this.#upgrades.has(path);
    return isPlugins ? path : (this.#ownRoutes.get(path) ?? this.#endpoints?.routeOf(path));
  }

  #reject(request: IncomingMessage, response: ServerResponse, rejection: HttpRejection): void {
    const { status, text: reason } = rejection;
    this.#rejections.add(request, { protocol: "http", status, reason });
    respondText(response, rejection);
  }

  #isEndpoint(path: string): boolean {
    return this.#endpoints !== undefined && this.#endpoints.at(path).candidates.length > 0;
  }

  /** Rejects a request to one of the gateway's own endpoints, for lack of access in their form of errors. */
  #rejectEndpoint(
    request: IncomingMessage,
    response: ServerResponse,
    rejection: RouteRefusal,
  ): void {
    const code = rejection.headers && ACCESS_CODES[rejection.status];
    if (code === undefined) return this.#reject(request, response, rejection);
    const { status, text: message, headers } = rejection;
    this.#rejections.add(request, { protocol: "http", status, reason: message });
    response.writeHead(status, {
      ...headers,
      "Content-Type": "application/json; charset=utf-8",
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
      ...(endsConnection(status) && { Connection: "close" }),
    });
    response.end(JSON.stringify({ error: { code, message } }));
  }

  /** Rejects a request in the protocol of its route. */
  #rejectRoute(
    routes: PathRoutes | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    rejection: RouteRefusal,
  ): void {
    const reject = findRoute(routes, request.method!)?.reject;
    if (!reject) return this.#reject(request, response, rejection);
    if (endsConnection(rejection.status)) response.setHeader("Connection", "close");
    void this.#callHandler(() => reject(request, response, rejection), request, response);
  }

  #destinationOf({ url }: IncomingMessage): Destination {
    return destinationOf(originForm(url!), this.#basePath);
  }

  #rejection(
    request: IncomingMessage,
    path: string | undefined,
    crossOrigin?: CrossOrigin,
  ): RouteRefusal | undefined {
    const rejection = this.#guardRejection(request, path, crossOrigin);
    if (rejection !== undefined) return rejection;
    return this.#stopping && !isHealthCheck(path) ? STOPPING : undefined;
  }

  /** Logs the reason: a browser hides the response to a rejected WebSocket from its page. */
  #guardRejection(
    request: AddressedRequest,
    path?: string,
    crossOrigin?: CrossOrigin,
  ): RouteRefusal | undefined {
    const isForwarded = this.#basePath !== "" || hasForwardedHeaders(request);
    const rejection =
      (isForwarded ? this.#forwarding.read(request) : undefined) ??
      this.#guard.check(request, path, crossOrigin);
    if (rejection === undefined) return undefined;
    this.#rejected++;
    this.#recorder?.otherSite(request, rejection);
    const { status, text } = rejection;
    this.#rejections.log(request, { status, reason: `A request was rejected. ${text}` });
    return rejection;
  }

  /** Returns who may make a request. Everyone may learn that a path or a method does not exist. */
  #routeAccess(routes: PathRoutes | undefined, path: string, method: string): RouteAccess {
    if (routes !== undefined) return findRoute(routes, method)?.access ?? "public";
    return this.#endpoints?.accessOf(path, method) ?? "public";
  }

  #refusalOf(
    request: AddressedRequest,
    access: RouteAccess = DEFAULT_ACCESS,
    crossOrigin?: CrossOrigin,
  ): RouteRefusal | undefined {
    return (
      this.#guardRejection(request, undefined, crossOrigin) ??
      this.#authenticationRefusal(request, access) ??
      (this.#clientLimits.areRequestsLimited ? this.#clients.beginConnection(request) : undefined)
    );
  }

  #authenticationRefusal(request: AddressedRequest, access: RouteAccess): RouteRefusal | undefined {
    const refusal = this.#options.authenticator?.refusalOf(request, access);
    if (refusal !== undefined) this.#recorder?.denied(request, refusal);
    return refusal;
  }

  #recordRead(request: AddressedRequest, records: number): void {
    const { url = "" } = request;
    const query = url.slice(pathOf(url).length + 1);
    const page = { records, isExport: false, query };
    this.#recorder?.read(request, this.#accessOf(request), page);
  }

  #accessOf(request: AddressedRequest): Access {
    return this.#options.authenticator?.accessOf(request) ?? OPEN_ACCESS;
  }

  #serveRoute(routes: PathRoutes, request: IncomingMessage, response: ServerResponse): void {
    const route = findRoute(routes, request.method!);
    if (route) return void this.#callHandler(route.handler, request, response);
    const methods = [...routes.keys()].join(", ");
    response.setHeader("Allow", methods);
    this.#reject(request, response, { status: 405, text: `Allowed methods: ${methods}.` });
  }

  async #callHandler(
    handler: RouteHandler,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    try {
      await handler(request, response);
    } catch (error) {
      // Without the query, which may hold secrets.
      this.#options.log.error(`${request.method} ${pathOf(request.url!)} failed.`, error);
      if (response.headersSent) response.destroy();
      else
        respondText(response, { status: 500, text: "The gateway failed to handle the request." });
    }
  }
}

function respondText(response: ServerResponse, { status, text, headers }: HttpRejection): void {
  response.writeHead(status, {
    ...headers,
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    ...(endsConnection(status) && { Connection: "close" }),
  });
  response.end(`${text}\n`);
}

/**
 * A client that retries after a 503 should do so on a new connection, and so reach whatever listens there by then. After
 * a 400 it is not known where the next request starts.
 */
function endsConnection(status: number): boolean {
  return status === 503 || status === 400;
}

/** Internal errors are logged where they occur. */
function isRejection(status: number): boolean {
  return status >= 400 && status !== 500;
}

function isHealthCheck(path: string | undefined): boolean {
  return path === HEALTH_PATH || path === READINESS_PATH;
}

/** The URLs in the page are relative to its path, which must end with a slash. */
function redirectToSlash(request: IncomingMessage, response: ServerResponse): void {
  const [, ...query] = request.url!.split("?");
  const search = query.length === 0 ? "" : `?${query.join("?")}`;
  response.setHeader("Location", `${publicBase(request).path}/${search}`);
  response.setHeader("Cache-Control", "no-store");
  respondText(response, { status: 308, text: "The dashboard's path ends with a slash." });
}

/** RFC 9110, 15.5.22: the response names the required protocol. */
function respondUpgradeRequired(response: ServerResponse): void {
  response.setHeader("Upgrade", "websocket");
  response.setHeader("Connection", "Upgrade");
  respondText(response, { status: 426, text: "Connect to this path with a WebSocket." });
}
