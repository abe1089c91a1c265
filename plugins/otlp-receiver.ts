/** Takes logs over OTLP/HTTP, protobuf and JSON, on a port of its own and on the main port, and over OTLP/gRPC. */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import {
  defineReceiver,
  z,
  type Ingested,
  type Receiver,
  type ReceiverHost,
} from "tailgate/plugin";
import {
  answerRefusal,
  answerSuccess,
  JSON_TYPE,
  PROTOBUF,
  type OtlpType,
} from "./otlp-receiver/answer.ts";
import type { GrpcServer } from "./otlp-receiver/grpc-server.ts";
import { InFlight } from "./otlp-receiver/in-flight.ts";
import { listen } from "./otlp-receiver/listening.ts";
import { giveBack } from "./otlp-receiver/own-memory.ts";
import { OTHER_SIGNALS, PassOn } from "./otlp-receiver/pass-on.ts";
import { Refusal, refusalOf, stopping } from "./otlp-receiver/refusal.ts";
import { BodyBudget, readBody, type BodyLimits } from "./otlp-receiver/request-body.ts";
import { ABORTED, RequestCounts, type OtlpProtocol } from "./otlp-receiver/request-counts.ts";
import { SenderNotes } from "./otlp-receiver/sender-notes.ts";

/** Not imported: as an ES module it would load the classes of `fetch`, too, at every start. */
const { createServer } = process.getBuiltinModule("node:http");

const PATH = "/v1/logs";

const NOT_FOUND = `There is nothing at this path; logs are taken at ${PATH}.`;

const DEFAULT_PORT = 4318;
const DEFAULT_GRPC_PORT = 4317;

/** The default batches of the OpenTelemetry Collector, 8192 records, are larger than the 4 MiB that are usual over gRPC. */
const BODY_BYTES_MAX = 20 << 20;
const GRPC_BODY_BYTES_MAX = 4 << 20;

/** Against slow requests (reliability.md, threats). */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Longer than the pause between two requests of a batching exporter, which would else find the connection closed. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;

const options = z.strictObject({
  port: z
    .int()
    .min(0)
    .max(65_535)
    .nullable()
    .default(DEFAULT_PORT)
    .describe("Port of its own; 0 picks a free one, null takes logs on the main port only."),
  grpc_port: z
    .int()
    .min(0)
    .max(65_535)
    .nullable()
    .optional()
    .describe(
      "Port for OTLP/gRPC; 0 picks a free one, null switches it off. Default: 4317 while `port` is 4318, else off.",
    ),
  pass_on_to: z
    .url({
      protocol: /^https?$/,
      error: "expected an http or https URL such as http://127.0.0.1:14318",
    })
    .nullable()
    .default(null)
    .describe(
      "Base URL of the collector that gets the traces and metrics that arrive over HTTP, unchanged; without it they are answered 404.",
    ),
  max_body_bytes: z
    .int()
    .min(1)
    .default(BODY_BYTES_MAX)
    .describe("Size of a request's body as it is sent, in bytes; larger ones are answered 413."),
  grpc_max_body_bytes: z
    .int()
    .min(1)
    .optional()
    .describe(
      "The same for a message over gRPC; larger ones are answered INVALID_ARGUMENT. Default: 4194304 while `max_body_bytes` has its default, else as much as that.",
    ),
  max_inflated_bytes: z
    .int()
    .min(1)
    .default(20 << 20)
    .describe(
      "Size of a compressed body after decompression, in bytes; larger ones are answered 413, over gRPC INVALID_ARGUMENT.",
    ),
  max_in_flight_bytes: z
    .int()
    .min(1)
    .default(64 << 20)
    .describe(
      "What all bodies may hold together while they are read; more is answered 503, over gRPC UNAVAILABLE.",
    ),
});

type Options = z.output<typeof options>;

export default defineReceiver({
  name: "otlp",
  description: "Takes logs over OTLP/HTTP, protobuf and JSON, and OTLP/gRPC, compressed or not.",
  options,
  plan: (given) => ({
    ports: { port: given.port ?? 0, grpc_port: grpcPortOf(given) ?? 0 },
    paths: [PATH, ...OTHER_SIGNALS.keys()],
    targets: given.pass_on_to === null ? [] : [given.pass_on_to],
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
  readonly #notes: SenderNotes;
  readonly #counts: RequestCounts;
  readonly #inFlight = new InFlight();
  readonly #passOn: PassOn;
  #server: Server | undefined;
  #grpc: GrpcServer | undefined;

  constructor(given: Options, host: ReceiverHost) {
    this.#host = host;
    this.#limits = {
      bodyBytesMax: given.max_body_bytes,
      inflatedBytesMax: given.max_inflated_bytes,
    };
    this.#budget = new BodyBudget(given.max_in_flight_bytes);
    this.#notes = new SenderNotes(host);
    this.#counts = new RequestCounts(host);
    const passing = {
      to: given.pass_on_to,
      bodyBytesMax: given.max_body_bytes,
      budget: this.#budget,
    };
    this.#passOn = new PassOn(passing, host);
    if (given.pass_on_to !== null) host.sendingTo(given.pass_on_to);
  }

  /** @throws TailgateError PORT_IN_USE or LISTEN_FAILED */
  async open(given: Options): Promise<void> {
    for (const path of [PATH, ...OTHER_SIGNALS.keys()]) {
      this.#host.http.route(
        "*",
        path,
        (request, response) => this.#handle(path, request, response),
        (request, response, { status, text }) =>
          this.#refuse(request, response, new Refusal(status, text)),
      );
    }
    if (given.port !== null) await this.#openHttp(given.port);
    await this.#openGrpc(grpcPortOf(given), grpcLimits(given));
  }

  async #openHttp(port: number): Promise<void> {
    const { bindHost: host, log } = this.#host;
    this.#server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
        // `refusalOf` does so, where it is seen.
        requireHostHeader: false,
      },
      (request, response) => this.#handleOnOwnPort(request, response),
    );
    this.#host.http.protect(this.#server);
    const what = "the OTLP receiver";
    const mend = "--otlp-port, or receivers.otlp.port in the configuration";
    const url = await listen(this.#server, { port, host, what, mend });
    this.#server.on("error", (error) => log.error("The OTLP port has trouble.", error));
    this.#host.listening(`${url}${PATH} (OTLP/HTTP)`);
  }

  async #openGrpc(port: number | null, limits: BodyLimits): Promise<void> {
    if (port === null) return;
    // With node:http2, for which a start without gRPC need not wait.
    const { GrpcServer } = await import("./otlp-receiver/grpc-server.ts");
    const grpc = new GrpcServer(this.#host, {
      limits,
      counts: this.#counts,
      budget: this.#budget,
      notes: this.#notes,
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

  #handleOnOwnPort(request: IncomingMessage, response: ServerResponse): void {
    const refused = this.#host.http.refusalOf(request);
    const path = pathOf(request.url!);
    // Nobody knows where the next request begins.
    if (refused?.status === 400) response.setHeader("Connection", "close");
    if (refused) this.#refuse(request, response, new Refusal(refused.status, refused.text));
    else if (path === PATH || OTHER_SIGNALS.has(path)) void this.#handle(path, request, response);
    else this.#refuse(request, response, new Refusal(404, NOT_FOUND));
  }

  #refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
    request.resume();
    this.#answerRefusal(request, response, refusal, performance.now());
  }

  #answerRefusal(
    request: IncomingMessage,
    response: ServerResponse,
    refusal: Refusal,
    startedAtMs: number,
  ): void {
    const { status, message: reason } = refusal;
    const type = typeOf(request);
    answerRefusal(response, refusal, type);
    this.#counts.add(protocolOf(type), String(status), startedAtMs);
    this.#host.http.rejected(request, { protocol: "http", status, reason });
  }

  async #handle(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const type = typeOf(request);
    const startedAtMs = performance.now();
    this.#inFlight.begin();
    try {
      if (request.method !== "POST") throw new Refusal(405, `${path} takes POST.`);
      if (type === undefined)
        throw new Refusal(415, `The Content-Type is ${PROTOBUF} or ${JSON_TYPE}.`);
      if (this.#inFlight.isEnding) throw stopping();
      if (path !== PATH) return await this.#passOn.handle(path, request, response);
      const body = await readBody(request, this.#limits, this.#budget);
      const ingested = await this.#ingest(body, type);
      this.#notes.add(ingested, {
        address: request.socket.remoteAddress,
        userAgent: request.headers["user-agent"],
      });
      answerSuccess(response, type, ingested);
      this.#counts.add(protocolOf(type), "200", startedAtMs);
    } catch (error) {
      request.resume();
      // A sender that went away waits for no answer.
      if (request.destroyed && !request.complete)
        return this.#counts.add(protocolOf(type), ABORTED, startedAtMs);
      const refusal = refusalOf(error, this.#host.log);
      this.#answerRefusal(request, response, refusal, startedAtMs);
    } finally {
      this.#inFlight.end();
    }
  }

  async #ingest(body: Uint8Array, type: OtlpType): Promise<Ingested> {
    const { intake } = this.#host;
    if (type === PROTOBUF) return intake.otlpProtobuf(body);
    const ingested = await intake.otlpJson(body);
    giveBack(body);
    return ingested;
  }

  /** Takes no more connections, and waits for what is in flight until the signal aborts. */
  async close(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#closeHttp(signal), this.#grpc?.close(signal)]);
  }

  async #closeHttp(signal: AbortSignal): Promise<void> {
    this.#server?.close();
    signal.addEventListener("abort", () => this.#passOn.stop(), { once: true });
    await this.#inFlight.ended(signal);
    this.#server?.closeIdleConnections();
    if (signal.aborted) this.#server?.closeAllConnections();
  }
}

function protocolOf(type: OtlpType | undefined): OtlpProtocol {
  if (type === undefined) return "unknown";
  return type === PROTOBUF ? "http/protobuf" : "http/json";
}

function grpcLimits(given: Options): BodyLimits {
  const { max_body_bytes: httpMax, max_inflated_bytes: inflatedBytesMax } = given;
  const usual = httpMax === BODY_BYTES_MAX ? GRPC_BODY_BYTES_MAX : httpMax;
  return { bodyBytesMax: given.grpc_max_body_bytes ?? usual, inflatedBytesMax };
}

/** The port for gRPC; null for none. */
function grpcPortOf({ port, grpc_port: grpcPort }: Options): number | null {
  if (grpcPort !== undefined) return grpcPort;
  return port === DEFAULT_PORT ? DEFAULT_GRPC_PORT : null;
}

/** Also of a target that names its host, such as `http://localhost:4318/v1/logs` (RFC 9112, 3.2.2). */
function pathOf(target: string): string {
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?#]*/i, "");
  return path.split("?", 1)[0]!;
}

function typeOf(request: IncomingMessage): OtlpType | undefined {
  const type = request.headers["content-type"]?.split(";", 1)[0]!.trim().toLowerCase();
  return type === PROTOBUF || type === JSON_TYPE ? type : undefined;
}
