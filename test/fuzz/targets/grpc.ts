import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
} from "node:http2";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { ownEnvelopes } from "../fuzzed-intake.ts";
import { GatewayProcess, nextLocalAddress } from "../gateway-process.ts";
import { mutated } from "../mutation.ts";
import type { Random } from "../random.ts";
import type { FuzzTarget } from "../target.ts";
import { unpackedByZlib } from "./gzip.ts";
import { otlpProtobufInput } from "./otlp-protobuf.ts";

const METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const CONCURRENCY = 16;

/** The receiver's default. */
const BODY_BYTES_MAX = 4 << 20;

/** google/rpc/code.proto */
const OK = 0;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const UNIMPLEMENTED = 12;

/**
 * OTLP/gRPC: calls with an invalid message, prefix or headers, and HTTP/2 connections with invalid frames. A call is
 * accepted if its message decodes, and otherwise rejected as the caller's error. Other connections are not affected.
 */
export async function grpc(): Promise<FuzzTarget> {
  const gateway = await GatewayProcess.start();
  const caller = new Caller(gateway.grpcPort);
  await gateway.warm();
  return {
    input,
    concurrency: CONCURRENCY,
    check: (bytes) =>
      bytes[0] === RAW ? sendRaw(gateway.grpcPort, bytes.subarray(1)) : caller.check(bytes),
    settle: () => gateway.settle(),
    close: async () => {
      caller.close();
      await gateway.stop();
    },
  };
}

/** First byte of an input: the bytes of a whole connection follow, or the headers of a call as JSON. */
const RAW = 0;

type Headers = Readonly<Record<string, string>>;

const CONTENT_TYPES = ["application/grpc", "application/grpc+proto", "application/grpc;x"];
const ENCODINGS = ["identity", "gzip", "deflate", "", "GZIP"];
const TIMEOUTS = ["10S", "99999999H", "1n", "5000m", "S", "1", "-1S", "999999999S"];

function input(random: Random): Uint8Array {
  const message = otlpProtobufInput(random);
  const isGzip = random.once(3);
  const content = isGzip ? gzipSync(message, { level: 1 }) : message;
  const framed = frame(random.once(8) ? mutated(content, random) : content, isGzip, random);
  const body = random.once(4) ? mutated(framed, random) : framed;
  if (random.once(4)) return Buffer.concat([Buffer.from([RAW]), connection(body, random)]);
  const headers = {
    "content-type": random.once(30) ? random.pick(["text/plain", ""]) : random.pick(CONTENT_TYPES),
    "grpc-encoding": random.once(10) ? random.pick(ENCODINGS) : isGzip ? "gzip" : "identity",
    ...(random.once(8) && { "grpc-timeout": random.pick(TIMEOUTS) }),
    ":path": random.once(30) ? `${METHOD}s` : METHOD,
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(headers)}\n`), body]);
}

/** A message with its prefix, which contains the compressed flag and the length. */
function frame(message: Uint8Array, isCompressed: boolean, random: Random): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = random.once(40) ? random.below(256) : Number(isCompressed);
  const wrong = random.once(20) ? random.pick([-1, 1, 1000, 2 ** 31]) : 0;
  prefix.writeUInt32BE(Math.max(0, message.length + wrong), 1);
  return Buffer.concat([prefix, message, random.once(40) ? Buffer.alloc(6) : Buffer.alloc(0)]);
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const END_STREAM = 1;
const END_HEADERS = 4;

/** A whole connection with one call. Some of its frames are damaged, duplicated, or of a random type. */
function connection(body: Buffer, random: Random): Buffer {
  const head = {
    ":method": "POST",
    ":scheme": "http",
    ":path": METHOD,
    ":authority": "127.0.0.1",
    "content-type": "application/grpc",
    te: "trailers",
  };
  const data = body.subarray(0, MAX_FRAME_BYTES);
  const frames = [
    http2Frame(SETTINGS, 0, 0, Buffer.alloc(0)),
    http2Frame(HEADERS, END_HEADERS, 1, fieldSection(head)),
    http2Frame(DATA, END_STREAM, 1, data),
  ];
  for (let left = random.below(4); left > 0; left--) {
    const [type, flags, stream] = [
      random.below(11),
      random.below(256),
      random.pick([0, 1, 2, 3, 2 ** 31 - 1]),
    ];
    const payload = random.once(2)
      ? fieldSection(head)
      : random.bytes(random.pick([0, 4, 5, 6, 8, 40]));
    frames.splice(random.below(frames.length + 1), 0, http2Frame(type, flags, stream, payload));
  }
  const whole = Buffer.concat([PREFACE, ...frames]);
  return random.once(2) ? whole : mutated(whole, random);
}

const MAX_FRAME_BYTES = 16_384;

/** RFC 9113, 4.1 */
function http2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Literal fields without indexing (RFC 7541, 6.2.2); no name or value has more than 126 characters. */
function fieldSection(headers: Headers): Buffer {
  const text = (value: string): Buffer => Buffer.from([value.length, ...Buffer.from(value)]);
  return Buffer.concat(
    Object.entries(headers).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

/** How long a connection stays open if the gateway does not close it. */
const OPEN_MS_MAX = 30;

async function sendRaw(port: number, bytes: Uint8Array): Promise<void> {
  const socket = connect({ port, host: "127.0.0.1", localAddress: nextLocalAddress() });
  const closed = Promise.withResolvers<void>();
  socket.on("error", () => {});
  socket.on("close", () => closed.resolve());
  socket.resume().end(bytes);
  const timer = setTimeout(() => socket.destroy(), OPEN_MS_MAX);
  await closed.promise;
  clearTimeout(timer);
}

const ANSWER_MS_MAX = 45_000;

class Caller {
  readonly #port: number;
  #session: ClientHttp2Session | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  async check(bytes: Uint8Array): Promise<void> {
    const end = bytes.indexOf(0x0a);
    const headers = JSON.parse(Buffer.from(bytes.subarray(0, end)).toString()) as Headers;
    const body = bytes.subarray(end + 1);
    const answer = await this.#call(headers, body);
    const isGrpc = headers["content-type"]?.startsWith("application/grpc");
    const status = Number(answer["grpc-status"] ?? NaN);
    const isExpected = isGrpc
      ? (await expectedCodes(headers, body)).includes(status)
      : Number(answer[":status"]) === 415;
    if (isExpected) return;
    const told = JSON.stringify(answer);
    throw new Error(`${JSON.stringify(headers)} got ${told.slice(0, 400)}`);
  }

  async #call(headers: Headers, body: Uint8Array): Promise<IncomingHttpHeaders> {
    if (this.#session === undefined || this.#session.destroyed || this.#session.closed) {
      this.#session = connectHttp2(`http://127.0.0.1:${this.#port}`);
      this.#session.on("error", () => {});
    }
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const stream = this.#session.request(
      { ":method": "POST", te: "trailers", ...headers },
      { signal },
    );
    const received: IncomingHttpHeaders = {};
    stream.on("response", (given) => Object.assign(received, given));
    stream.on("trailers", (given) => Object.assign(received, given));
    // The response may arrive before the whole body is sent, which is then aborted.
    stream.on("error", () => {});
    stream.resume().end(body);
    const closed = Promise.withResolvers<void>();
    stream.on("close", () => closed.resolve());
    await closed.promise;
    return received;
  }

  close(): void {
    this.#session?.destroy();
  }
}

/** Statuses that a call may get. */
async function expectedCodes(headers: Headers, body: Uint8Array): Promise<readonly number[]> {
  const { ":path": path, "grpc-encoding": encoding, "grpc-timeout": timeout } = headers;
  if (path !== METHOD || (encoding !== "identity" && encoding !== "gzip")) return [UNIMPLEMENTED];
  if (timeout !== undefined && !/^\d{1,8}[HMSmun]$/.test(timeout)) return [INVALID_ARGUMENT];
  const content = contentOf(Buffer.from(body), encoding === "gzip");
  const isAccepted =
    content !== undefined && (await ownEnvelopes("protobuf", content)) !== undefined;
  return [
    isAccepted ? OK : INVALID_ARGUMENT,
    ...(timeout === undefined ? [] : [DEADLINE_EXCEEDED]),
  ];
}

/** Returns the only message of a call, or undefined if there is none. */
function contentOf(body: Buffer, isGzip: boolean): Uint8Array | undefined {
  if (body.length < 5) return undefined;
  const length = body.readUInt32BE(1);
  if (length > BODY_BYTES_MAX || body.length !== 5 + length) return undefined;
  const content = body.subarray(5);
  if (body[0] === 0) return content;
  if (body[0] !== 1 || !isGzip) return undefined;
  return unpackedByZlib(content);
}
