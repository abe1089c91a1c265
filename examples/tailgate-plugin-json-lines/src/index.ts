import {
  defineExporter,
  ENVELOPE_TYPES,
  PermanentError,
  RetryLaterError,
  z,
  type Batch,
  type Exporter,
} from "tailgate/plugin";

const options = z.object({
  url: z.url().describe("Where to post to."),
  authorization: z.string().optional().describe("Value of the Authorization header."),
  type: z.enum(ENVELOPE_TYPES).optional().describe("The only type to post; both by default."),
});

type JsonLinesOptions = z.output<typeof options>;

export default defineExporter({
  name: "json-lines",
  description: "Posts records as JSON lines to a URL.",
  options,
  plan: ({ url }) => ({ targets: [url] }),
  open(given, host) {
    host.sendingTo(given.url);
    return new JsonLines(given);
  },
});

class JsonLines implements Exporter {
  readonly type: JsonLinesOptions["type"];
  readonly #url: string;
  readonly #headers: Headers;
  /** The sequence number of the newest record that the server has confirmed. */
  #confirmed = 0;

  constructor({ url, authorization, type }: JsonLinesOptions) {
    this.type = type;
    this.#url = url;
    this.#headers = new Headers({ "Content-Type": "application/x-ndjson" });
    if (authorization !== undefined) this.#headers.set("Authorization", authorization);
  }

  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    if (batch.sequence(0) <= this.#confirmed) return;
    const response = await fetch(this.#url, {
      method: "POST",
      headers: this.#headers,
      body: linesOf(batch),
      signal,
    });
    await response.arrayBuffer();
    checkStatus(response);
    this.#confirmed = batch.sequence(batch.length - 1);
  }
}

function linesOf(batch: Batch): Buffer<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (let index = 0; index < batch.length; index++) parts.push(batch.bytes(index), LINE_FEED);
  return Buffer.concat(parts);
}

const LINE_FEED = Buffer.from("\n");

function checkStatus({ ok, status, headers }: Response): void {
  if (ok) return;
  const message = `The server answered ${status}.`;
  if (status === 400 || status === 413) throw new PermanentError(message);
  const seconds = Number(headers.get("Retry-After"));
  if (seconds > 0) throw new RetryLaterError(message, 1000 * seconds);
  throw new Error(message);
}
