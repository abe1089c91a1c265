import { Agent, request, type IncomingHttpHeaders } from "node:http";
import { EVENT_KEY } from "../../../src/envelope/event-key.ts";
import { ownEnvelopes, withoutTime } from "../fuzzed-intake.ts";
import { GatewayProcess } from "../gateway-process.ts";
import type { Random } from "../random.ts";
import type { FuzzTarget } from "../target.ts";
import { historyQuery } from "./cursor.ts";
import { gzipInput, unpackedByZlib } from "./gzip.ts";
import { otlpJsonInput } from "./otlp-json.ts";
import { otlpProtobufInput } from "./otlp-protobuf.ts";

const CONCURRENCY = 8;

/** The receiver's default. */
const BODY_BYTES_MAX = 20 << 20;

const JSON_TYPE = "application/json";
const PROTOBUF = "application/x-protobuf";

/**
 * Requests to a gateway in its own process: OTLP as protobuf and JSON, gzipped or not, and reads. No response is a 5xx, a
 * request is accepted if the decoder accepts it, and accepted records can be read back unaltered.
 */
export async function http(): Promise<FuzzTarget> {
  const gateway = await GatewayProcess.start();
  const client = new Client(gateway);
  await client.read("/api/logs");
  await gateway.warm();
  return {
    input,
    concurrency: CONCURRENCY,
    check: (bytes) => client.check(bytes),
    settle: async () => {
      await client.readBack();
      await gateway.settle();
    },
    close: async () => {
      client.close();
      await gateway.stop();
    },
  };
}

/** An input contains the request line and headers as JSON, then the body. */
interface Head {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

const PATHS = [
  ...["/api/stats", "/metrics", "/healthz", "/readyz", "/", "/ws/logs", "/api/logs/", "/api/%00"],
  ...["/api/logs?", "/v1/logs", "/v1/traces", "/../etc/passwd", "//", "/index.html", "/api/fields"],
];
const METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE"];
const TYPES = ["text/plain", "application/json; charset=utf-8", "", "APPLICATION/JSON", "a/b;;;"];
const ENCODINGS = ["identity", "x-gzip", "GZIP", "deflate", "br", "gzip, gzip", ""];

function input(random: Random): Uint8Array {
  switch (random.below(8)) {
    case 0:
    case 1:
      return joined(post({ "content-type": PROTOBUF }), otlpProtobufInput(random));
    case 2:
    case 3:
      return joined(post({ "content-type": JSON_TYPE }), otlpJsonInput(random));
    case 4: {
      const type = random.pick([PROTOBUF, JSON_TYPE]);
      return joined(post({ "content-type": type, "content-encoding": "gzip" }), gzipInput(random));
    }
    case 5: {
      const headers = {
        "content-type": random.pick(TYPES),
        "content-encoding": random.pick(ENCODINGS),
      };
      return joined(
        { ...post(headers), method: random.pick(METHODS) },
        random.bytes(random.below(99)),
      );
    }
    case 6: {
      const path = random.pick([
        "/api/logs",
        "/api/logs",
        "/api/counts",
        "/api/fields",
        "/api/patterns",
      ]);
      return joined(get(`${path}?${withoutWait(historyQuery(random))}`));
    }
    default:
      return joined({ ...get(random.pick(PATHS)), method: random.pick(METHODS) });
  }
}

function post(headers: Head["headers"]): Head {
  return { method: "POST", path: "/v1/logs", headers };
}

function get(path: string): Head {
  return { method: "GET", path, headers: {} };
}

/** Long polls would keep other requests waiting. */
function withoutWait(search: string): string {
  const query = new URLSearchParams(search);
  query.delete("wait");
  return query.toString();
}

function joined(head: Head, body: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), body]);
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const ANSWER_MS_MAX = 45_000;

const PAGE_RECORDS = 1000;

class Client {
  readonly #gateway: GatewayProcess;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY });
  /** Accepted envelopes that were not read back yet, without their times. */
  readonly #expected = new Set<string>();
  #cursor: string | undefined;

  constructor(gateway: GatewayProcess) {
    this.#gateway = gateway;
  }

  async check(bytes: Uint8Array): Promise<void> {
    const end = bytes.indexOf(0x0a);
    const head = JSON.parse(Buffer.from(bytes.subarray(0, end)).toString()) as Head;
    const body = bytes.subarray(end + 1);
    const answer = await this.#send(head, body);
    if (answer.status >= 500 && head.method !== "TRACE") throw this.#unexpected(head, answer);
    const isOtlp = head.method === "POST" && head.path === "/v1/logs";
    const type = head.headers["content-type"];
    if (isOtlp && (type === PROTOBUF || type === JSON_TYPE))
      await this.#checkOtlp(head, body, answer);
    if (head.path.startsWith("/api/") && answer.headers["content-type"]?.startsWith(JSON_TYPE)) {
      if (answer.body.length > 0) JSON.parse(answer.body.toString());
    }
  }

  async #checkOtlp(head: Head, body: Uint8Array, answer: Answer): Promise<void> {
    const content = contentOf(head, body);
    const form = head.headers["content-type"] === PROTOBUF ? "protobuf" : "json";
    const envelopes = content && (await ownEnvelopes(form, content));
    if ((answer.status === 200) !== (envelopes !== undefined)) throw this.#unexpected(head, answer);
    // An event with an idempotency key is stored once.
    for (const envelope of envelopes ?? []) {
      if (!envelope.includes(EVENT_KEY)) this.#expected.add(withoutTime(envelope));
    }
  }

  #unexpected({ method, path, headers }: Head, { status, body }: Answer): Error {
    const text = body.toString().slice(0, 300);
    return new Error(`${method} ${path} ${JSON.stringify(headers)} got ${status}: ${text}`);
  }

  /** @throws Error if an accepted envelope is missing or altered. */
  async readBack(): Promise<void> {
    for (;;) {
      const query = new URLSearchParams({
        order: "asc",
        limit: String(PAGE_RECORDS),
        format: "ndjson",
        wait: "0",
      });
      if (this.#cursor !== undefined) query.set("cursor", this.#cursor);
      const { headers, body } = await this.read(`/api/logs?${query}`);
      const lines = body.toString().split("\n").slice(0, -1);
      for (const line of lines) {
        JSON.parse(line);
        this.#expected.delete(withoutTime(line.replace(/^\{"sequence":\d+,/, "{")));
      }
      this.#cursor = (headers["x-next-cursor"] as string | undefined) ?? this.#cursor;
      if (lines.length === 0) break;
    }
    const missing = [...this.#expected];
    this.#expected.clear();
    if (missing.length === 0) return;
    throw new Error(
      `${missing.length} envelopes are not as they were sent, such as ${missing[0]!.slice(0, 300)}`,
    );
  }

  async read(path: string): Promise<Answer> {
    const answer = await this.#send(get(path), Buffer.alloc(0));
    if (answer.status !== 200) throw this.#unexpected(get(path), answer);
    return answer;
  }

  #send({ method, path, headers }: Head, body: Uint8Array): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const { port } = this.#gateway;
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const all = { ...headers, ...(body.length > 0 && { "content-length": String(body.length) }) };
    const sent = request(
      { agent: this.#agent, host: "127.0.0.1", port, method, path, headers: all, signal },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const { statusCode: status = 0, headers: received } = response;
          resolve({ status, headers: received, body: Buffer.concat(chunks) });
        });
      },
    );
    sent.on("error", (cause) =>
      reject(new Error(`${method} ${path} ${JSON.stringify(headers)} got no response.`, { cause })),
    );
    sent.end(body);
    return promise;
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Returns undefined for a body that is too large or not gzip. */
function contentOf({ headers }: Head, body: Uint8Array): Uint8Array | undefined {
  if (body.length > BODY_BYTES_MAX) return undefined;
  if (headers["content-encoding"] !== "gzip") return body;
  return unpackedByZlib(body);
}
