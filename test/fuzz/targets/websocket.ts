import { connect } from "node:net";
import { GatewayProcess, nextLocalAddress } from "../gateway-process.ts";
import { mutated } from "../mutation.ts";
import { lengthOf, Random } from "../random.ts";
import type { FuzzTarget } from "../target.ts";
import { filterQuery } from "./filter.ts";
import { otlpJsonInput } from "./otlp-json.ts";

const CONCURRENCY = 24;

/** Number of requests with various records, so that there is something to replay. */
const SENT_REQUESTS = 60;

/**
 * WebSocket connections with invalid handshakes, frames and `tailgate.v1` messages. The gateway sends complete frames with
 * valid JSON, and closes an invalid connection without an internal error.
 */
export async function websocket(): Promise<FuzzTarget> {
  const gateway = await GatewayProcess.start();
  for (let sent = 0; sent < SENT_REQUESTS; sent++) {
    await post(gateway.url, otlpJsonInput(new Random(0, sent)));
  }
  await gateway.warm();
  return {
    input,
    concurrency: CONCURRENCY,
    check: (bytes) => check(gateway.port, bytes),
    settle: () => gateway.settle(),
    close: () => gateway.stop(),
  };
}

async function post(url: string, body: Uint8Array): Promise<void> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers,
    body: Buffer.from(body),
  });
  await answer.arrayBuffer();
}

const SUBPROTOCOL = "tailgate.v1";

function input(random: Random): Uint8Array {
  const isSubscriber = random.once(2);
  const head = handshake(isSubscriber, random);
  const frames = random.list(5, () => (isSubscriber ? messageFrame(random) : oddFrame(random)));
  const ping = frame(0x89, Buffer.from("?"), random);
  const close = random.once(3) ? [frame(0x88, closePayload(random), random)] : [];
  const whole = Buffer.concat([head, ...frames, ping, ...close]);
  return random.once(3)
    ? Buffer.concat([head, mutated(whole.subarray(head.length), random)])
    : whole;
}

const QUERIES = ["replay=20", "replay=1000", "replay=-1", "replay=9e9", "type=audit", "unknown=1"];

function handshake(isSubscriber: boolean, random: Random): Buffer {
  const query = random.once(3) ? filterQuery(random) : random.once(3) ? random.pick(QUERIES) : "";
  const lines = [
    `GET /ws/logs${query === "" ? "" : "?"}${query} HTTP/1.1`,
    "Host: 127.0.0.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...(isSubscriber ? [`Sec-WebSocket-Protocol: ${SUBPROTOCOL}`] : []),
    ...(random.once(4)
      ? ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
      : []),
  ];
  const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
  return random.once(12) ? mutated(head, random) : head;
}

const RESERVED_AND_ALL = [0x01, 0x02, 0x80, 0x81, 0x82, 0x83, 0x89, 0x8a, 0x8b, 0xc1, 0xf1, 0x09];

function oddFrame(random: Random): Buffer {
  const payload = random.once(2)
    ? random.bytes(Math.min(lengthOf(random), 70_000))
    : clientMessage(random);
  return frame(random.once(2) ? 0x81 : random.pick(RESERVED_AND_ALL), payload, random);
}

function messageFrame(random: Random): Buffer {
  if (random.once(4)) return oddFrame(random);
  const message = clientMessage(random);
  return frame(0x81, random.once(4) ? mutated(message, random) : message, random);
}

const COUNTS = [0, 1, 20, 1000, 1e6, 2 ** 53, -1, 0.5, "1", null];
const TIMES = ["2025-10-13T09:27:24Z", "2025-10-13T09:27:24", 1760347644339, -1, 1e300, "now"];

function clientMessage(random: Random): Buffer {
  const message: Record<string, unknown> = { type: random.once(12) ? "hello" : "subscribe" };
  if (random.once(4)) message["type"] = "filter";
  if (random.once(2))
    message["filter"] = Object.fromEntries(new URLSearchParams(filterQuery(random)));
  if (random.once(2) || message["type"] === "filter") message["version"] = random.pick(COUNTS);
  const start = random.below(6);
  if (start === 0 || random.once(20)) message["replay"] = random.pick(COUNTS);
  if (start === 1) message["since"] = random.pick(TIMES);
  if (start === 2) {
    message["resume"] = {
      epoch: random.pick(["", "abc", "x".repeat(65)]),
      sequence: random.pick(COUNTS),
      ...(random.once(2) && { durable: random.pick(COUNTS) }),
    };
  }
  if (random.once(20)) return Buffer.from("[".repeat(random.pick([10, 5000, 60_000])));
  return Buffer.from(JSON.stringify(message));
}

function closePayload(random: Random): Buffer {
  const code = Buffer.alloc(2);
  code.writeUInt16BE(random.pick([0, 999, 1000, 1001, 1005, 1006, 1015, 3000, 4999, 5000, 65_535]));
  return random.once(3) ? random.bytes(random.below(126)) : code;
}

/** Returns a masked frame. Its length is sometimes wrong, or encoded longer than necessary. */
function frame(first: number, payload: Buffer, random: Random): Buffer {
  const mask = random.bytes(4);
  const masked = Buffer.from(payload.map((byte, index) => byte ^ mask[index % 4]!));
  const told = random.once(30) ? random.pick([0, 1, 125, 126, 65_536, 2 ** 40]) : payload.length;
  const maskBit = random.once(40) ? 0 : 0x80;
  return Buffer.concat([Buffer.from([first]), lengthField(told, maskBit, random), mask, masked]);
}

function lengthField(length: number, maskBit: number, random: Random): Buffer {
  const isLonger = random.once(30);
  if (length < 126 && !isLonger) return Buffer.from([maskBit | length]);
  const field = Buffer.alloc(length < 65_536 && !random.once(30) ? 3 : 9);
  field[0] = maskBit | (field.length === 3 ? 126 : 127);
  if (field.length === 3) field.writeUInt16BE(length, 1);
  else field.writeBigUInt64BE(BigInt(length), 1);
  return field;
}

const CLOSED_MS_MAX = 45_000;

async function check(port: number, bytes: Uint8Array): Promise<void> {
  const socket = connect({ port, host: "127.0.0.1", localAddress: nextLocalAddress() });
  const chunks: Buffer[] = [];
  const closed = Promise.withResolvers<void>();
  let isReset = false;
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => (isReset = true));
  socket.on("close", () => closed.resolve());
  const late = setTimeout(() => {
    closed.reject(new Error(`The connection was not closed within ${CLOSED_MS_MAX / 1000} s.`));
    socket.destroy();
  }, CLOSED_MS_MAX);
  // Ending the sending side closes the connection in any state.
  socket.end(bytes);
  await closed.promise.finally(() => clearTimeout(late));
  checkAnswer(Buffer.concat(chunks), isReset);
}

function checkAnswer(answer: Buffer, isReset: boolean): void {
  if (answer.length === 0) return;
  const end = answer.indexOf("\r\n\r\n");
  const head = answer.toString("latin1", 0, Math.max(end, 0));
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
  if (!(status < 500)) throw new Error(`The response to the handshake is ${JSON.stringify(head)}.`);
  if (status === 101) checkFrames(answer.subarray(end + 4), isReset);
}

/** Checks frames (RFC 6455, 5.2). Only a connection that was reset may end inside a frame. */
function checkFrames(bytes: Buffer, isReset: boolean): void {
  for (let position = 0; position < bytes.length;) {
    const opcode = bytes[position]!;
    const short = bytes[position + 1] ?? 0;
    const headLength = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (short > 127) throw new Error("The gateway's frame is masked.");
    if (position + headLength > bytes.length) return cutOff(isReset);
    const length =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(position + 2)
          : Number(bytes.readBigUInt64BE(position + 2));
    const start = position + headLength;
    position = start + length;
    if (position > bytes.length) return cutOff(isReset);
    checkFrame(opcode, bytes.subarray(start, position));
  }
}

function cutOff(isReset: boolean): void {
  if (!isReset) throw new Error("The connection ends inside a frame.");
}

const TEXT = 0x81;
const CLOSE = 0x88;
const PONG = 0x8a;
const INTERNAL_ERROR = 1011;

function checkFrame(opcode: number, payload: Buffer): void {
  if (opcode === TEXT) {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(payload);
    const { type, reason } = JSON.parse(text) as { type?: string; reason?: string };
    if (type === "goodbye" && reason === "failed") throw new Error(`An internal error: ${text}`);
  } else if (opcode === CLOSE) {
    const code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
    if (code === INTERNAL_ERROR)
      throw new Error(`Closed with ${code}: ${payload.toString("utf8", 2)}`);
  } else if (opcode !== PONG && opcode !== 0x89) {
    throw new Error(`A frame begins with ${opcode.toString(16)}.`);
  }
}
