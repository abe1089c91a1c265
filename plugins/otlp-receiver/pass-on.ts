import type { IncomingMessage, ServerResponse } from "node:http";
import {
  requestUrl,
  textOf,
  withPath,
  withSignals,
  type ReceiverHost,
  type RequestUrl,
} from "tailgate/plugin";
import { Refusal } from "./refusal.ts";
import { withBody, type BodyBudget } from "./request-body.ts";

/** Where the other signals arrive, and what they are called. */
export const OTHER_SIGNALS: ReadonlyMap<string, string> = new Map([
  ["/v1/traces", "traces"],
  ["/v1/metrics", "metrics"],
]);

/** Below the time after which SDKs give up a request themselves. */
const ANSWER_TIMEOUT_MS = 9000;

const ANSWER_BYTES_MAX = 1 << 20;

export interface PassOnOptions {
  /** The collector's base URL; null where there is none. */
  readonly to: string | null;
  readonly bodyBytesMax: number;
  readonly budget: BodyBudget;
}

/** Passes traces and metrics on to a collector, unchanged, and its answers back. */
export class PassOn {
  readonly #options: PassOnOptions;
  readonly #host: ReceiverHost;
  readonly #count: (count: number, labels: Record<string, string>) => void;
  readonly #stop = new AbortController();

  constructor(options: PassOnOptions, host: ReceiverHost) {
    this.#options = options;
    this.#host = host;
    this.#count = host.metrics.counter(
      "requests_passed_on",
      "Requests with traces or metrics, by signal and by the status of the answer.",
    );
  }

  /** @throws Refusal 404, 413 or 503 */
  async handle(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const signal = OTHER_SIGNALS.get(path)!;
    const { to, bodyBytesMax, budget } = this.#options;
    if (to === null) throw missing(signal);
    try {
      const target = requestUrl(withPath(to, path));
      await withBody(request, { bytesMax: bodyBytesMax, budget }, (body) =>
        withSignals(
          [this.#stop.signal],
          (ending) => this.#exchange(target, request, { body, signal: ending }, response),
          ANSWER_TIMEOUT_MS,
        ),
      );
      const { statusCode: status } = response;
      this.#count(1, { signal, status: String(status) });
      if (status < 400) return;
      const reason = `The collector that gets ${signal} answered ${status}.`;
      this.#host.http.rejected(request, { protocol: "http", status, reason });
    } catch (error) {
      const status = error instanceof Refusal ? error.status : "failed";
      this.#count(1, { signal, status: String(status) });
      throw error;
    }
  }

  /** Gives up what waits for the collector. */
  stop(): void {
    this.#stop.abort();
  }

  async #exchange(
    { url, name, authorization }: RequestUrl,
    request: IncomingMessage,
    { body, signal }: { body: Buffer; signal: AbortSignal },
    response: ServerResponse,
  ): Promise<void> {
    try {
      const headers = {
        ...picked(["content-type", "content-encoding"], (header) => request.headers[header]),
        ...(authorization !== undefined && { authorization }),
      };
      const answer = await fetch(url, {
        method: "POST",
        headers,
        body: new Uint8Array(body),
        redirect: "manual",
        signal,
      });
      const text = await boundedBody(answer);
      response.writeHead(answer.status, {
        ...picked(["content-type", "retry-after"], (header) => answer.headers.get(header)),
        "content-length": text.length,
        "x-content-type-options": "nosniff",
      });
      response.end(text);
    } catch (error) {
      const cause = (error as Error).cause ?? error;
      throw new Refusal(503, `The collector at ${name} gives no answer: ${textOf(cause)}`);
    }
  }
}

function missing(signal: string): Refusal {
  return new Refusal(
    404,
    `Tailgate takes logs: set receivers.otlp.pass_on_to to the collector for ${signal}, or switch the sender's ${signal} off.`,
  );
}

function picked(
  names: readonly string[],
  valueOf: (name: string) => string | string[] | null | undefined,
): Record<string, string> {
  const entries = names.map((name) => [name, valueOf(name)] as const);
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

async function boundedBody(answer: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`more than ${ANSWER_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
