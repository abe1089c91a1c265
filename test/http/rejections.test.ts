/** Rejected requests are counted and logged with their sender, on each port of a gateway. */

import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect, type AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { resolveConfig } from "tailgate";
import { startTailgate, type RunningTailgate } from "tailgate";
import { Workspace } from "../harness/workspace.ts";
import { ask, handshake, sendRaw, HttpHarness } from "../harness/http-server.ts";

const PROTOBUF = "application/x-protobuf";
const METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

let workspace: Workspace;
let gateway: RunningTailgate;
let otlp: string;
let grpc: string;
const lines: string[] = [];

beforeAll(async () => {
  workspace = await Workspace.create({
    "tailgate.yaml": `{ port: 0, log_dir: logs, journal: { engine: memory }, exporters: { websocket: {} },
      trusted_proxies: [127.0.0.1],
      receivers: { otlp: { port: 0, grpc_port: 0, max_body_bytes: 1000, metrics: reject } } }`,
  });
  const config = await resolveConfig({ env: {}, flags: {}, cwd: workspace.directory });
  gateway = await startTailgate(config, { write: (line) => void lines.push(line) });
  const urls = gateway.listeners.map((line) => line.split(" ", 1)[0]!);
  otlp = new URL(urls[1]!).origin;
  grpc = new URL(urls[2]!).origin;
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

/** Returns the samples by name and labels. */
async function scrape(): Promise<Map<string, number>> {
  const { body } = await ask(`${gateway.url}/metrics`);
  const samples = body.split("\n").map((line) => /^(\S+) (\S+)$/.exec(line.replaceAll('" ', '"')));
  return new Map(
    samples.filter((match) => match !== null).map(([, name, value]) => [name!, Number(value)]),
  );
}

function rejected(protocol: string, status: number | string): string {
  return `tailgate_requests_rejected_total{protocol="${protocol}",status="${status}"}`;
}

let senders = 0;

/** Returns a unique user agent, because equal lines are written once per minute. */
function nextAgent(): string {
  return `sender/${++senders}`;
}

/** Returns the lines logged about a sender, without the time and the logger. */
function linesAbout(agent: string): string[] {
  return lines
    .filter((line) => line.includes(JSON.stringify(agent)))
    .map((line) => line.replace(/^.*? - tailgate\.http - WARNING - /, ""));
}

/** Runs a call that must be rejected once, and returns the line about it. */
async function lineOf(
  protocol: string,
  status: number | string,
  send: (agent: string) => Promise<unknown>,
): Promise<string> {
  const name = rejected(protocol, status);
  const before = (await scrape()).get(name);
  const agent = nextAgent();
  await send(agent);
  await vi.waitFor(() => expect(linesAbout(agent)).toHaveLength(1));
  expect([name, (await scrape()).get(name)]).toEqual([name, before! + 1]);
  const [line = ""] = linesAbout(agent);
  expect(line).toContain(` from 127.0.0.1, user agent ${JSON.stringify(agent)}.`);
  return line;
}

function post(
  url: string,
  headers: Record<string, string>,
  body: Uint8Array = Buffer.alloc(0),
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const all = { "Content-Type": PROTOBUF, ...headers };
  const request = httpRequest(url, { method: "POST", headers: all, agent: false }, (response) => {
    response.resume().on("end", () => resolve(response.statusCode!));
  });
  request.on("error", reject);
  request.end(body);
  return promise;
}

it("logs the client of a trusted proxy", async () => {
  const agent = nextAgent();
  const headers = { "User-Agent": agent, "X-Forwarded-For": "203.0.113.7" };
  await ask(`${gateway.url}/nothing`, { headers });
  expect(linesAbout(agent)[0]).toContain(" from 203.0.113.7 through 127.0.0.1, user agent ");
});

describe("counts and logs a rejected OTLP request with its sender", () => {
  it.each(["main", "otlp"])("on the port: %s", async (port) => {
    const url = `${port === "main" ? gateway.url : otlp}/v1/logs`;
    const cases: [number, RegExp, Record<string, string>, Buffer][] = [
      [413, /^The body is larger than 1000 bytes;/, {}, Buffer.alloc(2000)],
      [415, /^The Content-Type must be /, { "Content-Type": "text/plain" }, Buffer.alloc(0)],
      [
        415,
        /^Content-Encoding "br" is not supported;/,
        { "Content-Encoding": "br" },
        Buffer.alloc(0),
      ],
      [400, /^The OTLP request is wrong at byte /, {}, Buffer.from([10, 99])],
      [400, /^The body is not valid gzip\./, { "Content-Encoding": "gzip" }, Buffer.from("no")],
      [
        403,
        /^A request was rejected\. The Host header "evil\.example" /,
        { Host: "evil.example" },
        Buffer.alloc(0),
      ],
      [
        403,
        /^A request was rejected\. The Origin header /,
        { Origin: "http://evil.example" },
        Buffer.alloc(0),
      ],
    ];
    for (const [status, reason, headers, body] of cases) {
      const line = await lineOf("http", status, async (agent) => {
        expect(await post(url, { ...headers, "User-Agent": agent }, body)).toBe(status);
      });
      expect(line).toMatch(reason);
      expect(line).toContain(`Rejected with ${status}: "POST /v1/logs" from `);
    }
  });

  it("over gRPC", async () => {
    const cases: [string, string, Record<string, string>][] = [
      ["UNIMPLEMENTED", "grpc-encoding", { "grpc-encoding": "br" }],
      ["UNIMPLEMENTED", "Tailgate implements only", { ":path": "/other.Service/Export" }],
      ["INVALID_ARGUMENT", "The call has no message.", {}],
      ["PERMISSION_DENIED", "A request was rejected. The Host", { ":authority": "evil.example" }],
      ["415", "The content type must be", { "content-type": "application/json" }],
      ["405", "gRPC requires POST.", { ":method": "PUT" }],
    ];
    for (const [status, reason, headers] of cases) {
      const line = await lineOf("grpc", status, (agent) =>
        call({ ...headers, "user-agent": agent }),
      );
      expect(line.startsWith(reason)).toBe(true);
      expect(line).toMatch(/Rejected with \w+: "(?:POST|PUT) \/\S+" from /);
    }
  });

  it("for metrics, which the configuration rejects", async () => {
    const line = await lineOf("http", 404, (agent) =>
      post(`${otlp}/v1/metrics`, { "User-Agent": agent }),
    );
    expect(line).toContain("receivers.otlp.metrics");
  });
});

/** A gRPC call without a message. */
async function call(headers: Record<string, string>): Promise<void> {
  const session = connectHttp2(grpc);
  const stream = session.request({
    ":method": "POST",
    ":path": METHOD,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.resume().end();
  await once(stream, "close");
  session.close();
}

describe("counts and logs any other rejected request with its sender", () => {
  it("on the main port", async () => {
    const cases: [number, RegExp, string, string][] = [
      [404, /^There is nothing at "\/nowhere"\./, "GET", "/nowhere?secret=1"],
      [405, /^\/api\/logs supports GET and HEAD, not DELETE\./, "DELETE", "/api/logs"],
      [400, /^The filter term "level:LOUD" /, "GET", "/api/logs?level=LOUD"],
      [426, /^Upgrade Required\. Rejected with 426: "GET \/ws\/logs" from /, "GET", "/ws/logs"],
      [400, /replay/, "GET", "/ws/logs?replay=many"],
    ];
    for (const [status, reason, method, path] of cases) {
      const line = await lineOf("http", status, async (agent) => {
        const answer = await ask(gateway.url + path, { method, headers: { "User-Agent": agent } });
        expect(answer.status).toBe(status);
      });
      expect(line).toMatch(reason);
      expect(line).not.toContain("secret");
    }
  });

  it("on another path of the OTLP port", async () => {
    const line = await lineOf("http", 404, (agent) => post(otlp, { "User-Agent": agent }));
    expect(line).toContain("Not found. Send logs to");
  });

  it("as a WebSocket", async () => {
    const cases: [number, RegExp, string, Record<string, string>][] = [
      [403, /Origin/, "/ws/logs", { Origin: "http://evil.example" }],
      [404, /^There is no WebSocket at "\/ws\/other"\./, "/ws/other", {}],
      [400, /replay/, "/ws/logs?replay=many", {}],
      [400, /Sec-WebSocket-Key/, "/ws/logs", { "Sec-WebSocket-Key": "short" }],
      [400, /Sec-WebSocket-Version/, "/ws/logs", { "Sec-WebSocket-Version": "99" }],
    ];
    for (const [status, reason, path, headers] of cases) {
      const line = await lineOf("websocket", status, async (agent) => {
        const all = { Host: "localhost", "User-Agent": agent, ...headers };
        const answer = await sendRaw(portOf(gateway.url), handshake(path, all));
        expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      });
      expect(line).toMatch(reason);
    }
  });
});

describe("a plugin's own server", () => {
  it("answers requests that time out; they are counted, and logged if there was one", async () => {
    const harness = await new HttpHarness().open();
    const timeouts = { headersTimeout: 50, requestTimeout: 60, connectionsCheckingInterval: 20 };
    const server = createServer(timeouts, (_request, response) => void response.end());
    harness.server.plugins.protect(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const counted = async (): Promise<boolean> => {
      const { body } = await ask(`${harness.url}/metrics`);
      return body.includes(`\n${rejected("http", 408)} 2\n`);
    };
    const slow = await sendRaw(port, "GET / HTTP/1.1\r\nHost: localhost\r\n");
    expect(slow).toMatch(/^HTTP\/1.1 408 /);
    expect(await sendRaw(port, "")).toMatch(/^HTTP\/1.1 408 /);
    expect(await counted()).toBe(true);
    expect(harness.lines).toEqual(["The request did not arrive in time."]);
  });

  it("names the sender of a request whose body stalls", async () => {
    const said: string[] = [];
    const warning = (message: string, detail = ""): void => void said.push(`${message} ${detail}`);
    const harness = await new HttpHarness({
      log: { info: () => {}, warning, error: warning },
    }).open();
    const timeouts = { headersTimeout: 50, requestTimeout: 60, connectionsCheckingInterval: 20 };
    const server = createServer(timeouts, (request) => void request.on("error", () => {}).resume());
    harness.server.plugins.protect(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const agent = nextAgent();
    const head = `POST /upload HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ${agent}\r\n`;
    const answer = await sendRaw(port, `${head}Content-Length: 50\r\n\r\nabc`);
    expect(answer).toMatch(/^HTTP\/1.1 408 /);
    expect(said).toEqual([
      `The request did not arrive in time. Rejected with 408: "POST /upload" from 127.0.0.1, user agent "${agent}".`,
    ]);
  });

  it("may respond before it has read the request", async () => {
    const harness = new HttpHarness();
    const { plugins } = harness.server;
    plugins.route("POST", "/early", async (request, response) => {
      for await (const _ of request) {
        response.writeHead(413).end();
        break;
      }
    });
    await harness.open();
    // The connection closes, possibly before the sender has read the response.
    await post(`${harness.url}/early`, {}, Buffer.alloc(3 << 20)).catch(() => {});
    await vi.waitFor(() => expect(harness.lines).toEqual(["Payload Too Large."]));
    expect((await ask(`${harness.url}/metrics`)).body).toContain(`\n${rejected("http", 413)} 1\n`);
  });

  it("is not called for what is not a valid request", async () => {
    const harness = await new HttpHarness().open();
    const socket = connect(harness.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\n", () => socket.resetAndDestroy());
    await once(socket, "close");
    await ask(`${harness.url}/healthz`);
    expect(harness.lines).toEqual([]);
  });
});

describe("answers, counts and logs invalid HTTP", () => {
  const head = (agent: string): string => `Host: localhost\r\nUser-Agent: ${agent}\r\n`;
  const cases: [string, number, RegExp, (agent: string) => string][] = [
    [
      "an invalid request",
      400,
      /^The request is not valid HTTP: /,
      (agent) => `GET / HTTP/9.9\r\n${head(agent)}\r\n`,
    ],
    [
      "a request without Host",
      400,
      /Host header/,
      (agent) => `GET / HTTP/1.1\r\nUser-Agent: ${agent}\r\n\r\n`,
    ],
    [
      "too many headers",
      431,
      /^The headers are larger than 16384 bytes\./,
      (agent) => `GET / HTTP/1.1\r\n${head(agent)}X: ${"x".repeat(20_000)}\r\n\r\n`,
    ],
    [
      "a body with contradictory lengths",
      400,
      /^The request is not valid HTTP: /,
      (agent) =>
        `POST /v1/logs HTTP/1.1\r\n${head(agent)}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    ],
    [
      "an unsupported expectation",
      417,
      /100-continue/,
      (agent) =>
        `POST /v1/logs HTTP/1.1\r\n${head(agent)}Expect: miracles\r\nContent-Length: 0\r\n\r\n`,
    ],
    [
      "a proxy request",
      405,
      /not a proxy/,
      (agent) => `CONNECT example.com:443 HTTP/1.1\r\n${head(agent)}\r\n`,
    ],
  ];
  it.each(cases)("%s", async (_, status, reason, bytes) => {
    for (const url of [gateway.url, otlp]) {
      const line = await lineOf("http", status, async (agent) => {
        const answer = await sendRaw(portOf(url), bytes(agent));
        expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*\r\n\r\n`));
      });
      expect(line).toMatch(reason);
    }
  });

  it("TLS, HTTP/2 on a port for HTTP/1, and HTTP/1 on that for gRPC", async () => {
    const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const wrong: [string, string, string, RegExp][] = [
      [otlp, hello, rejected("http", 400), /speaks TLS/],
      [gateway.url, hello, rejected("http", 400), /speaks TLS/],
      [otlp, preface, rejected("http", 400), /speaks HTTP\/2, .* \(receivers\.otlp\.grpc_port\)/],
      [gateway.url, preface, rejected("http", 400), /speaks HTTP\/2/],
      [
        grpc,
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        rejected("grpc", "protocol_error"),
        /speaks TLS or HTTP\/1, .* http:\/\//,
      ],
      [grpc, hello, rejected("grpc", "protocol_error"), /speaks TLS or HTTP\/1/],
    ];
    for (const [url, bytes, name, reason] of wrong) {
      const before = (await scrape()).get(name)!;
      const socket = connect(portOf(url), "127.0.0.1");
      socket.write(Buffer.from(bytes, "latin1"));
      await text(socket).catch(() => "");
      await vi.waitFor(async () =>
        expect([bytes, (await scrape()).get(name)]).toEqual([bytes, before + 1]),
      );
      expect(lines.some((line) => reason.test(line) && line.includes("from 127.0.0.1"))).toBe(true);
    }
  });
});

it("a gRPC client that disconnects like Go's is not an error", async () => {
  const name = rejected("grpc", "protocol_error");
  const before = (await scrape()).get(name);
  const written = lines.length;
  const socket = connect(portOf(grpc), "127.0.0.1");
  const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  const goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings]));
  await once(socket, "data");
  socket.end(Buffer.from(goaway));
  await text(socket);
  expect((await scrape()).get(name)).toBe(before);
  expect(lines.slice(written)).toEqual([]);
});

it("no sender can forge a line or impersonate another sender", async () => {
  const hostile = fc.string({ unit: "binary", minLength: 1, maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(hostile, hostile, async (agent, path) => {
      const before = lines.length;
      const target = headerText(path).replaceAll(/[\s#?]/g, "\x80");
      const header = headerText(agent);
      await sendRaw(
        portOf(gateway.url),
        `GET /${target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ${header}\r\nConnection: close\r\n\r\n`,
      );
      for (const line of lines.slice(before)) {
        expect(line).not.toMatch(/[\p{Cc}\u2028\u2029\p{Bidi_Control}]/u);
        expect(line.length).toBeLessThan(2000);
      }
    }),
    { numRuns: 25 },
  );
  const forged = 'x", no user agent. 2026-01-01 - tailgate.http - ERROR - "';
  await ask(`${gateway.url}/api/stats`, { method: "PUT", headers: { "User-Agent": forged } });
  expect(lines.at(-1)).toContain(`from 127.0.0.1, user agent ${JSON.stringify(forged)}.`);
});

it("many similar rejections write a few lines, and all are counted", async () => {
  const name = rejected("http", 404);
  const before = (await scrape()).get(name)!;
  const written = lines.length;
  for (let count = 0; count < 100; count++) await ask(`${gateway.url}/missing/${count}`);
  expect((await scrape()).get(name)).toBe(before + 100);
  expect(lines.length - written).toBeLessThan(25);
});

/** Returns the text's bytes as node:http reads them, without those not allowed in headers. */
function headerText(value: string): string {
  return Buffer.from(value)
    .toString("latin1")
    .replaceAll(/\p{Cc}/gu, (character) => (character < "\x80" ? "\x9b" : character));
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}
