import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";

export interface Answer {
  readonly body: Buffer;
  /** The cursor of the next page; undefined at the end. */
  readonly cursor: string | undefined;
}

/** Asks over connections that are kept. */
export class HttpClient {
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });

  constructor(port: number) {
    this.#port = port;
  }

  /** @throws Error for a status other than 2xx. */
  ask(
    path: string,
    {
      method = "GET",
      headers = {},
      body,
    }: { method?: string; headers?: object; body?: Buffer } = {},
  ): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const options = {
      host: "127.0.0.1",
      port: this.#port,
      agent: this.#agent,
      path,
      method,
      headers: { ...headers, ...(body && { "content-length": body.length }) },
    };
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const whole = Buffer.concat(chunks);
        if (Math.floor(response.statusCode! / 100) !== 2) {
          reject(new Error(`${path}: ${response.statusCode} ${whole.toString().slice(0, 500)}`));
        } else {
          const cursor = response.headers["x-next-cursor"] as string | undefined;
          resolve({ body: whole, cursor });
        }
      });
    });
    sent.on("error", reject);
    sent.end(body);
    return promise;
  }

  /** Yields the body of a response while it arrives. */
  async *stream(path: string): AsyncGenerator<Buffer> {
    const sent = request({ host: "127.0.0.1", port: this.#port, agent: this.#agent, path }).end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    yield* response as AsyncIterable<Buffer>;
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** What /api/counts answers, as far as it is read here. */
interface CountsPage {
  readonly levels: readonly number[];
  readonly facets: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly next_cursor: string | null;
}

/** The last line of a stream of records. */
interface StreamEnd {
  readonly gaps: readonly unknown[];
  readonly next_cursor: string | null;
}

/** Asks a gateway the way the dashboard does: with cursors, until a page is full or the journal is searched. */
export class GatewayQueries {
  readonly #client: HttpClient;

  constructor(client: HttpClient) {
    this.#client = client;
  }

  /** Returns the number of records found, at most `limit`, the newest first. */
  async newest(q: string, limit = 100): Promise<number> {
    let found = 0;
    for (let cursor: string | undefined = ""; cursor !== undefined && found < limit;) {
      const parameters = new URLSearchParams({
        q,
        format: "ndjson",
        limit: `${limit - found}`,
        cursor,
      });
      const answer = await this.#client.ask(`/api/logs?${parameters}`);
      found += countLines(answer.body);
      ({ cursor } = answer);
    }
    return found;
  }

  /** Returns how many records match, and how many values the facets have. */
  async counts(
    parameters: Readonly<Record<string, string>>,
  ): Promise<{ matches: number; values: number }> {
    let matches = 0;
    const values = new Set<string>();
    for (let cursor: string | null = ""; cursor !== null;) {
      const search = new URLSearchParams({ ...parameters, cursor });
      const { body } = await this.#client.ask(`/api/counts?${search}`);
      const page = JSON.parse(body.toString()) as CountsPage;
      matches += page.levels.reduce((sum, count) => sum + count, 0);
      for (const [facet, counts] of Object.entries(page.facets)) {
        for (const value of Object.keys(counts)) values.add(`${facet}:${value}`);
      }
      cursor = page.next_cursor;
    }
    return { matches, values: values.size };
  }

  /** Yields all records as whole lines of JSON, the oldest first. */
  async *lines(): AsyncGenerator<Buffer> {
    let rest = Buffer.alloc(0);
    for await (const chunk of this.#client.stream("/api/logs?order=asc&format=ndjson&limit=all")) {
      const bytes = Buffer.concat([rest, chunk]);
      const end = bytes.lastIndexOf(LINE_FEED) + 1;
      // The last line is not a record.
      const start = bytes.lastIndexOf(LINE_FEED, end - 2) + 1;
      rest = bytes.subarray(start);
      yield bytes.subarray(0, start);
    }
    const { gaps, next_cursor } = JSON.parse(rest.toString()) as StreamEnd;
    if (gaps.length > 0 || next_cursor !== null) throw new Error("records are missing");
  }
}

const LINE_FEED = 10;

function countLines(body: Buffer): number {
  let count = 0;
  for (let at = body.indexOf(LINE_FEED); at >= 0; at = body.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}
