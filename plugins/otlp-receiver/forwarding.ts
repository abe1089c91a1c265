import { requestUrl, textOf, withPath, withSignals, type RequestUrl } from "tailgate/plugin";
import { RequestRejection } from "./response.ts";

/** Less than the 10 seconds after which SDKs abort a request. */
const RESPONSE_TIMEOUT_MS = 9000;

const RESPONSE_BYTES_MAX = 1 << 20;

/** The headers of a collector's response that senders get. */
const RESPONSE_HEADERS = ["content-type", "retry-after"];

export interface CollectorResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Forwards the requests of one signal to a collector over OTLP/HTTP, unchanged. */
export class Collector {
  readonly #target: RequestUrl;
  readonly #stop = new AbortController();

  /** `base`: the collector's base URL. `path`: that of the signal. */
  constructor(base: string, path: string) {
    this.#target = requestUrl(withPath(base, path));
  }

  /** @throws RequestRejection 503 if the collector does not respond. */
  send(body: Uint8Array, headers: Readonly<Record<string, string>>): Promise<CollectorResponse> {
    return withSignals(
      [this.#stop.signal],
      (abort) => this.#exchange(body, headers, abort),
      RESPONSE_TIMEOUT_MS,
    );
  }

  async #exchange(
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<CollectorResponse> {
    const { url, name, authorization } = this.#target;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { ...headers, ...(authorization !== undefined && { authorization }) },
        body: new Uint8Array(body),
        redirect: "manual",
        signal,
      });
      const content = await readBounded(response);
      return { status: response.status, headers: pickHeaders(response), body: content };
    } catch (error) {
      const cause = (error as Error).cause ?? error;
      throw new RequestRejection(503, `The collector at ${name} did not respond: ${textOf(cause)}`);
    }
  }

  /** Aborts the requests that wait for a response. */
  stop(): void {
    this.#stop.abort();
  }
}

function pickHeaders({ headers }: Response): Record<string, string> {
  return Object.fromEntries(
    RESPONSE_HEADERS.flatMap((name) => {
      const value = headers.get(name);
      return value === null ? [] : [[name, value]];
    }),
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
