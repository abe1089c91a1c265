import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { setImmediate } from "node:timers";
import type { X509Certificate } from "node:crypto";
import type { AddressedRequest, HostTls, ReceiverHost } from "tailgate/plugin";
import {
  GrpcCall,
  parseGrpcTimeout,
  readGrpcCoding,
  readMessage,
  withMessage,
  type GrpcMessage,
} from "./grpc-call.ts";
import type { BodyBudget, BodyLimits } from "./request-body.ts";
import {
  chargeSender,
  checkNotEnded,
  exportResponse,
  PROTOBUF,
  RequestRejection,
  stoppingRejection,
  toRejection,
} from "./response.ts";
import { FORWARD_ACCESS, INGEST_SCOPES } from "./scopes.ts";
import { InFlightRequests, listen, type OtlpRequestMetrics } from "./server.ts";
import { SIGNAL_METHODS, toGrpcRejection, type OtherSignals, type SignalName } from "./signals.ts";

const METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const METHODS = [METHOD, ...SIGNAL_METHODS.keys()];

const CONTENT_TYPE = /^application\/grpc(?:\+proto)?\s*(?:;|$)/i;

/** Longer than the pause between two calls of a batching exporter. After it clients reconnect without an error. */
const IDLE_TIMEOUT_MS = 65_000;

/** nghttp2's error code, which Node reports as `errno`. */
const NGHTTP2_ERR_PROTO = -505;
/** The client's first bytes are not HTTP/2's: TLS or HTTP/1. */
const NGHTTP2_ERR_BAD_CLIENT_MAGIC = -903;

/** Concurrent calls of one connection; the client queues the others. */
const STREAMS_MAX = 100;

/** What a call needs to know of its request. */
interface CallRequest {
  readonly headers: IncomingHttpHeaders;
  readonly sender: AddressedRequest;
  /** Undefined for logs, and for an unknown method. */
  readonly signal: SignalName | undefined;
}

export interface GrpcServerOptions {
  readonly limits: BodyLimits;
  /** Shared with HTTP. */
  readonly budget: BodyBudget;
  /** Shared with HTTP. */
  readonly metrics: OtlpRequestMetrics;
  /** Shared with HTTP. */
  readonly signals: OtherSignals;
  /** How long a message may take to arrive. */
  readonly requestTimeoutMs: number;
}

/** OTLP/gRPC: the unary methods that export logs, traces and metrics, over HTTP/2. */
export class GrpcServer {
  readonly #host: ReceiverHost;
  readonly #options: GrpcServerOptions;
  readonly #server: Http2Server | Http2SecureServer;
  /** With what requests need of the socket: that of a session cannot be used after its end. */
  readonly #sessions = new Map<ServerHttp2Session, AddressedRequest["socket"]>();
  readonly #calls = new Set<GrpcCall>();
  readonly #inFlight = new InFlightRequests();

  constructor(host: ReceiverHost, options: GrpcServerOptions) {
    this.#host = host;
    this.#options = options;
    this.#server = createHttp2Server(host.tls);
    this.#server.on("session", (session) => this.#addSession(session));
    this.#server.on(
      "stream",
      (
        stream: ServerHttp2Stream,
        headers: IncomingHttpHeaders,
        _flags: number,
        rawHeaders: string[],
      ) => {
        void this.#handle(stream, headers, rawHeaders);
      },
    );
  }

  /** @throws TailgateError PORT_IN_USE or LISTEN_FAILED */
  async open(port: number): Promise<void> {
    const { bindHost: host, log, tls } = this.#host;
    this.#host.http.protect(this.#server);
    const server = "the OTLP receiver (gRPC)";
    const remedy =
      "set receivers.otlp.grpc_port in the configuration to another port, or to null to disable gRPC; a --otlp-port other than 4318 disables it too";
    const url = await listen(this.#server, { port, host, tls, server, remedy });
    this.#server.on("error", (error) => log.error("The OTLP/gRPC server failed.", error));
    this.#host.listening(`${url} (OTLP/gRPC)`);
  }

  #addSession(session: ServerHttp2Session): void {
    if (this.#inFlight.isDraining) return session.destroy();
    this.#sessions.set(session, socketOf(session));
    session.on("close", () => this.#sessions.delete(session));
    this.#reportProtocolErrors(session);
    session.setTimeout(IDLE_TIMEOUT_MS, () => session.close());
  }

  #reportProtocolErrors(session: ServerHttp2Session): void {
    const sender = { headers: {}, socket: { remoteAddress: session.socket.remoteAddress } };
    let hasSettings = false;
    session.once("remoteSettings", () => (hasSettings = true));
    session.on("error", ({ code, errno, message }: NodeJS.ErrnoException) => {
      // A broken connection is no protocol error.
      if (code !== "ERR_HTTP2_ERROR" && code !== "ERR_HTTP2_SESSION_ERROR") return;
      // Go's GOAWAY has a number that nghttp2 does not accept.
      if (hasSettings && errno === NGHTTP2_ERR_PROTO) return;
      const reason =
        errno === NGHTTP2_ERR_BAD_CLIENT_MAGIC
          ? "The client speaks TLS or HTTP/1, and this port accepts gRPC without TLS: its endpoint must begin with http://, and its protocol be grpc."
          : `The client does not speak HTTP/2 as gRPC requires: ${message}.`;
      const rejection = { protocol: "grpc", status: "protocol_error", reason } as const;
      this.#host.http.rejected(sender, rejection);
    });
  }

  async #handle(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ): Promise<void> {
    // A stream errors only if its client disconnects.
    stream.on("error", () => {});
    const startedAtMs = performance.now();
    const { metrics } = this.#options;
    const socket = this.#sessions.get(stream.session as ServerHttp2Session);
    const sender = toAddressedRequest(socket ?? {}, headers, rawHeaders);
    const signal = SIGNAL_METHODS.get(headers[":path"]!);
    const call = new GrpcCall(stream, (status, reason) => {
      metrics.add("grpc", status, signal === undefined ? startedAtMs : undefined);
      if (reason !== undefined)
        this.#host.http.rejected(sender, { protocol: "grpc", status, reason });
    });
    if (headers[":method"] !== "POST") return call.rejectAsHttp(405, "gRPC requires POST.");
    if (!CONTENT_TYPE.test(headers["content-type"] ?? "")) {
      return call.rejectAsHttp(
        415,
        "The content type must be application/grpc or application/grpc+proto.",
      );
    }
    this.#inFlight.begin();
    this.#calls.add(call);
    try {
      await this.#export(call, stream, { headers, sender, signal });
    } catch (error) {
      if (stream.aborted || stream.destroyed) call.abort();
      else call.reject(toRejection(error, this.#host.log, this.#host.http.accessOf(sender)));
    } finally {
      this.#calls.delete(call);
      this.#inFlight.end();
    }
  }

  async #export(call: GrpcCall, stream: ServerHttp2Stream, request: CallRequest): Promise<void> {
    const { headers, sender, signal } = request;
    const { limits, budget, signals, requestTimeoutMs } = this.#options;
    this.#checkAddress(request);
    if (signal !== undefined) signals.checkAccepted(signal, 501);
    const coding = readGrpcCoding(headers["grpc-encoding"] as string | undefined);
    const timeoutMs = parseGrpcTimeout(headers["grpc-timeout"] as string | undefined);
    if (this.#inFlight.isDraining) throw stoppingRejection();
    chargeSender(this.#host.http, sender, 0);
    const arrival = setTimeout(() => call.reject(timedOut(requestTimeoutMs)), requestTimeoutMs);
    const deadline =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => call.reject(timedOut(timeoutMs)), timeoutMs);
    try {
      if (signal === undefined) {
        const message = await readMessage(stream, coding, limits, budget);
        clearTimeout(arrival);
        call.succeed(await this.#ingest(message, stream, request));
        return;
      }
      const options = { coding, bytesMax: limits.bodyBytesMax, budget };
      await withMessage(stream, options, async (message) => {
        clearTimeout(arrival);
        call.succeed(await this.#handleOther(signal, message, sender));
      });
    } finally {
      clearTimeout(arrival);
      clearTimeout(deadline);
    }
  }

  async #ingest(
    message: Uint8Array,
    stream: ServerHttp2Stream,
    { headers, sender }: CallRequest,
  ): Promise<Buffer> {
    const { http, intake } = this.#host;
    const access = http.accessOf(sender);
    checkNotEnded(access);
    chargeSender(http, sender, message.length);
    const ingested = await intake.otlpProtobuf(message, access);
    this.#options.metrics.report(ingested, {
      address: stream.session?.socket.remoteAddress,
      userAgent: headers["user-agent"],
    });
    return exportResponse(ingested);
  }

  /** Forwards or discards traces or metrics; returns the response's message. */
  async #handleOther(
    signal: SignalName,
    { content: body, coding }: GrpcMessage,
    sender: AddressedRequest,
  ): Promise<Uint8Array> {
    const { http } = this.#host;
    checkNotEnded(http.accessOf(sender));
    chargeSender(http, sender, body.length);
    const headers = {
      "content-type": PROTOBUF,
      ...(coding !== undefined && { "content-encoding": coding.name }),
    };
    const response = await this.#options.signals.handle(signal, { sender, body, headers });
    if (response === undefined) return new Uint8Array();
    if (response.status >= 300) throw toGrpcRejection(signal, response);
    // Anything else is not the response's message.
    return response.headers["content-type"] === PROTOBUF ? response.body : new Uint8Array();
  }

  /** @throws RequestRejection 400, 403 or 501 */
  #checkAddress({ sender, signal, headers: { host, ":path": path } }: CallRequest): void {
    const { host: authority } = sender.headers;
    if (host !== undefined && host.toLowerCase() !== authority?.toLowerCase()) {
      throw new RequestRejection(400, "The Host header contradicts :authority.");
    }
    const access = signal === undefined ? INGEST_SCOPES : FORWARD_ACCESS;
    const refused = this.#host.http.refusalOf(sender, access);
    if (refused !== undefined) throw RequestRejection.of(refused);
    if (signal !== undefined || path === METHOD) return;
    throw new RequestRejection(501, `Tailgate implements only ${METHODS.join(", ")}, not ${path}.`);
  }

  /** Stops accepting calls, and waits for those in flight until the signal aborts. */
  async close(signal: AbortSignal): Promise<void> {
    this.#server.close();
    // From Node 24 on, the server does this itself.
    for (const session of this.#sessions.keys()) session.close();
    await this.#inFlight.drain(signal);
    for (const call of this.#calls) call.reject(stoppingRejection());
    if (this.#calls.size > 0) await new Promise(setImmediate);
    for (const session of this.#sessions.keys()) if (signal.aborted) session.destroy();
  }
}

function createHttp2Server(tls: HostTls | undefined): Http2Server | Http2SecureServer {
  const settings = { maxConcurrentStreams: STREAMS_MAX };
  if (tls === undefined) return createServer({ settings });
  const server = createSecureServer({ settings, ...tls.options });
  tls.attach(server);
  return server;
}

/** Returns what the gateway checks of a call: its address and its sender. */
function toAddressedRequest(
  socket: AddressedRequest["socket"],
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
): AddressedRequest {
  return {
    method: headers[":method"],
    url: headers[":path"],
    headers: { ...headers, host: headers[":authority"] ?? headers.host },
    rawHeaders,
    socket,
  };
}

function socketOf({ socket }: ServerHttp2Session): AddressedRequest["socket"] {
  const { localAddress, localPort, remoteAddress } = socket;
  if (!("encrypted" in socket)) return { localAddress, localPort, remoteAddress };
  const { authorized } = socket;
  const getPeerX509Certificate = (): X509Certificate | undefined => socket.getPeerX509Certificate();
  return { localAddress, localPort, remoteAddress, authorized, getPeerX509Certificate };
}

function timedOut(afterMs: number): RequestRejection {
  return new RequestRejection(504, `The call timed out after ${afterMs} ms.`);
}
