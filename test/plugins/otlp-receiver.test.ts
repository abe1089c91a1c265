import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { connect, createServer, type AddressInfo } from "node:net";
import { setImmediate } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, it, onTestFinished } from "vitest";
import otlpReceiver from "../../plugins/otlp-receiver.ts";
import { HTTP_DEFAULTS } from "../../src/config/config.ts";
import { TailgateError } from "tailgate";
import { defineExporter, z } from "tailgate/plugin";
import { startTailgate } from "tailgate";
import { Workspace } from "../harness/workspace.ts";
import {
  gzip,
  startUpload,
  json,
  JSON_TYPE,
  NODE,
  NODE_RECORDS,
  openReceiver,
  PROTOBUF,
  PYTHON,
  PYTHON_RECORDS,
  send,
} from "../harness/otlp.ts";

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
    const { url, intake } = await openReceiver();
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
    const { url } = await openReceiver();
    expect((await send(url, Buffer.alloc(0))).status).toBe(200);
    expect((await send(url, Buffer.from("{}"), { headers: json })).status).toBe(200);
  });

  it("is answered with the rejected records, as a partial success", async () => {
    const { url, intake } = await openReceiver();
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

  it("stays unchanged while the intake holds it, with other requests in progress", async () => {
    const { url, intake } = await openReceiver();
    const sent = Array.from({ length: 48 }, (_, index) => paddedRequest(index, 7000 * index));
    await Promise.all(
      sent.map(async (body, index) => {
        const isZipped = index % 3 === 2;
        const headers = isZipped ? gzip : {};
        const content = isZipped ? gzipSync(body) : body;
        const { status } = await send(url, content, { headers, length: index % 3 === 1 });
        expect(status).toBe(200);
      }),
    );
    const textOf = (body: Uint8Array): string => Buffer.from(body).toString("latin1");
    const had = new Set(intake.bodies.map(textOf));
    expect(sent.filter((body) => !had.has(textOf(body)))).toEqual([]);
  });

  it("in JSON releases its memory once it is answered", async () => {
    const { url, intake } = await openReceiver();
    const body = Buffer.concat([NODE, Buffer.alloc(200_000, " ")]);
    for (const length of [false, true]) await send(url, body, { headers: json, length });
    expect(intake.received).toBe(2 * NODE_RECORDS);
    expect(intake.bodies.map(({ length }) => length)).toEqual([0, 0]);
  });

  it("uses a kept-alive connection", async () => {
    const { url } = await openReceiver();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    for (let count = 0; count < 3; count++) {
      const { status, headers } = await send(url, PYTHON, { agent });
      expect(status).toBe(200);
      expect(headers.connection).toBe("keep-alive");
    }
    expect(Object.values(agent.freeSockets).flat()).toHaveLength(1);
  });

  it("is accepted on the main port too, and only there without a port of its own", async () => {
    const { host, intake, url } = await openReceiver({ port: null });
    expect(url).toBe("");
    expect(host.lines).toEqual([]);
    const main = await host.listen();
    expect((await send(main, PYTHON)).status).toBe(200);
    expect(intake.received).toBe(PYTHON_RECORDS);
    expect((await send(main, PYTHON, { method: "GET" })).headers.allow).toBe("POST");
  });
});

describe("a sender", () => {
  it("that disconnects in the middle of its upload affects no others", async () => {
    const { url, intake, host } = await openReceiver();
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
  it("logs where it listens", async () => {
    const { host } = await openReceiver();
    expect(host.lines).toEqual([
      expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/v1\/logs \(OTLP\/HTTP\)$/),
    ]);
  });

  it("names the port in use, and how to choose another", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const error: unknown = await openReceiver({ port }).catch((thrown: unknown) => thrown);
    expect(TailgateError.is(error, "PORT_IN_USE")).toBe(true);
    expect((error as Error).message).toContain(
      `Port ${port} of the OTLP receiver is in use on 127.0.0.1`,
    );
  });

  it("answers requests in flight before it closes, and accepts no more", async () => {
    const { url, intake, receiver } = await openReceiver();
    const gate = Promise.withResolvers<void>();
    intake.gate = gate.promise;
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    const answer = send(url, PYTHON, { agent });
    await expect.poll(() => intake.calls).toBe(1);
    const order: string[] = [];
    const closed = Promise.resolve(receiver.close?.(AbortSignal.timeout(5000))).then(() =>
      order.push("closed"),
    );
    await expect(send(url, PYTHON)).rejects.toThrow("ECONNREFUSED");
    // Enough turns for a close that would not wait.
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
    const { url, receiver } = await openReceiver({ max_in_flight_bytes: 100_000 });
    const slow = await startUpload(url, 90_000);
    const failed = once(slow, "error");
    const aborted = new AbortController();
    if (before) aborted.abort();
    const closed = receiver.close?.(aborted.signal);
    aborted.abort();
    await closed;
    expect(((await failed)[0] as NodeJS.ErrnoException).code).toBe("ECONNRESET");
  });
});

/** Removed at the end of the test. */
async function logDir(): Promise<string> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace.directory;
}

const UNLIMITED = { bytes: Infinity, ms: Infinity };

describe("in a gateway", () => {
  it("a request is answered once all of its envelopes are on their way, in order", async () => {
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
        logDir: await logDir(),
        logLevel: "DEBUG",
        allowedHosts: [],
        trustsDefaultOrigins: false,
        http: HTTP_DEFAULTS,
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
    onTestFinished(() => running.stop());
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

  it("answers 503 with Retry-After, in its own form, while the gateway stops", async () => {
    const running = await startTailgate(
      {
        host: "127.0.0.1",
        port: 0,
        logDir: await logDir(),
        logLevel: "DEBUG",
        allowedHosts: [],
        trustsDefaultOrigins: false,
        http: HTTP_DEFAULTS,
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

/** Records, and an unknown field with this many bytes. */
function paddedRequest(number: number, bytes: number): Buffer {
  const padding = Buffer.alloc(bytes, `${number},`);
  const length = [(bytes & 0x7f) | 0x80, ((bytes >> 7) & 0x7f) | 0x80, bytes >> 14];
  return Buffer.concat([PYTHON, Buffer.from([0x7a, ...length]), padding]);
}
