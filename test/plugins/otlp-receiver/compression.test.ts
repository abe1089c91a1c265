/** Compressed bodies and their size limits. */

import {
  constants,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
  type ZstdOptions,
} from "node:zlib";
import fc from "fast-check";
import { describe, expect, it, onTestFinished, test } from "vitest";
import {
  json,
  NODE,
  NODE_RECORDS,
  openReceiver,
  PYTHON,
  send,
  statusOf,
  openGrpcReceiver,
} from "../../harness/otlp.ts";
import { frame, send as call } from "./raw-call.ts";

const OK = 0;
const INVALID_ARGUMENT = 3;
const UNIMPLEMENTED = 12;

const MIB = 1 << 20;

const zstdWindow = (bytesLog: number): ZstdOptions => ({
  params: { [constants.ZSTD_c_windowLog]: bytesLog, [constants.ZSTD_c_compressionLevel]: 1 },
});

type Compress = (content: Uint8Array) => Buffer;

/** How senders compress, by content encoding. */
const HTTP: readonly [string, string, Compress][] = [
  ["gzip", "gzip", gzipSync],
  ["zstd", "zstd", zstdCompressSync],
  ["deflate in zlib's format", "deflate", deflateSync],
  ["deflate as it is", "deflate", deflateRawSync],
  ["deflate by the Collector's name", "zlib", deflateSync],
];
const GRPC = HTTP.filter(([, name]) => name === "gzip" || name === "zstd");

const encoded = (name: string): Record<string, string> => ({ "Content-Encoding": name });

describe("a body", () => {
  it.each(HTTP)("may be compressed with %s", async (_, name, compress) => {
    const { url, intake } = await openReceiver();
    const headers = { ...json, ...encoded(name) };
    // The second one is decompressed in another thread.
    for (const content of [NODE, Buffer.concat([NODE, Buffer.alloc(3 * MIB, " ")])]) {
      const { status } = await send(url, compress(content), { headers });
      expect(status).toBe(200);
    }
    expect(intake.received).toBe(2 * NODE_RECORDS);
  });

  it("is what was compressed, for any content and any spelling of the encoding", async () => {
    const { url, intake } = await openReceiver();
    const headersOf = fc.constantFrom(
      (name: string) => name,
      (name: string) => ` ${name.toUpperCase()} `,
      (name: string) => `identity, ${name}`,
    );
    const padding = fc.uint8Array({ maxLength: 3000, size: "max" });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...HTTP),
        headersOf,
        padding,
        async ([, name, compress], header, bytes) => {
          const content = padded(PYTHON, bytes);
          const headers = encoded(header(name));
          expect((await send(url, compress(content), { headers })).status).toBe(200);
          expect(content.equals(intake.bodies.at(-1)!)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("of several members is their concatenation, whatever their size", async () => {
    const { url, intake } = await openReceiver();
    const large = padded(PYTHON, new Uint8Array(2 * MIB));
    const skipped = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    for (const content of [PYTHON, large]) {
      const parts = [content.subarray(0, 50), content.subarray(50, 50), content.subarray(50)];
      const gzip = Buffer.concat(parts.map((part) => gzipSync(part)));
      const zstd = Buffer.concat(parts.flatMap((part) => [skipped, zstdCompressSync(part)]));
      for (const [name, body] of Object.entries({ gzip, zstd })) {
        expect((await send(url, body, { headers: encoded(name) })).status).toBe(200);
        expect(content.equals(intake.bodies.at(-1)!)).toBe(true);
      }
    }
  });

  it("in gzip may be padded with zeros", async () => {
    const { url } = await openReceiver();
    const body = Buffer.concat([gzipSync(PYTHON), Buffer.alloc(10_000)]);
    expect((await send(url, body, { headers: encoded("gzip") })).status).toBe(200);
  });

  it("in zstd is decoded with the window that RFC 9659 allows", async () => {
    const { url, intake } = await openReceiver();
    const content = padded(PYTHON, new Uint8Array(9 * MIB));
    const body = zstdCompressSync(content, zstdWindow(23));
    expect((await send(url, body, { headers: encoded("zstd") })).status).toBe(200);
    expect(content.equals(intake.bodies.at(-1)!)).toBe(true);
  });
});

describe("a message over gRPC", () => {
  it.each(GRPC)("may be compressed with %s", async (_, name, compress) => {
    const { url, intake } = await openGrpcReceiver();
    const content = padded(PYTHON, new Uint8Array(3 * MIB));
    const answer = await call(url, frame(compress(content), 1), { "grpc-encoding": name });
    expect(answer.grpcStatus).toBe(OK);
    expect(answer.headers["grpc-accept-encoding"]).toBe("identity,gzip,zstd");
    expect(content.equals(intake.bodies.at(-1)!)).toBe(true);
  });

  it("in another encoding is UNIMPLEMENTED, and the response lists the accepted ones", async () => {
    const { url } = await openGrpcReceiver();
    for (const name of ["snappy", "deflate", "br", "GZIP"]) {
      const answer = await call(url, frame(PYTHON, 1), { "grpc-encoding": name });
      expect(answer.grpcStatus).toBe(UNIMPLEMENTED);
      expect(answer.message).toBe(`grpc-encoding "${name}" is not supported; use gzip or zstd.`);
      expect(answer.headers["grpc-accept-encoding"]).toBe("identity,gzip,zstd");
    }
  });
});

describe("an invalid body", () => {
  const garbage = Buffer.from("garbage after the end");

  it.each(HTTP)("%s is 400", async (_, name, compress) => {
    const { url, intake } = await openReceiver();
    const bodies = {
      empty: Buffer.alloc(0),
      "cut off": compress(PYTHON).subarray(0, -3),
      "cut off and large": compress(noise(300_000)).subarray(0, -3),
      "with something after its end": Buffer.concat([compress(PYTHON), garbage]),
      "with something after its end, and large": Buffer.concat([compress(noise(300_000)), garbage]),
      "with zeros and more after its end": Buffer.concat([
        compress(PYTHON),
        Buffer.alloc(9),
        garbage,
      ]),
      "none at all": Buffer.from("\xff\xff\xff\xff no such thing", "latin1"),
    };
    for (const [kind, body] of Object.entries(bodies)) {
      const answer = await send(url, body, { headers: encoded(name) });
      expect([kind, answer.status]).toEqual([kind, 400]);
      expect(statusOf(answer).message).toMatch(
        /^The body (?:is not valid|has \d+ bytes after the end of its) (?:gzip|zstd|deflate)\.$/,
      );
    }
    expect(intake.received).toBe(0);
  });

  it("is 400 because of its dictionary or its window", async () => {
    const { url } = await openReceiver();
    const dictionary = Buffer.from("orchestrator.server");
    const zlib = deflateSync(PYTHON, { dictionary });
    expect((await send(url, zlib, { headers: encoded("deflate") })).status).toBe(400);
    // A frame header that names a dictionary ID (RFC 8878, 3.1.1.1).
    const zstd = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 0x07, 0x01, 0x00, 0x00]);
    expect((await send(url, zstd, { headers: encoded("zstd") })).status).toBe(400);
    for (const content of [Buffer.alloc(9 * MIB), noise(9 * MIB)]) {
      const answer = await send(url, zstdCompressSync(content, zstdWindow(27)), {
        headers: encoded("zstd"),
      });
      expect(statusOf(answer)).toEqual({
        code: 3,
        message:
          "The body needs a zstd window of more than 8 MiB (RFC 9659); compress it with a smaller one.",
      });
    }
  });

  it("is 400 because it has too many members", async () => {
    const { url } = await openReceiver();
    const piece = zstdCompressSync(Buffer.alloc(0));
    const body = Buffer.alloc(2000 * piece.length, piece);
    const answer = await send(url, body, { headers: encoded("zstd") });
    expect(statusOf(answer).message).toBe(
      `The body has ${976 * piece.length} bytes after 1024 frames of its zstd.`,
    );
  });
});

describe("a decompression bomb", () => {
  it.each([
    ...HTTP.slice(0, 4).map(
      ([kind, name, compress]) => [kind, name, compress(Buffer.alloc(64 * MIB))] as const,
    ),
    ["zstd in many pieces", "zstd", repeated(zstdCompressSync(Buffer.alloc(MIB)), 500)] as const,
    ["gzip in many pieces", "gzip", repeated(gzipSync(Buffer.alloc(MIB)), 200)] as const,
  ])("of %s is 413, and is not unpacked beyond the limit", async (_, name, bomb) => {
    const { url } = await openReceiver();
    const { url: grpcUrl } = await openGrpcReceiver();
    const peak = watchMemory();
    const answers = await Promise.all(
      Array.from({ length: 2 }, () => send(url, bomb, { headers: encoded(name) })),
    );
    for (const answer of answers) {
      expect(answer.status).toBe(413);
      expect(statusOf(answer).message).toBe(
        "The body is larger than 20971520 bytes after decompression; send fewer records per request.",
      );
    }
    if (GRPC.some((coding) => coding[1] === name)) {
      const { grpcStatus } = await call(grpcUrl, frame(bomb, 1), { "grpc-encoding": name });
      expect(grpcStatus).toBe(INVALID_ARGUMENT);
    }
    expect(peak()).toBeLessThan(120 * MIB);
  });

  it("of small frames with large windows waits for its turn", async () => {
    const { url } = await openReceiver();
    const body = zstdCompressSync(Buffer.alloc(16 * MIB), zstdWindow(23));
    expect(body.length).toBeLessThan(2000);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => send(url, body, { headers: encoded("zstd") })),
    );
    // All of them are decompressed, and are then no valid request.
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 400));
    expect(statusOf(answers[0]!).message).toMatch(/^The OTLP request is wrong/);
  });
});

describe("the size of a body", () => {
  /** 8192 records, the OpenTelemetry Collector's default batch, of ordinary size. */
  const batch = collectorBatch(8192);

  it("may be that of the Collector's default batches, in JSON and in protobuf", async () => {
    const { url, intake } = await openReceiver();
    expect(batch.json.length).toBeGreaterThan(4 * MIB);
    expect(batch.protobuf.length).toBeGreaterThan(4 * MIB);
    expect((await send(url, batch.json, { headers: json })).status).toBe(200);
    expect((await send(url, batch.protobuf)).status).toBe(200);
    const headers = encoded("zstd");
    expect((await send(url, zstdCompressSync(batch.protobuf), { headers })).status).toBe(200);
    expect(intake.received).toBe(3 * 8192);
  });

  it("may be 20 MiB over HTTP, compressed or not", async () => {
    const { url, intake } = await openReceiver();
    const content = padded(PYTHON, noise(20 * MIB - PYTHON.length - 5));
    expect(content.length).toBe(20 * MIB);
    expect((await send(url, content)).status).toBe(200);
    const larger = await send(url, Buffer.concat([content, Buffer.alloc(1)]), { length: true });
    expect(larger.status).toBe(413);
    expect(statusOf(larger).message).toBe(
      "The body is larger than 20971520 bytes; send fewer records per request.",
    );
    const headers = encoded("zstd");
    const zipped = zstdCompressSync(padded(PYTHON, noise(19 * MIB)));
    expect(zipped.length).toBeGreaterThan(19 * MIB);
    expect((await send(url, zipped, { headers })).status).toBe(200);
    expect(intake.calls).toBe(2);
  });

  it("may be 4 MiB over gRPC by default, or what is configured", async () => {
    const message = frame(batch.protobuf);
    const small = frame(padded(PYTHON, new Uint8Array(4 * MIB - PYTHON.length - 5)));
    expect(small.length).toBe(4 * MIB + 5);
    const { url } = await openGrpcReceiver();
    const refused = await call(url, message);
    expect([refused.grpcStatus, refused.message]).toEqual([
      INVALID_ARGUMENT,
      "The body is larger than 4194304 bytes; send fewer records per request.",
    ]);
    expect((await call(url, small)).grpcStatus).toBe(OK);
    for (const given of [{ grpc_max_body_bytes: 16 * MIB }, { max_body_bytes: 16 * MIB }]) {
      const { url: larger } = await openGrpcReceiver(given);
      expect((await call(larger, message)).grpcStatus).toBe(OK);
    }
    const { url: smaller } = await openGrpcReceiver({ grpc_max_body_bytes: 1000 });
    expect((await call(smaller, small)).message).toContain("larger than 1000 bytes");
  });
});

test("an encoding that is not accepted is 415, and the response lists the accepted ones", async () => {
  const { url } = await openReceiver();
  for (const name of ["br", "compress", "snappy", "gzip, zstd", "gzip, gzip"]) {
    const answer = await send(url, PYTHON, { headers: encoded(name) });
    expect(answer.status).toBe(415);
    expect(answer.headers["accept-encoding"]).toBe("gzip, zstd, deflate, zlib");
    expect(answer.headers).not.toHaveProperty("accept");
    expect(statusOf(answer).message).toBe(
      `Content-Encoding "${name}" is not supported; use gzip, zstd, deflate or zlib.`,
    );
  }
  const type = await send(url, PYTHON, { headers: { "Content-Type": "text/plain" } });
  expect(type.status).toBe(415);
  expect(type.headers["accept"]).toBe("application/x-protobuf, application/json");
  expect(type.headers).not.toHaveProperty("accept-encoding");
});

/** Returns how much the memory outside the heap has grown at most since the call. */
function watchMemory(): () => number {
  const before = process.memoryUsage().arrayBuffers;
  let peak = before;
  const look = (): void => {
    peak = Math.max(peak, process.memoryUsage().arrayBuffers);
  };
  const timer = setInterval(look, 1);
  onTestFinished(() => clearInterval(timer));
  return () => peak - before;
}

/** The request with an unknown field of those bytes. */
function padded(request: Uint8Array, bytes: Uint8Array): Buffer {
  const size = bytes.length;
  const length = [size | 0x80, (size >> 7) | 0x80, (size >> 14) | 0x80, size >> 21];
  const head = Buffer.from([
    0x7a,
    ...length.map((byte, index) => (index < 3 ? byte & 0xff : byte)),
  ]);
  return Buffer.concat([request, head, bytes]);
}

function repeated(part: Buffer, times: number): Buffer {
  return Buffer.alloc(times * part.length, part);
}

/** Incompressible bytes. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

function collectorBatch(records: number): { json: Buffer; protobuf: Buffer } {
  const text =
    "GET /api/v1/instances/0123456789 200 in 12.5 ms, upstream node-17.example.com ".repeat(8);
  const field = (number: number, ...contents: Uint8Array[]): Buffer => {
    const content = Buffer.concat(contents);
    const rest = content.length;
    const length = [
      (rest & 0x7f) | 0x80,
      ((rest >> 7) & 0x7f) | 0x80,
      ((rest >> 14) & 0x7f) | 0x80,
    ];
    return Buffer.concat([Buffer.from([8 * number + 2, ...length, rest >> 21]), content]);
  };
  const logRecords = Array.from({ length: records }, (_, index) => ({
    severityNumber: 9,
    body: { stringValue: `${index} ${text}` },
  }));
  const encodedRecords = logRecords.map(({ body }) =>
    field(2, Buffer.from([16, 9]), field(5, field(1, Buffer.from(body.stringValue)))),
  );
  return {
    json: Buffer.from(JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] })),
    protobuf: field(1, field(2, ...encodedRecords)),
  };
}
