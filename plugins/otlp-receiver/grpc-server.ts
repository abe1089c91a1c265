import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { setImmediate } from "node:timers";
import { quotedExcerpt, type AddressedRequest, type ReceiverHost } from "tailgate/plugin";
import { contentCoding, GRPC_CODINGS, type ContentCoding } from "./content-coding.ts";
import { GrpcCall } from "./grpc-call.ts";
import { readMessage } from "./grpc-message.ts";
import { timeoutMsOf } from "./grpc-timeout.ts";
import { InFlight } from "./in-flight.ts";
import { listen } from "./listening.ts";
import { Refusal, refusalOf, stopping } from "./refusal.ts";
import type { BodyBudget, BodyLimits } from "./request-body.ts";
import type { RequestCounts } from "./request-counts.ts";
import type { SenderNotes } from "./sender-notes.ts";

const METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const CONTENT_TYPE = /^application\/grpc(?:\+proto)?\s*(?:;|$)/i;

/** Longer than the pause between two calls of a batching exporter. Clients connect again without an error. */
const IDLE_TIMEOUT_MS = 65_000;

/** nghttp2's own code, which Node passes on. */
const NGHTTP2_ERR_PROTO = -505;

/** What a client may have under way at once; its next calls wait on its side. */
const STREAMS_MAX = 100;

export interface GrpcServerOptions {
  readonly limits: BodyLimits;
  /** Shared with HTTP. */
  readonly budget: BodyBudget;
  readonly notes: SenderNotes;
  readonly counts: RequestCounts;
  /** How long a message may take to arrive, in ms. */
  readonly requestTimeoutMs: number;
}

/** OTLP/gRPC: the one unary method that exports logs, over HTTP/2 without TLS. */
export class GrpcServer {
  readonly #host: ReceiverHost;
  readonly #options: GrpcServerOptions;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #calls = new Set<GrpcCall>();
  readonly #inFlight = new InFlight();

  constructor(host: ReceiverHost, options: GrpcServerOptions) {
    this.#host = host;
    this.#options = options;
    this.#server = createServer({ settings: { maxConcurrentStreams: STREAMS_MAX } });
    this.#server.on("session", (session) => this.#keep(session));
    this.#server.on("stream", (stream, headers) => void this.#take(stream, headers));
  }

  /** @throws TailgateError PORT_IN_USE or LISTEN_FAILED */
  async open(port: number): Promise<void> {
    const { bindHost: host, log } = this.#host;
    this.#host.http.protect(this.#server);
    const what = "the OTLP receiver (gRPC)";
    const mend =
      "receivers.otlp.grpc_port in the configuration chooses another, or null for none; a --otlp-port other than 4318 switches it off too";
    const url = await listen(this.#server, { port, host, what, mend });
    this.#server.on("error", (error) => log.error("The OTLP/gRPC port has trouble.", error));
    this.#host.listening(`${url} (OTLP/gRPC)`);
  }

  #keep(session: ServerHttp2Session): void {
    if (this.#inFlight.isEnding) return session.destroy();
    this.#sessions.add(session);
    session.on("close", () => this.#sessions.delete(session));
    this.#watch(session);
    session.setTimeout(IDLE_TIMEOUT_MS, () => session.close());
  }

  /** Tells of a client that speaks something else than HTTP/2. */
  #watch(session: ServerHttp2Session): void {
    const sender = { headers: {}, socket: { remoteAddress: session.socket.remoteAddress } };
    let hasSettings = false;
    session.once("remoteSettings", () => (hasSettings = true));
    session.on("error", ({ code, errno, message }: NodeJS.ErrnoException) => {
      // A connection that broke is nobody's fault.
      if (code !== "ERR_HTTP2_ERROR" && code !== "ERR_HTTP2_SESSION_ERROR") return;
      // Go says goodbye with a number that nghttp2 does not accept.
      if (hasSettings && errno === NGHTTP2_ERR_PROTO) return;
      const reason = `The client does not speak HTTP/2 as gRPC does: ${message}.`;
      const rejection = { protocol: "grpc", status: "protocol_error", reason } as const;
      this.#host.http.rejected(sender, rejection);
    });
  }

  async #take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    // Said to nobody: a stream breaks because its sender went away.
    stream.on("error", () => {});
    const startedAtMs = performance.now();
    const { counts } = this.#options;
    const sender = senderOf(stream, headers);
    const call = new GrpcCall(stream, (status, reason) => {
      counts.add("grpc", status, startedAtMs);
      if (reason !== undefined)
        this.#host.http.rejected(sender, { protocol: "grpc", status, reason });
    });
    if (headers[":method"] !== "POST") return call.refuseAsHttp(405, "gRPC takes POST.");
    if (!CONTENT_TYPE.test(headers["content-type"] ?? "")) {
      return call.refuseAsHttp(
        415,
        "The content type is application/grpc or application/grpc+proto.",
      );
    }
    this.#inFlight.begin();
    this.#calls.add(call);
    try {
      await this.#export(call, stream, { headers, sender });
    } catch (error) {
      // A sender that went away waits for no answer, and is no failure.
      if (stream.aborted || stream.destroyed) call.giveUp();
      else call.refuse(refusalOf(error, this.#host.log));
    } finally {
      this.#calls.delete(call);
      this.#inFlight.end();
    }
  }

  async #export(
    call: GrpcCall,
    stream: ServerHttp2Stream,
    { headers, sender }: { headers: IncomingHttpHeaders; sender: AddressedRequest },
  ): Promise<void> {
    const { limits, budget, requestTimeoutMs } = this.#options;
    this.#checkAddress(sender, headers);
    const coding = codingOf(headers["grpc-encoding"] as string | undefined);
    const timeoutMs = timeoutMsOf(headers["grpc-timeout"] as string | undefined);
    if (this.#inFlight.isEnding) throw stopping();
    const arrival = setTimeout(() => call.refuse(late(requestTimeoutMs)), requestTimeoutMs);
    const deadline =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => call.refuse(late(timeoutMs)), timeoutMs);
    try {
      const message = await readMessage(stream, coding, limits, budget);
      clearTimeout(arrival);
      const ingested = await this.#host.intake.otlpProtobuf(message);
      this.#options.notes.add(ingested, {
        address: stream.session?.socket.remoteAddress,
        userAgent: headers["user-agent"],
      });
      call.succeed(ingested);
    } finally {
      clearTimeout(arrival);
      clearTimeout(deadline);
    }
  }

  /** @throws Refusal 400, 403 or 501 */
  #checkAddress(sender: AddressedRequest, { host, ...headers }: IncomingHttpHeaders): void {
    const { host: authority } = sender.headers;
    if (host !== undefined && host.toLowerCase() !== authority?.toLowerCase()) {
      throw new Refusal(400, "The Host header contradicts the authority.");
    }
    const refused = this.#host.http.refusalOf(sender);
    if (refused !== undefined) throw new Refusal(refused.status, refused.text);
    const path = headers[":path"];
    if (path !== METHOD) {
      throw new Refusal(501, `Tailgate takes logs, at ${METHOD}; ${path} is not there.`);
    }
  }

  /** Takes no more calls, and waits for what is in flight until the signal aborts. */
  async close(signal: AbortSignal): Promise<void> {
    this.#server.close();
    // Node's server does so itself from 24 on.
    for (const session of this.#sessions) session.close();
    await this.#inFlight.ended(signal);
    for (const call of this.#calls) call.refuse(stopping());
    if (this.#calls.size > 0) await new Promise(setImmediate);
    for (const session of this.#sessions) if (signal.aborted) session.destroy();
  }
}

/** The call as a request that is addressed to the gateway. */
function senderOf(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): AddressedRequest {
  const { localPort, remoteAddress } = stream.session?.socket ?? {};
  return {
    method: headers[":method"],
    url: headers[":path"],
    headers: {
      host: headers[":authority"] ?? headers.host,
      origin: headers.origin,
      "sec-fetch-site": headers["sec-fetch-site"],
      "user-agent": headers["user-agent"],
    },
    socket: { localPort, remoteAddress },
  };
}

/** @throws Refusal 501 */
function codingOf(name = "identity"): ContentCoding | undefined {
  if (name === "identity") return undefined;
  const coding = GRPC_CODINGS.includes(name) ? contentCoding(name) : undefined;
  if (coding !== undefined) return coding;
  const text = `grpc-encoding ${quotedExcerpt(name)} is not taken; use ${GRPC_CODINGS.join(" or ")}.`;
  throw new Refusal(501, text);
}

function late(afterMs: number): Refusal {
  return new Refusal(504, `The call took longer than ${afterMs} ms.`);
}
