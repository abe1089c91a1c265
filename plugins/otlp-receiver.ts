/** Receives logs over OTLP/HTTP, on its own port and on the main port, and over OTLP/gRPC. */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Server as SecureServer } from "node:https";
import {
  defineReceiver,
  z,
  type Access,
  type Ingested,
  type Receiver,
  type ReceiverHost,
  type RouteAccess,
  type RouteHandler,
} from "tailgate/plugin";
import type { GrpcServer } from "./otlp-receiver/grpc-server.ts";
import {
  addCorsHeaders,
  answerPreflight,
  corsOption,
  CorsOrigins,
  isBeacon,
} from "./otlp-receiver/cors.ts";
import {
  BodyBudget,
  readBody,
  releaseMemory,
  withBody,
  type BodyLimits,
} from "./otlp-receiver/request-body.ts";
import {
  chargeSender,
  checkNotEnded,
  JSON_TYPE,
  PROTOBUF,
  RequestRejection,
  sendRejection,
  sendSuccess,
  sendUnchanged,
  stoppingRejection,
  toRejection,
  type OtlpMediaType,
} from "./otlp-receiver/response.ts";
import { FORWARD_ACCESS, INGEST_SCOPES } from "./otlp-receiver/scopes.ts";
import {
  ABORTED,
  InFlightRequests,
  listen,
  OtlpRequestMetrics,
  type OtlpProtocol,
} from "./otlp-receiver/server.ts";
import {
  collectorReason,
  OtherSignals,
  SIGNAL_PATHS,
  signalNotes,
  signalOptions,
  targetsOf,
  type SignalName,
} from "./otlp-receiver/signals.ts";

/** Not imported: the ES module would load the classes of `fetch` as well at every start. */
const { createServer } = process.getBuiltinModule("node:http");

const PATH = "/v1/logs";

const PATHS = [PATH, ...SIGNAL_PATHS.keys()];

const NOT_FOUND = `Not found. Send logs to ${PATH}.`;

const DEFAULT_PORT = 4318;
const DEFAULT_GRPC_PORT = 4317;

/** The Collector's default batches of 8192 records exceed 4 MiB, the usual limit of gRPC. */
const BODY_BYTES_MAX = 20 << 20;
const GRPC_BODY_BYTES_MAX = 4 << 20;

/** The response to a discarded request is that to an empty one. */
const NOTHING_TO_REPORT: Ingested = { accepted: 0, rejected: 0, reason: "" };

/** Limits for slow-request attacks. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Longer than the pause between two requests of a batching exporter, so that it does not find its connection closed. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;

const options = z.strictObject({
  port: z
    .int()
    .min(0)
    .max(65_535)
    .nullable()
    .default(DEFAULT_PORT)
    .describe("Port for OTLP/HTTP; 0 picks a free one, null accepts logs on the main port only."),
  grpc_port: z
    .int()
    .min(0)
    .max(65_535)
    .nullable()
    .optional()
    .describe(
      "Port for OTLP/gRPC; 0 picks a free one, null disables it. Default: 4317 if `port` is 4318, else disabled.",
    ),
  ...signalOptions,
  cors_origins: corsOption,
  max_body_bytes: z
    .int()
    .min(1)
    .default(BODY_BYTES_MAX)
    .describe(
      "Maximum size of a request body on the wire, in bytes; a larger one is answered with 413.",
    ),
  grpc_max_body_bytes: z
    .int()
    .min(1)
    .optional()
    .describe(
      "Maximum size of a gRPC message, in bytes; a larger one is answered with INVALID_ARGUMENT. Default: 4194304 if `max_body_bytes` has its default, else the same as that.",
    ),
  max_inflated_bytes: z
    .int()
    .min(1)
    .default(20 << 20)
    .describe(
      "Maximum size of a body after decompression, in bytes; a larger one is answered with 413, over gRPC with INVALID_ARGUMENT.",
    ),
  max_in_flight_bytes: z
    .int()
    .min(1)
    .default(64 << 20)
    .describe(
      "Maximum memory of all bodies while they are read, in bytes; beyond it requests are answered with 503, over gRPC with UNAVAILABLE.",
    ),
});

type OtlpReceiverOptions = z.output<typeof options>;

export default defineReceiver({
  name: "otlp",
  description:
    "Receives logs over OTLP/HTTP (protobuf and JSON) and OTLP/gRPC, compressed or not. Forwards or discards traces and metrics.",
  options,
  plan: (given) => ({
    ports: { port: given.port ?? 0, grpc_port: resolveGrpcPort(given) ?? 0 },
    paths: PATHS,
    targets: targetsOf(given),
    notes: signalNotes(given),
  }),
  async open(given, host) {
    const receiver = new OtlpReceiver(given, host);
    await receiver.open(given);
    return receiver;
  },
});

class OtlpReceiver implements Receiver {
  readonly #host: ReceiverHost;
  readonly #limits: BodyLimits;
  readonly #budget: BodyBudget;
  readonly #metrics: OtlpRequestMetrics;
  readonly #inFlight = new InFlightRequests();
  readonly #signals: OtherSignals;
  readonly #cors: CorsOrigins;
  #server: Server | SecureServer | undefined;
  #grpc: GrpcServer | undefined;

  constructor(given: OtlpReceiverOptions, host: ReceiverHost) {
    this.#host = host;
    this.#limits = {
      bodyBytesMax: given.max_body_bytes,
      inflatedBytesMax: given.max_inflated_bytes,
    };
    this.#budget = new BodyBudget(given.max_in_flight_bytes);
    this.#metrics = new OtlpRequestMetrics(host);
    this.#signals = new OtherSignals(given, host);
    this.#cors = new CorsOrigins(given.cors_origins, `receivers.${host.id}.cors_origins`);
  }

  /** @throws TailgateError PORT_IN_USE or LISTEN_FAILED */
  async open(given: OtlpReceiverOptions): Promise<void> {
    for (const path of PATHS) {
      this.#serve("*", path, accessTo(path));
      this.#serve("OPTIONS", path, "public");
    }
    if (given.port !== null) await this.#openHttp(given.port);
    await this.#openGrpc(resolveGrpcPort(given), grpcLimits(given));
  }

  /** Serves a path on the main port. */
  #serve(method: string, path: string, access: RouteAccess): void {
    const handler: RouteHandler = (request, response) => this.#handle(path, request, response);
    this.#host.http.route(method, path, handler, {
      refuse: (request, response, refusal) =>
        this.#reject(request, response, RequestRejection.of(refusal)),
      access,
      crossOrigin: this.#cors,
    });
  }

  async #openHttp(port: number): Promise<void> {
    const { bindHost: host, log, tls } = this.#host;
    this.#server = this.#createServer();
    this.#server.on("request", (request, response) => this.#handleOnOwnPort(request, response));
    this.#server.on("checkContinue", (request, response) =>
      this.#handleOnOwnPort(request, response, true),
    );
    this.#host.http.protect(this.#server);
    const server = "the OTLP receiver";
    const remedy = "set --otlp-port, or receivers.otlp.port in the configuration, to another port";
    const url = await listen(this.#server, { port, host, tls, server, remedy });
    this.#server.on("error", (error) => log.error("The OTLP/HTTP server failed.", error));
    this.#host.listening(`${url}${PATH} (OTLP/HTTP)`);
  }

  #createServer(): Server | SecureServer {
    const { tls } = this.#host;
    const limits = {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      // `refusalOf` checks it and reports the rejection.
      requireHostHeader: false,
    };
    if (tls === undefined) return createServer(limits);
    const { createServer: createSecureServer } = process.getBuiltinModule("node:https");
    const server = createSecureServer({ ...limits, ...tls.options });
    tls.attach(server);
    return server;
  }

  async #openGrpc(port: number | null, limits: BodyLimits): Promise<void> {
    if (port === null) return;
    // Loads node:http2, which a gateway without gRPC does not need.
    const { GrpcServer } = await import("./otlp-receiver/grpc-server.ts");
    const grpc = new GrpcServer(this.#host, {
      limits,
      budget: this.#budget,
      metrics: this.#metrics,
      signals: this.#signals,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
    });
    try {
      await grpc.open(port);
    } catch (error) {
      this.#server?.close();
      throw error;
    }
    this.#grpc = grpc;
  }

  /** `isWaiting`: the client sends its body only after a `100 Continue` (RFC 9110, section 10.1.1). */
  #handleOnOwnPort(request: IncomingMessage, response: ServerResponse, isWaiting = false): void {
    const path = parsePath(request.url!);
    // Preflight requests have no credentials.
    const access = request.method === "OPTIONS" ? "public" : accessTo(path);
    const refused = this.#host.http.refusalOf(request, access, this.#cors);
    // After a malformed request, or one that may come without its body, the start of the next one is unknown.
    if (refused?.status === 400 || (refused && isWaiting))
      response.setHeader("Connection", "close");
    else if (isWaiting) response.writeContinue();
    if (refused) this.#reject(request, response, RequestRejection.of(refused));
    else if (PATHS.includes(path)) void this.#handle(path, request, response);
    else this.#reject(request, response, new RequestRejection(404, NOT_FOUND));
  }

  #reject(
    request: IncomingMessage,
    response: ServerResponse,
    rejection: RequestRejection,
    startedAtMs = performance.now(),
  ): void {
    // Drains the body: see `withBody`.
    request.resume();
    const { status, message: reason } = rejection;
    const type = readMediaType(request);
    this.#admitPage(request, response);
    sendRejection(response, rejection, type);
    this.#metrics.add(toProtocol(type), String(status), startedAtMs);
    this.#host.http.rejected(request, { protocol: "http", status, reason });
  }

  async #handle(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isPage = this.#admitPage(request, response);
    if (isPage && answerPreflight(request, response)) return;
    const type = isPage && isBeacon(request) ? JSON_TYPE : readMediaType(request);
    const startedAtMs = performance.now();
    const access = this.#host.http.accessOf(request);
    this.#inFlight.begin();
    try {
      if (request.method !== "POST") throw new RequestRejection(405, `${path} requires POST.`);
      if (type === undefined) {
        const text = `The Content-Type must be ${PROTOBUF} or ${JSON_TYPE}.`;
        throw new RequestRejection(415, text);
      }
      if (this.#inFlight.isDraining) throw stoppingRejection();
      const { http } = this.#host;
      chargeSender(http, request, 0);
      const signal = SIGNAL_PATHS.get(path);
      if (signal !== undefined) {
        return await this.#handleOther(signal, type, request, response);
      }
      const body = await readBody(request, this.#limits, this.#budget);
      checkNotEnded(access);
      chargeSender(http, request, body.length);
      const ingested = await this.#ingest(body, type, access);
      this.#metrics.report(ingested, {
        address: request.socket.remoteAddress,
        userAgent: request.headers["user-agent"],
      });
      sendSuccess(response, type, ingested);
      this.#metrics.add(toProtocol(type), "200", startedAtMs);
    } catch (error) {
      if (request.destroyed && !request.complete) {
        // The client disconnected.
        return this.#metrics.add(toProtocol(type), ABORTED, startedAtMs);
      }
      const rejection = toRejection(error, this.#host.log, access);
      this.#reject(request, response, rejection, startedAtMs);
    } finally {
      this.#inFlight.end();
    }
  }

  /** Lets a page in `cors_origins` read the response; returns whether the request is that of such a page. */
  #admitPage({ headers: { origin } }: IncomingMessage, response: ServerResponse): boolean {
    if (origin === undefined || !this.#cors.allows(origin)) return false;
    addCorsHeaders(response, origin);
    return true;
  }

  /** Forwards or discards traces or metrics. */
  async #handleOther(
    signal: SignalName,
    type: OtlpMediaType,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { http } = this.#host;
    this.#signals.checkAccepted(signal, 404);
    const limits = { bytesMax: this.#limits.bodyBytesMax, budget: this.#budget };
    await withBody(request, limits, async (body) => {
      checkNotEnded(http.accessOf(request));
      chargeSender(http, request, body.length);
      const { "content-type": given = type, "content-encoding": coding } = request.headers;
      const headers = {
        "content-type": readMediaType(request) === undefined ? type : given,
        ...(coding !== undefined && { "content-encoding": coding }),
      };
      const reply = await this.#signals.handle(signal, { sender: request, body, headers });
      if (reply === undefined) sendSuccess(response, type, NOTHING_TO_REPORT);
      else sendUnchanged(response, reply);
      const { statusCode: status } = response;
      this.#metrics.add(toProtocol(type), String(status));
      if (reply === undefined || status < 400) return;
      const reason = collectorReason(signal, reply);
      http.rejected(request, { protocol: "http", status, reason });
    });
  }

  async #ingest(body: Uint8Array, type: OtlpMediaType, access: Access): Promise<Ingested> {
    const { intake } = this.#host;
    if (type === PROTOBUF) return intake.otlpProtobuf(body, access);
    const ingested = await intake.otlpJson(body, access);
    releaseMemory(body);
    return ingested;
  }

  /** Stops accepting connections, and waits for the requests in flight until the signal aborts. */
  async close(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#closeHttp(signal), this.#grpc?.close(signal)]);
  }

  async #closeHttp(signal: AbortSignal): Promise<void> {
    this.#server?.close();
    signal.addEventListener("abort", () => this.#signals.stop(), { once: true });
    await this.#inFlight.drain(signal);
    this.#server?.closeIdleConnections();
    if (signal.aborted) this.#server?.closeAllConnections();
  }
}

/** Returns who may send to a path. Only senders learn that a path does not exist. */
function accessTo(path: string): RouteAccess {
  return SIGNAL_PATHS.has(path) ? FORWARD_ACCESS : INGEST_SCOPES;
}

function toProtocol(type: OtlpMediaType | undefined): OtlpProtocol {
  if (type === undefined) return "unknown";
  return type === PROTOBUF ? "http/protobuf" : "http/json";
}

function grpcLimits(given: OtlpReceiverOptions): BodyLimits {
  const { max_body_bytes: httpMax, max_inflated_bytes: inflatedBytesMax } = given;
  const defaultMax = httpMax === BODY_BYTES_MAX ? GRPC_BODY_BYTES_MAX : httpMax;
  return { bodyBytesMax: given.grpc_max_body_bytes ?? defaultMax, inflatedBytesMax };
}

/** Returns the port for gRPC, or null if it is disabled. */
function resolveGrpcPort({ port, grpc_port: grpcPort }: OtlpReceiverOptions): number | null {
  if (grpcPort !== undefined) return grpcPort;
  return port === DEFAULT_PORT ? DEFAULT_GRPC_PORT : null;
}

/** Returns the path of a request target, which may be an absolute URL (RFC 9112, section 3.2.2). */
function parsePath(target: string): string {
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?#]*/i, "");
  return path.split("?", 1)[0]!;
}

function readMediaType(request: IncomingMessage): OtlpMediaType | undefined {
  const type = request.headers["content-type"]?.split(";", 1)[0]!.trim().toLowerCase();
  return type === PROTOBUF || type === JSON_TYPE ? type : undefined;
}
