import type { IncomingMessage, ServerResponse } from "node:http";
import {
  requestUrl,
  textOf,
  withPath,
  withSignals,
  type ReceiverHost,
  type RequestUrl,
} from "tailgate/plugin";
import { withBody, type BodyBudget } from "./request-body.ts";
import { chargeSender, checkNotEnded, RequestRejection } from "./response.ts";

/** The paths of the signals other than logs. */
export const FORWARDED_SIGNALS: ReadonlyMap<string, string> = new Map([
  ["/v1/traces", "traces"],
  ["/v1/metrics", "metrics"],
]);

/** Less than the 10 seconds after which SDKs abort a request. */
const RESPONSE_TIMEOUT_MS = 9000;

const RESPONSE_BYTES_MAX = 1 << 20;

export interface ForwardingOptions {
  /** The collector's base URL; null disables forwarding. */
  readonly to: string | null;
  readonly bodyBytesMax: number;
  readonly budget: BodyBudget;
}

/** Forwards traces and metrics to a collector, and its responses to the senders, all unchanged. */
export class SignalForwarder {
  readonly #options: ForwardingOptions;
  readonly #host: ReceiverHost;
  readonly #count: (count: number, labels: Record<string, string>) => void;
  readonly #stop = new AbortController();

  constructor(options: ForwardingOptions, host: ReceiverHost) {
    this.#options = options;
    this.#host = host;
    this.#count = host.metrics.counter(
      "requests_passed_on",
      "Requests with traces or metrics that were forwarded, by signal and response status.",
    );
    if (options.to === null) return;
    for (const signal of FORWARDED_SIGNALS.values()) this.#count(0, { signal, status: "200" });
  }

  /** @throws RequestRejection 401, 404, 413, 429 or 503 */
  async handle(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const signal = FORWARDED_SIGNALS.get(path)!;
    const { to, bodyBytesMax, budget } = this.#options;
    if (to === null) throw notForwarded(signal);
    try {
      const target = requestUrl(withPath(to, path));
      await withBody(request, { bytesMax: bodyBytesMax, budget }, (body) => {
        checkNotEnded(this.#host.http.accessOf(request));
        chargeSender(this.#host.http, request, body.length);
        return withSignals(
          [this.#stop.signal],
          (abort) => this.#exchange(target, request, { body, abort }, response),
          RESPONSE_TIMEOUT_MS,
        );
      });
      const { statusCode: status } = response;
      this.#count(1, { signal, status: String(status) });
      if (status < 400) return;
      const reason = `The collector for ${signal} responded with ${status}.`;
      this.#host.http.rejected(request, { protocol: "http", status, reason });
    } catch (error) {
      const status = error instanceof RequestRejection ? error.status : "failed";
      this.#count(1, { signal, status: String(status) });
      throw error;
    }
  }

  /** Aborts the requests that wait for the collector. */
  stop(): void {
    this.#stop.abort();
  }

  async #exchange(
    { url, name, authorization }: RequestUrl,
    request: IncomingMessage,
    { body, abort }: { body: Buffer; abort: AbortSignal },
    response: ServerResponse,
  ): Promise<void> {
    try {
      const headers = {
        ...pickHeaders(["content-type", "content-encoding"], (header) => request.headers[header]),
        ...(authorization !== undefined && { authorization }),
      };
      const reply = await fetch(url, {
        method: "POST",
        headers,
        body: new Uint8Array(body),
        redirect: "manual",
        signal: abort,
      });
      const content = await readBounded(reply);
      response.writeHead(reply.status, {
        ...pickHeaders(["content-type", "retry-after"], (header) => reply.headers.get(header)),
        "content-length": content.length,
        "x-content-type-options": "nosniff",
      });
      response.end(content);
    } catch (error) {
      const cause = (error as Error).cause ?? error;
      throw new RequestRejection(503, `The collector at ${name} did not respond: ${textOf(cause)}`);
    }
  }
}

function notForwarded(signal: string): RequestRejection {
  return new RequestRejection(
    404,
    `Tailgate accepts logs only. Set receivers.otlp.pass_on_to to forward ${signal} to a collector, or disable ${signal} in the sender.`,
  );
}

function pickHeaders(
  names: readonly string[],
  read: (name: string) => string | string[] | null | undefined,
): Record<string, string> {
  const entries = names.map((name) => [name, read(name)] as const);
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

async function readBounded(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > RESPONSE_BYTES_MAX) throw new Error(`more than ${RESPONSE_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
