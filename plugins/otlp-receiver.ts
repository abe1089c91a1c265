/** Takes logs over OTLP/HTTP, protobuf and JSON, on a port of its own and on the main port. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIPv6, type AddressInfo } from "node:net";
import {
  defineReceiver,
  TailgateError,
  textOf,
  z,
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
import { Refusal } from "./otlp-receiver/refusal.ts";
import { BodyBudget, readBody, type BodyLimits } from "./otlp-receiver/request-body.ts";

const PATH = "/v1/logs";

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
    .default(4318)
    .describe("Port of its own; 0 picks a free one, null takes logs on the main port only."),
  max_body_bytes: z
    .int()
    .min(1)
    .default(4 << 20)
    .describe("Size of a request's body as it is sent, in bytes; larger ones are answered 413."),
  max_inflated_bytes: z
    .int()
    .min(1)
    .default(20 << 20)
    .describe("Size of a gzipped body after unpacking, in bytes; larger ones are answered 413."),
  max_in_flight_bytes: z
    .int()
    .min(1)
    .default(64 << 20)
    .describe("What all bodies may hold together while they are read; more is answered 503."),
});

export default defineReceiver({
  name: "otlp",
  description: "Takes logs over OTLP/HTTP, protobuf and JSON, gzipped or not.",
  options,
  async open(given, host) {
    const receiver = new OtlpReceiver(given, host);
    await receiver.open(given.port);
    return receiver;
  },
});

class OtlpReceiver implements Receiver {
  readonly #host: ReceiverHost;
  readonly #limits: BodyLimits;
  readonly #budget: BodyBudget;
  #server: Server | undefined;
  #inFlight = 0;
  /** Resolved when nothing is in flight any more, once it is being closed. */
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(given: z.output<typeof options>, host: ReceiverHost) {
    this.#host = host;
    this.#limits = {
      bodyBytesMax: given.max_body_bytes,
      inflatedBytesMax: given.max_inflated_bytes,
    };
    this.#budget = new BodyBudget(given.max_in_flight_bytes);
  }

  /** @throws TailgateError PORT_IN_USE or LISTEN_FAILED */
  async open(port: number | null): Promise<void> {
    const { http, bindHost } = this.#host;
    http.route(
      "*",
      PATH,
      (request, response) => this.#handle(request, response),
      (request, response, { status, text }) =>
        this.#refuse(request, response, new Refusal(status, text)),
    );
    if (port === null) return;
    this.#server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      },
      (request, response) => void this.#handleOnOwnPort(request, response),
    );
    await listening(this.#server, port, bindHost);
    this.#server.on("error", (error) => this.#host.log.error("The OTLP port has trouble.", error));
    const address = this.#server.address() as AddressInfo;
    const name = isIPv6(bindHost) ? `[${bindHost}]` : bindHost;
    this.#host.listening(`http://${name}:${address.port}${PATH} (OTLP/HTTP)`);
  }

  async #handleOnOwnPort(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refused = this.#host.http.refusal(request);
    const path = request.url?.split("?", 1)[0];
    if (refused !== undefined) this.#refuse(request, response, new Refusal(403, refused));
    else if (path !== PATH) this.#refuse(request, response, new Refusal(404, notFound(path)));
    else await this.#handle(request, response);
  }

  #refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
    request.resume();
    answerRefusal(response, typeOf(request), refusal);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const type = typeOf(request);
    this.#inFlight++;
    try {
      if (request.method !== "POST") throw new Refusal(405, `${PATH} takes POST.`);
      if (type === undefined)
        throw new Refusal(415, `The Content-Type is ${PROTOBUF} or ${JSON_TYPE}.`);
      if (this.#idle !== undefined) throw new Refusal(503, "The gateway is stopping.");
      const body = await readBody(request, this.#limits, this.#budget);
      const { intake } = this.#host;
      const ingested = await (type === JSON_TYPE
        ? intake.otlpJson(body)
        : intake.otlpProtobuf(body));
      answerSuccess(response, type, ingested);
    } catch (error) {
      request.resume();
      // A sender that went away waits for no answer.
      if (!request.destroyed || request.complete)
        answerRefusal(response, type, this.#refusalOf(error));
    } finally {
      if (--this.#inFlight === 0) this.#idle?.resolve();
    }
  }

  /** Only what is bad for good is answered with 400: after it clients drop the batch. */
  #refusalOf(error: unknown): Refusal {
    if (error instanceof Refusal) return error;
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return new Refusal(400, error.message);
    if (TailgateError.is(error, "STOPPED")) return new Refusal(503, error.message);
    if (TailgateError.is(error, "OVERLOADED")) return new Refusal(429, error.message);
    this.#host.log.error("A request failed.", error);
    return new Refusal(503, `The request failed: ${textOf(error)}`);
  }

  /** Takes no more connections, and waits for what is in flight until the signal aborts. */
  async close(signal: AbortSignal): Promise<void> {
    this.#idle = Promise.withResolvers();
    if (this.#inFlight === 0 || signal.aborted) this.#idle.resolve();
    signal.addEventListener("abort", () => this.#idle?.resolve(), { once: true });
    this.#server?.close();
    await this.#idle.promise;
    // Answers that were ended just now are still on their way.
    await new Promise(setImmediate);
    this.#server?.closeIdleConnections();
    if (signal.aborted) this.#server?.closeAllConnections();
  }
}

function typeOf(request: IncomingMessage): OtlpType | undefined {
  const type = request.headers["content-type"]?.split(";", 1)[0]!.trim().toLowerCase();
  return type === PROTOBUF || type === JSON_TYPE ? type : undefined;
}

function notFound(path: string | undefined): string {
  const isOtherSignal = path === "/v1/traces" || path === "/v1/metrics";
  return isOtherSignal
    ? `Tailgate takes logs: set the endpoint of ${path.slice(4)} to another collector, or leave it out.`
    : `There is nothing at this path; logs are taken at ${PATH}.`;
}

async function listening(server: Server, port: number, host: string): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (error) {
    throw listenError(error, port, host);
  }
}

function listenError(error: unknown, port: number, host: string): TailgateError {
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const text = `Port ${port} of the OTLP receiver is in use on ${host}: --otlp-port, or receivers.otlp.port in the configuration.`;
    return new TailgateError("PORT_IN_USE", text, { cause: error });
  }
  const text = `The OTLP receiver cannot listen on ${host}:${port}: ${textOf(error)}.`;
  return new TailgateError("LISTEN_FAILED", text, { cause: error });
}
