import { once } from "node:events";
import { readFileSync } from "node:fs";
import {
  Agent,
  request as httpRequest,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";
import { connect, createServer, type AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it, vi } from "vitest";
import otlpReceiver from "../../plugins/otlp-receiver.ts";
import { decodeOtlpJson } from "../../src/encode/otlp-json.ts";
import { decodeOtlpProtobuf } from "../../src/encode/otlp-protobuf.ts";
import { TailgateError } from "../../src/errors.ts";
import { defineExporter, z, type Ingested, type Intake, type Receiver } from "../../src/plugin.ts";
import { startTailgate } from "../../src/start.ts";
import { testHost, type TestHost } from "../../src/testing/host.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const PROTOBUF = "application/x-protobuf";
const JSON_TYPE = "application/json";
const PYTHON = readFileSync(new URL("../golden/python-sdk.pb", import.meta.url));
const PYTHON_RECORDS = 17;
const NODE = readFileSync(new URL("../golden/node3-direct-json-1.json", import.meta.url));
const NODE_RECORDS = 28;

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

/** An intake that decodes as the gateway does, counts, and answers what it is told to. */
class Records implements Intake {
  calls = 0;
  received = 0;
  /** What is waited for before an answer is given. */
  gate: Promise<void> | undefined;
  error: unknown;
  rejected = 0;

  otlpProtobuf(body: Uint8Array): Promise<Ingested> {
    return this.#take(() => decodeOtlpProtobuf(body).length);
  }

  otlpJson(body: Uint8Array): Promise<Ingested> {
    return this.#take(() => decodeOtlpJson(body).length);
  }

  records(): Promise<Ingested> {
    throw new Error("The OTLP receiver hands over bytes.");
  }

  async #take(count: () => number): Promise<Ingested> {
    if (this.error !== undefined) throw this.error;
    const records = count();
    this.calls++;
    await this.gate;
    this.received += records;
    const reason = this.rejected > 0 ? "too odd" : "";
    return { accepted: records - this.rejected, rejected: this.rejected, reason };
  }
}

interface Opened {
  readonly host: TestHost;
  readonly intake: Records;
  readonly receiver: Receiver;
  /** `http://127.0.0.1:PORT` of the receiver's own port, "" without one. */
  readonly url: string;
}

async function open(given: object = {}): Promise<Opened> {
  const host = await testHost("otlp");
  cleanUps.push(() => host.close());
  const intake = new Records();
  const options = otlpReceiver.options.parse({ port: 0, ...given });
  const receiver = await otlpReceiver.open(options, Object.assign(host, { intake }));
  cleanUps.push(() => receiver.close?.(AbortSignal.timeout(1000)));
  const [url = ""] = host.lines.map((line) => /^http:\/\/[^/]+/.exec(line)?.[0] ?? "");
  return { host, intake, receiver, url };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

interface Sending {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly agent?: Agent;
  /** With Content-Length; without it the body is chunked, as SDKs send theirs. */
  readonly length?: boolean;
}

async function send(url: string, body: Uint8Array, sending: Sending = {}): Promise<Answer> {
  const { method = "POST", path = "/v1/logs", headers = {}, agent, length = false } = sending;
  const request = httpRequest(`${url}${path}`, {
    method,
    ...(agent && { agent }),
    headers: {
      "Content-Type": PROTOBUF,
      ...(length && { "Content-Length": String(body.length) }),
      ...headers,
    },
  });
  request.end(body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return {
    status: response.statusCode!,
    headers: response.headers,
    body: await buffer(response),
  };
}

/** An upload that has sent that many bytes of its body, and holds them of a budget of 100 kB. */
async function heldUpload(url: string, bytes: number): Promise<ClientRequest> {
  const upload = httpRequest(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": PROTOBUF },
  });
  upload.write(Buffer.alloc(bytes));
  await vi.waitFor(async () => {
    const { body } = await send(url, Buffer.alloc(100_000 - bytes + 1));
    expect(body.toString()).toContain(`hold ${bytes} bytes already`);
  });
  return upload;
}

/** A google.rpc.Status in protobuf: its code and its message. */
function statusOf({ body }: Answer): { code: number; message: string } {
  expect([body[0], body[2]]).toEqual([0x08, 0x12]);
  const start = body[3]! < 0x80 ? 4 : 5;
  return { code: body[1]!, message: body.subarray(start).toString() };
}

const json = { "Content-Type": JSON_TYPE };
const gzip = { "Content-Encoding": "gzip" };

describe("a request", () => {
  it.each([
    ["protobuf", PYTHON, PYTHON_RECORDS, {}],
    ["gzipped protobuf", gzipSync(PYTHON), PYTHON_RECORDS, gzip],
    ["JSON", NODE, NODE_RECORDS, json],
    ["gzipped JSON", gzipSync(NODE), NODE_RECORDS, { ...json, ...gzip }],
    [
      "JSON with a charset",
      NODE,
      NODE_RECORDS,
      { "Content-Type": "Application/JSON; charset=utf-8" },
    ],
    ["with encoding identity", PYTHON, PYTHON_RECORDS, { "Content-Encoding": "identity" }],
  ])("of %s is taken, chunked or not", async (_, body, records, headers) => {
    const { url, intake } = await open();
    for (const length of [false, true]) {
      const answer = await send(url, body, { headers, length });
      expect(answer.status).toBe(200);
      const isJson = headers !== gzip && "Content-Type" in headers;
      expect(answer.headers["content-type"]).toBe(isJson ? JSON_TYPE : PROTOBUF);
      expect(answer.body.toString()).toBe(isJson ? "{}" : "");
    }
    expect(intake.received).toBe(2 * records);
  });

  it("may be empty", async () => {
    const { url } = await open();
    expect((await send(url, Buffer.alloc(0))).status).toBe(200);
    expect((await send(url, Buffer.from("{}"), { headers: json })).status).toBe(200);
  });

  it("is answered with what was rejected, as a partial success", async () => {
    const { url, intake } = await open();
    intake.rejected = 300;
    const answer = await send(url, NODE, { headers: json });
    expect(JSON.parse(answer.body.toString())).toEqual({
      partialSuccess: { rejectedLogRecords: "300", errorMessage: "too odd" },
    });
    const { status, body } = await send(url, PYTHON);
    expect(status).toBe(200);
    const wanted = [0x0a, 12, 0x08, 0xac, 0x02, 0x12, 7, ...Buffer.from("too odd")];
    expect([...body]).toEqual(wanted);
  });

  it("comes over a connection that is kept alive", async () => {
    const { url } = await open();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    cleanUps.push(() => agent.destroy());
    for (let count = 0; count < 3; count++) {
      const { status, headers } = await send(url, PYTHON, { agent });
      expect(status).toBe(200);
      expect(headers.connection).toBe("keep-alive");
    }
    expect(Object.values(agent.freeSockets).flat()).toHaveLength(1);
  });

  it("is taken on the main port too, and there alone without a port of its own", async () => {
    const { host, intake, url } = await open({ port: null });
    expect(url).toBe("");
    expect(host.lines).toEqual([]);
    const main = await host.listen();
    expect((await send(main, PYTHON)).status).toBe(200);
    expect(intake.received).toBe(PYTHON_RECORDS);
    expect((await send(main, PYTHON, { method: "GET" })).headers.allow).toBe("POST");
  });
});

describe("a refusal", () => {
  it("of another method is 405 with Allow", async () => {
    const { url } = await open();
    const answer = await send(url, Buffer.alloc(0), { method: "PUT" });
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe("POST");
    expect(statusOf(answer)).toEqual({ code: 12, message: "/v1/logs takes POST." });
  });

  it("of another content type is 415, as JSON", async () => {
    const { url } = await open();
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"]) {
      const answer = await send(url, NODE, { headers: { "Content-Type": type } });
      expect(answer.status).toBe(415);
      expect(answer.headers["content-type"]).toBe(JSON_TYPE);
      const message = `The Content-Type is ${PROTOBUF} or ${JSON_TYPE}.`;
      expect(JSON.parse(answer.body.toString())).toEqual({ code: 3, message });
    }
  });

  it("of what a browser asks for is a status in JSON, too", async () => {
    const { url } = await open();
    const method = await fetch(`${url}/v1/logs`);
    expect(method.status).toBe(405);
    expect(await method.json()).toEqual({ code: 12, message: "/v1/logs takes POST." });
    const path = await fetch(`${url}/`);
    expect(path.status).toBe(404);
    expect(await path.json()).toEqual({
      code: 5,
      message: "There is nothing at this path; logs are taken at /v1/logs.",
    });
  });

  it("of another content encoding is 415", async () => {
    const { url } = await open();
    const answer = await send(url, PYTHON, { headers: { "Content-Encoding": "zstd" } });
    expect(answer.status).toBe(415);
    expect(statusOf(answer).message).toBe('Content-Encoding "zstd" is not taken; use gzip.');
  });

  it("of what cannot be decoded is 400 with the place, in the request's type", async () => {
    const { url, intake } = await open();
    const wrong = await send(url, Buffer.from('{"resourceLogs":1}'), { headers: json });
    expect(wrong.status).toBe(400);
    expect(wrong.headers["content-type"]).toBe(JSON_TYPE);
    const mend =
      "Nothing of the request was stored. Send an ExportLogsServiceRequest as protobuf or JSON.";
    expect(JSON.parse(wrong.body.toString())).toEqual({
      code: 3,
      message: `The OTLP request is wrong at resourceLogs: 1 is not an array. ${mend}`,
    });
    const cut = await send(url, PYTHON.subarray(0, 99));
    expect(cut.status).toBe(400);
    expect(statusOf(cut).message).toMatch(
      /^The OTLP request is wrong at byte \d+ of 99: \d+ bytes/,
    );
    expect(intake.received).toBe(0);
  });

  it.each([
    ["that is none", Buffer.from("no gzip")],
    ["that is cut off", gzipSync(PYTHON).subarray(0, 200)],
    ["that is cut off and large", gzipSync(noise(300_000)).subarray(0, 200_000)],
  ])("of gzip %s is 400", async (_, body) => {
    const { url } = await open();
    const answer = await send(url, body, { headers: gzip });
    expect(answer.status).toBe(400);
    expect(statusOf(answer)).toEqual({ code: 3, message: "The body is not valid gzip." });
  });

  it("of a body that is too large is 413, and is read by a client that is still sending", async () => {
    const { url } = await open({ max_body_bytes: 1000 });
    for (const length of [false, true]) {
      const answer = await send(url, Buffer.alloc(5_000_000), { length });
      expect(answer.status).toBe(413);
      expect(statusOf(answer).message).toBe(
        "The body is larger than 1000 bytes; send fewer records at once.",
      );
    }
    expect((await send(url, Buffer.alloc(0))).status).toBe(200);
  });

  it.each([
    ["small", gzipSync(Buffer.alloc(10_000_000))],
    ["large", Buffer.concat([gzipSync(noise(100_000)), gzipSync(Buffer.alloc(100_000_000))])],
  ])(
    "of a gzip bomb that is %s is 413, and it is not unpacked beyond the limit",
    async (_, bomb) => {
      const { url } = await open({ max_inflated_bytes: 1_000_000 });
      const before = process.memoryUsage().arrayBuffers;
      let peak = before;
      const watch = setInterval(() => {
        peak = Math.max(peak, process.memoryUsage().arrayBuffers);
      }, 1);
      cleanUps.push(() => clearInterval(watch));
      const answer = await send(url, bomb, { headers: gzip });
      expect(answer.status).toBe(413);
      expect(statusOf(answer).message).toBe(
        "The body is larger than 1000000 bytes after unpacking; send fewer records at once.",
      );
      expect(peak - before).toBeLessThan(30_000_000);
    },
  );

  it("for want of room for bodies in flight is 503 with Retry-After, and room comes back", async () => {
    const { url } = await open({ max_in_flight_bytes: 100_000 });
    const slow = await heldUpload(url, 90_000);
    const answer = await send(url, Buffer.alloc(20_000));
    expect(answer.headers["retry-after"]).toBe("1");
    expect(statusOf(answer)).toEqual({
      code: 14,
      message: "Requests in flight hold 90000 bytes already.",
    });
    slow.destroy();
    slow.on("error", () => {});
    await vi.waitFor(async () => expect((await send(url, PYTHON)).status).toBe(200));
  });

  it("counts what is unpacked in another thread as in flight too", async () => {
    const { url } = await open({ max_in_flight_bytes: 500_000 });
    const body = Buffer.concat([gzipSync(noise(100_000)), gzipSync(Buffer.alloc(1_000_000))]);
    expect((await send(url, body, { headers: gzip })).status).toBe(503);
    expect((await send(url, PYTHON)).status).toBe(200);
  });

  it.each([
    ["OVERLOADED", 429, 8],
    ["STOPPED", 503, 14],
  ] as const)("where the intake says %s is %i with Retry-After", async (code, status, rpc) => {
    const { url, intake } = await open();
    intake.error = new TailgateError(code, "No.");
    const answer = await send(url, PYTHON);
    expect(answer.status).toBe(status);
    expect(answer.headers["retry-after"]).toBe("1");
    expect(statusOf(answer)).toEqual({ code: rpc, message: (intake.error as Error).message });
  });

  it("after a fault of ours is 503, so that the client keeps the records, and is logged", async () => {
    const { url, intake, host } = await open();
    intake.error = new RangeError("a bug");
    const answer = await send(url, PYTHON);
    expect(answer.status).toBe(503);
    expect(answer.headers["retry-after"]).toBe("1");
    expect(statusOf(answer).message).toBe("The request failed: a bug");
    expect(host.lines.join("\n")).toContain("A request failed.");
  });

  it("of another path names the right one", async () => {
    const { url } = await open();
    const other = await send(url, PYTHON, { path: "/" });
    expect(other.status).toBe(404);
    expect(statusOf(other)).toEqual({
      code: 5,
      message: "There is nothing at this path; logs are taken at /v1/logs.",
    });
    const traces = await send(url, PYTHON, { path: "/v1/traces" });
    expect(traces.status).toBe(404);
    expect(statusOf(traces).message).toBe(
      "Tailgate takes logs: set receivers.otlp.pass_on_to to the collector for traces, or switch the sender's traces off.",
    );
    expect((await send(url, PYTHON, { path: "/v1/logs?x=1" })).status).toBe(200);
  });

  it("of a page of another site, or of a name that is not ours, is 403", async () => {
    const { url, intake } = await open();
    const page = await send(url, NODE, { headers: { ...json, Origin: "http://evil.example" } });
    expect(page.status).toBe(403);
    const { code, message } = JSON.parse(page.body.toString()) as { code: number; message: string };
    expect(code).toBe(7);
    expect(message).toContain(
      'The Origin header "http://evil.example" is not a page of this gateway',
    );
    const rebound = await send(url, PYTHON, { headers: { Host: "evil.example" } });
    expect(rebound.status).toBe(403);
    expect(intake.received).toBe(0);
  });

  it("on the main port has the form that it has on the receiver's own", async () => {
    const { host, intake } = await open({ port: null });
    const main = await host.listen();
    const rebound = await send(main, PYTHON, { headers: { Host: "evil.example" } });
    expect(rebound.status).toBe(403);
    expect(statusOf(rebound)).toMatchObject({ code: 7, message: expect.stringContaining("Host") });
    expect(intake.received).toBe(0);
  });
});

/** Bytes that gzip cannot make smaller. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

describe("a sender", () => {
  it("that goes away in the middle of its upload disturbs nobody", async () => {
    const { url, intake, host } = await open();
    const { port } = new URL(url);
    const socket = connect(Number(port), "127.0.0.1");
    await once(socket, "connect");
    const head = `POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: ${PROTOBUF}\r\n`;
    socket.write(`${head}Content-Length: 5000\r\n\r\nabc`);
    socket.resetAndDestroy();
    expect((await send(url, PYTHON)).status).toBe(200);
    expect(intake.received).toBe(PYTHON_RECORDS);
    expect(host.lines).toHaveLength(1);
  });
});

describe("opening and closing", () => {
  it("says where it listens", async () => {
    const { host } = await open();
    expect(host.lines).toEqual([
      expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/v1\/logs \(OTLP\/HTTP\)$/),
    ]);
  });

  it("names the port that is in use, and how to choose another", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    cleanUps.push(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const error: unknown = await open({ port }).catch((thrown: unknown) => thrown);
    expect(TailgateError.is(error, "PORT_IN_USE")).toBe(true);
    expect((error as Error).message).toContain(
      `Port ${port} of the OTLP receiver is in use on 127.0.0.1`,
    );
  });

  it("answers what is in flight before it is closed, and takes nothing more", async () => {
    const { url, intake, receiver } = await open();
    const gate = Promise.withResolvers<void>();
    intake.gate = gate.promise;
    const agent = new Agent({ keepAlive: true });
    cleanUps.push(() => agent.destroy());
    const answer = send(url, PYTHON, { agent });
    await expect.poll(() => intake.calls).toBe(1);
    const order: string[] = [];
    const closed = Promise.resolve(receiver.close?.(AbortSignal.timeout(5000))).then(() =>
      order.push("closed"),
    );
    await expect(send(url, PYTHON)).rejects.toThrow("ECONNREFUSED");
    // Turns enough for a close that would not wait.
    for (let turn = 0; turn < 10; turn++) await setImmediate();
    order.push("let go");
    gate.resolve();
    expect((await answer).status).toBe(200);
    await closed;
    expect(order).toEqual(["let go", "closed"]);
  });

  it.each([
    ["that aborts while it waits", false],
    ["that has aborted already", true],
  ])("does not wait for what is in flight longer than a signal %s", async (_, before) => {
    const { url, receiver } = await open({ max_in_flight_bytes: 100_000 });
    const slow = await heldUpload(url, 90_000);
    const failed = once(slow, "error");
    const aborted = new AbortController();
    if (before) aborted.abort();
    const closed = receiver.close?.(aborted.signal);
    aborted.abort();
    await closed;
    expect(((await failed)[0] as NodeJS.ErrnoException).code).toBe("ECONNRESET");
  });
});

const UNLIMITED = { bytes: Infinity, ms: Infinity };

describe("in a gateway", () => {
  it("a request is answered when its envelopes are on their way, all of them, in order", async () => {
    const messages: string[] = [];
    const exporter = defineExporter({
      name: "collector",
      description: "Keeps envelopes.",
      options: z.object({}),
      open: () => ({
        write: (batch) => {
          for (let index = 0; index < batch.length; index++) {
            messages.push(JSON.stringify(batch.envelope(index)));
          }
        },
      }),
    });
    const options = otlpReceiver.options.parse({ port: null });
    const running = await startTailgate(
      {
        host: "127.0.0.1",
        port: 0,
        logDir: await temporaryDirectory(cleanUps),
        logLevel: "DEBUG",
        allowedHosts: [],
        traceUrl: undefined,
        journal: { engine: "memory", retention: { system_log: UNLIMITED, audit_log: UNLIMITED } },
        auditKeyFile: undefined,
        receivers: [{ id: "otlp", definition: otlpReceiver, options }],
        processors: [],
        exporters: [
          {
            id: "collector",
            definition: exporter,
            options: {},
            queueBytesMax: 1 << 20,
            timeoutMs: 10_000,
          },
        ],
      },
      { write: () => {} },
    );
    cleanUps.push(() => running.stop());
    expect((await send(running.url, PYTHON)).status).toBe(200);
    const expected = readFileSync(
      new URL("../golden/python-sdk.pb.expected.jsonl", import.meta.url),
      "utf8",
    );
    const wanted = expected.trimEnd().split("\n");
    await expect
      .poll(() => messages)
      .toEqual(wanted.map((line) => JSON.stringify(JSON.parse(line))));
  });

  it("is 503 with Retry-After, in its own form, while the gateway stops", async () => {
    const running = await startTailgate(
      {
        host: "127.0.0.1",
        port: 0,
        logDir: await temporaryDirectory(cleanUps),
        logLevel: "DEBUG",
        allowedHosts: [],
        traceUrl: undefined,
        journal: { engine: "memory", retention: { system_log: UNLIMITED, audit_log: UNLIMITED } },
        auditKeyFile: undefined,
        receivers: [
          {
            id: "otlp",
            definition: otlpReceiver,
            options: otlpReceiver.options.parse({ port: null }),
          },
        ],
        processors: [],
        exporters: [
          {
            id: "slow",
            definition: defineExporter({
              name: "slow",
              description: "Takes its time to close.",
              options: z.object({}),
              open: () => ({
                write() {},
                close: async (signal) => void (await once(signal, "abort")),
              }),
            }),
            options: {},
            queueBytesMax: 1 << 20,
            timeoutMs: 10_000,
          },
        ],
      },
      { write: () => {} },
    );
    const stopped = running.stop();
    const late = await send(running.url, NODE, { headers: { "Content-Type": JSON_TYPE } });
    expect(late.status).toBe(503);
    expect(late.headers).toMatchObject({ "content-type": JSON_TYPE, "retry-after": "1" });
    expect(JSON.parse(late.body.toString())).toMatchObject({ code: 14 });
    await stopped;
  });
});
