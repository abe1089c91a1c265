import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import otlpReceiver from "../../../plugins/otlp-receiver.ts";
import { TailgateError } from "tailgate";
import { testHost } from "tailgate/testing";
import { answerOf, begin, frame, resetFrame, send, session } from "./raw-call.ts";
import { openGrpcReceiver } from "../../harness/otlp.ts";

const PYTHON = readFileSync(new URL("../../golden/python-sdk.pb", import.meta.url));
const PYTHON_RECORDS = 17;

const OK = 0;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;

const gzip = { "grpc-encoding": "gzip" };

describe("a call", () => {
  it.each([
    ["plain", frame(PYTHON), {}],
    ["plain with encoding identity", frame(PYTHON), { "grpc-encoding": "identity" }],
    ["gzipped", frame(gzipSync(PYTHON), 1), gzip],
    ["not gzipped though it might be", frame(PYTHON), gzip],
    ["of type +proto", frame(PYTHON), { "content-type": "application/grpc+proto" }],
  ])("%s is taken", async (_, body, headers) => {
    const { url, intake } = await openGrpcReceiver();
    const answer = await send(url, body, headers);
    expect(answer.status).toBe(200);
    expect(answer.grpcStatus).toBe(OK);
    expect(answer.headers).toMatchObject({
      "content-type": "application/grpc+proto",
      "grpc-accept-encoding": "identity,gzip,zstd",
    });
    expect([...answer.body]).toEqual([0, 0, 0, 0, 0]);
    expect(intake.received).toBe(PYTHON_RECORDS);
  });

  it("may have an empty message", async () => {
    const { url } = await openGrpcReceiver();
    expect((await send(url, frame(Buffer.alloc(0)))).grpcStatus).toBe(OK);
  });

  it("is accepted with any split into frames", async () => {
    const { url, intake } = await openGrpcReceiver();
    const client = session(url);
    const body = frame(PYTHON);
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 20 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(cuts, async (at) => {
        const before = intake.received;
        const stream = begin(client);
        const answer = answerOf(stream);
        const places = [0, ...at.sort((a, b) => a - b), body.length];
        for (const [index, place] of places.slice(1).entries()) {
          const piece = body.subarray(places[index], place);
          await new Promise((resolve) => stream.write(piece, resolve));
        }
        stream.end();
        expect((await answer).grpcStatus).toBe(OK);
        expect(intake.received - before).toBe(PYTHON_RECORDS);
      }),
      { numRuns: 30 },
    );
  });

  it("is answered with the rejected records, as a partial success", async () => {
    const { url, intake } = await openGrpcReceiver();
    intake.rejected = 300;
    const { grpcStatus, body } = await send(url, frame(PYTHON));
    expect(grpcStatus).toBe(OK);
    const message = [0x0a, 12, 0x08, 0xac, 0x02, 0x12, 7, ...Buffer.from("too odd")];
    expect([...body]).toEqual([0, 0, 0, 0, message.length, ...message]);
  });

  it("shares its connection with many others", async () => {
    const { url, intake } = await openGrpcReceiver();
    const client = session(url);
    const calls = Array.from({ length: 250 }, () => {
      const stream = begin(client);
      stream.end(frame(PYTHON));
      return answerOf(stream);
    });
    for (const { grpcStatus } of await Promise.all(calls)) expect(grpcStatus).toBe(OK);
    expect(intake.received).toBe(250 * PYTHON_RECORDS);
  });
});

describe("a permanent rejection", () => {
  const cases: [string, Buffer, Record<string, string>, number, string | RegExp][] = [
    ["of no message", Buffer.alloc(0), {}, INVALID_ARGUMENT, "The call has no message."],
    [
      "of a short prefix",
      Buffer.from([0, 0, 0]),
      {},
      INVALID_ARGUMENT,
      "The message is truncated: the call ended after 3 bytes.",
    ],
    [
      "of a message that is cut off",
      frame(PYTHON.subarray(0, 10), 0, 99),
      {},
      INVALID_ARGUMENT,
      "The message is truncated: the call ended after 15 bytes.",
    ],
    [
      "of several messages",
      Buffer.concat([frame(PYTHON), frame(PYTHON)]),
      {},
      INVALID_ARGUMENT,
      `The call has data after its message of ${PYTHON.length} bytes.`,
    ],
    [
      "of an unknown flag",
      frame(PYTHON, 2),
      {},
      INVALID_ARGUMENT,
      "The message's compression flag is 2; expected 0 or 1.",
    ],
    [
      "of a compressed message without an encoding",
      frame(gzipSync(PYTHON), 1),
      {},
      INVALID_ARGUMENT,
      "The message is compressed, but grpc-encoding names no coding.",
    ],
    [
      "of gzip that is none",
      frame(Buffer.from("no gzip"), 1),
      gzip,
      INVALID_ARGUMENT,
      "The body is not valid gzip.",
    ],
    [
      "of what cannot be decoded",
      frame(PYTHON.subarray(0, 99)),
      {},
      INVALID_ARGUMENT,
      /^The OTLP request is wrong at byte \d+ of 99: /,
    ],
    [
      "of another encoding",
      frame(PYTHON, 1),
      { "grpc-encoding": "snappy" },
      UNIMPLEMENTED,
      'grpc-encoding "snappy" is not supported; use gzip or zstd.',
    ],
    [
      "of another method",
      frame(PYTHON),
      {
        ":path": "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
      },
      UNIMPLEMENTED,
      /^Tailgate implements only \/opentelemetry.proto.collector.logs.v1.LogsService\/Export, .* not /,
    ],
    [
      "of a timeout that is none",
      frame(PYTHON),
      { "grpc-timeout": "1 second" },
      INVALID_ARGUMENT,
      'grpc-timeout "1 second" is not valid.',
    ],
    [
      "of another host",
      frame(PYTHON),
      { ":authority": "logs.example.com" },
      PERMISSION_DENIED,
      /^The Host header "logs.example.com" does not name this gateway\./,
    ],
    [
      "of a Host header that contradicts the authority",
      frame(PYTHON),
      { ":authority": "localhost", host: "logs.example.com" },
      INVALID_ARGUMENT,
      "The Host header contradicts :authority.",
    ],
    [
      "of another site's page that says so itself",
      frame(PYTHON),
      { "sec-fetch-site": "cross-site" },
      PERMISSION_DENIED,
      /^A page of another site made the request/,
    ],
    [
      "of another site's page",
      frame(PYTHON),
      { origin: "http://evil.example" },
      PERMISSION_DENIED,
      /^The Origin header "http:\/\/evil.example" is not a page of this gateway\./,
    ],
  ];

  it.each(cases)("%s has its status, and no body", async (_, body, headers, status, message) => {
    const { url, intake } = await openGrpcReceiver();
    const answer = await send(url, body, headers);
    expect(answer.status).toBe(200);
    expect(answer.grpcStatus).toBe(status);
    if (typeof message === "string") expect(answer.message).toBe(message);
    else expect(answer.message).toMatch(message);
    expect(answer.trailers).toBe(answer.headers);
    expect(answer.headers["grpc-accept-encoding"]).toBe("identity,gzip,zstd");
    expect(answer.headers).not.toHaveProperty("grpc-status-details-bin");
    expect(intake.received).toBe(0);
    expect((await send(url, frame(PYTHON))).grpcStatus).toBe(OK);
  });

  it("of another content type is 415, of another HTTP method 405", async () => {
    const { url } = await openGrpcReceiver();
    for (const type of ["application/json", "application/grpc+json", "application/grpcx"]) {
      const answer = await send(url, frame(PYTHON), { "content-type": type });
      expect([answer.status, answer.grpcStatus]).toEqual([415, undefined]);
    }
    const answer = await send(url, Buffer.alloc(0), { ":method": "PUT" });
    expect([answer.status, answer.headers["allow"]]).toEqual([405, "POST"]);
  });

  it("of a message that is too large arrives while it is still being sent", async () => {
    const { url } = await openGrpcReceiver({ max_body_bytes: 1000 });
    const stream = begin(session(url));
    stream.write(frame(Buffer.alloc(2000), 0, 5_000_000));
    const answer = await answerOf(stream);
    expect(answer.grpcStatus).toBe(INVALID_ARGUMENT);
    expect(answer.message).toBe(
      "The body is larger than 1000 bytes; send fewer records per request.",
    );
    expect((await send(url, frame(Buffer.alloc(3_000_000)))).grpcStatus).toBe(INVALID_ARGUMENT);
  });

  it("of a gzip bomb states the reason, and stops decompressing at the limit", async () => {
    const { url } = await openGrpcReceiver({ max_inflated_bytes: 1_000_000 });
    for (const bytes of [10_000_000, 200_000_000]) {
      const answer = await send(url, frame(gzipSync(Buffer.alloc(bytes)), 1), gzip);
      expect(answer.grpcStatus).toBe(INVALID_ARGUMENT);
      expect(answer.message).toBe(
        "The body is larger than 1000000 bytes after decompression; send fewer records per request.",
      );
    }
  });

  it("has an ASCII message, within the length that clients accept", async () => {
    const { url, intake } = await openGrpcReceiver();
    intake.error = new TailgateError("OTLP_UNDECODABLE", `100 % “wrong”\n${"é".repeat(9000)}`);
    const { headers, message } = await send(url, frame(PYTHON));
    expect(headers["grpc-message"]).toMatch(/^100 %25 %E2%80%9Cwrong%E2%80%9D%0A%C3%A9/);
    expect(message.startsWith("100 % “wrong”\néé")).toBe(true);
    expect(message.length).toBeLessThan(1024);
  });
});

/** A google.rpc.RetryInfo of one second. */
const ONE_SECOND = [0x0a, 2, 0x08, 1];

describe("a temporary rejection", () => {
  it.each([
    ["OVERLOADED", RESOURCE_EXHAUSTED],
    ["STOPPED", UNAVAILABLE],
    ["JOURNAL_FULL", UNAVAILABLE],
  ] as const)("%s is %i with when to come back", async (code, status) => {
    const { url, intake } = await openGrpcReceiver();
    intake.error = new TailgateError(code, "No.");
    const { grpcStatus, message, trailers } = await send(url, frame(PYTHON));
    expect(grpcStatus).toBe(status);
    expect(message).toContain("No.");
    const type = Buffer.from("type.googleapis.com/google.rpc.RetryInfo");
    const detail = [0x0a, type.length, ...type, 0x12, ONE_SECOND.length, ...ONE_SECOND];
    const text = Buffer.from(message);
    const wanted = [0x08, status, 0x12, text.length, ...text, 0x1a, detail.length, ...detail];
    const details = Buffer.from(trailers["grpc-status-details-bin"] as string, "base64");
    expect([...details]).toEqual(wanted);
    const retryInfo = Buffer.from(trailers["google.rpc.retryinfo-bin"] as string, "base64");
    expect([...retryInfo]).toEqual(ONE_SECOND);
  });

  it("for lack of capacity is UNAVAILABLE, and a reset in the middle releases capacity", async () => {
    const { url, intake } = await openGrpcReceiver({ max_in_flight_bytes: 100_000 });
    const slow = begin(session(url));
    slow.write(frame(Buffer.alloc(50_000), 0, 90_000));
    const large = frame(Buffer.alloc(60_000));
    await vi.waitFor(async () => {
      const { grpcStatus, message } = await send(url, large);
      expect(message).toMatch(/^Requests in flight already hold \d+ bytes\.$/);
      expect(grpcStatus).toBe(UNAVAILABLE);
    });
    slow.close(8);
    await vi.waitFor(async () => expect((await send(url, large)).grpcStatus).not.toBe(UNAVAILABLE));
    expect(intake.received).toBe(0);
  });

  it.each([
    ["with CANCEL", 8],
    ["without an error", 0],
  ])("stores nothing of a call that its sender takes back %s before its end", async (_, code) => {
    const { url, intake, host } = await openGrpcReceiver();
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    const client = session(url, socket);
    const stream = begin(client);
    await new Promise((resolve) => stream.write(frame(PYTHON), resolve));
    socket.write(resetFrame(stream.id!, code));
    const next = begin(client);
    next.end(frame(Buffer.alloc(0)));
    expect((await answerOf(next)).grpcStatus).toBe(OK);
    expect(intake.calls).toBe(1);
    expect(host.lines).toHaveLength(1);
  });

  it("of a call that exceeds its grpc-timeout is DEADLINE_EXCEEDED", async () => {
    const { url, intake } = await openGrpcReceiver();
    intake.gate = Promise.withResolvers<void>().promise;
    const waiting = await send(url, frame(PYTHON), { "grpc-timeout": "50m" });
    expect(waiting.message).toBe("The call timed out after 50 ms.");
    expect(waiting.grpcStatus).toBe(DEADLINE_EXCEEDED);
    const stream = begin(session(url), { "grpc-timeout": "20000u" });
    stream.write(frame(PYTHON, 0, 5000));
    expect((await answerOf(stream)).grpcStatus).toBe(DEADLINE_EXCEEDED);
  });

  it("of a message that does not arrive in 30 seconds is DEADLINE_EXCEEDED", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const { url, intake } = await openGrpcReceiver();
      const stream = begin(session(url));
      stream.write(frame(PYTHON, 0, 5000));
      const answer = answerOf(stream);
      const other = await send(url, frame(PYTHON));
      expect(other.grpcStatus).toBe(OK);
      await vi.advanceTimersByTimeAsync(30_000);
      expect((await answer).grpcStatus).toBe(DEADLINE_EXCEEDED);
      expect(intake.calls).toBe(1);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("at shutdown", () => {
  it("calls in flight are finished, and the client gets GOAWAY", async () => {
    const { url, intake, receiver } = await openGrpcReceiver();
    const gate = Promise.withResolvers<void>();
    intake.gate = gate.promise;
    const client = session(url);
    const stream = begin(client);
    stream.end(frame(PYTHON));
    await vi.waitFor(() => expect(intake.calls).toBe(1));
    const goaway = once(client, "goaway");
    const closed = receiver.close!(AbortSignal.timeout(20_000));
    expect((await goaway)[0]).toBe(0);
    gate.resolve();
    expect((await answerOf(stream)).grpcStatus).toBe(OK);
    await closed;
    await expect(once(session(url), "connect")).rejects.toThrow("ECONNREFUSED");
  });

  it("calls not finished in time are UNAVAILABLE", async () => {
    const { url, intake, receiver } = await openGrpcReceiver();
    intake.gate = Promise.withResolvers<void>().promise;
    const stream = begin(session(url));
    stream.end(frame(PYTHON));
    const answer = answerOf(stream);
    await vi.waitFor(() => expect(intake.calls).toBe(1));
    const stop = new AbortController();
    const closed = receiver.close!(stop.signal);
    stop.abort();
    await closed;
    const { grpcStatus, message, trailers } = await answer;
    expect([grpcStatus, message]).toEqual([UNAVAILABLE, "The gateway is stopping."]);
    expect(trailers).toHaveProperty("grpc-status-details-bin");
  });
});

describe("the port", () => {
  it("is off if the OTLP port is not 4318, or if it is null", async () => {
    for (const given of [{ port: 0, grpc_port: undefined }, { grpc_port: null }]) {
      const { url } = await openGrpcReceiver(given);
      expect(url).toBe("");
    }
  });

  it("is reported if in use, with how to disable it", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const host = await testHost("otlp");
    try {
      const options = otlpReceiver.options.parse({ port: 0, grpc_port: port });
      const opening = otlpReceiver.open(options, host);
      await expect(opening).rejects.toMatchObject({ code: "PORT_IN_USE" });
      await expect(opening).rejects.toThrow(
        `Port ${port} of the OTLP receiver (gRPC) is in use on 127.0.0.1: set receivers.otlp.grpc_port in the configuration to another port, or to null to disable gRPC`,
      );
    } finally {
      await host.close();
      other.close();
    }
  });

  it("survives a client that speaks another protocol", async () => {
    const { url } = await openGrpcReceiver();
    await expect(fetch(url)).rejects.toThrow("fetch failed");
    expect((await send(url, frame(PYTHON))).grpcStatus).toBe(OK);
  });
});
