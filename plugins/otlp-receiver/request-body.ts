import type { IncomingMessage } from "node:http";
import { quotedExcerpt } from "tailgate/plugin";
import {
  findCoding,
  GZIP,
  HTTP_CODINGS,
  isInvalidInput,
  needsLargeWindow,
  type ContentCoding,
} from "./content-coding.ts";
import { RequestRejection } from "./response.ts";

/** Below both sizes, synchronous decompression is faster than handing the body to another thread. */
const SYNC_BODY_BYTES_MAX = 64 << 10;
const SYNC_CONTENT_BYTES_MAX = 1 << 20;

/** The last four bytes of gzip are the size of the content modulo 2^32 (RFC 1952, section 2.3.1). */
const GZIP_SIZE_BYTES = 4;

const PADDING_BYTES_MAX = 64 << 10;

/** Output chunk size of decompression in another thread. */
const CHUNK_BYTES = 256 << 10;

/** Bodies decompressed concurrently: libuv's pool has four threads for everything, and a zstd window takes 8 MiB. */
const DECODERS_MAX = 2;

/** Smaller buffers go with the next young-generation collection, which is cheaper than detaching them. */
const RELEASED_BYTES_MIN = 16 << 10;

export interface BodyLimits {
  /** Size on the wire. */
  readonly bodyBytesMax: number;
  /** Size after decompression. */
  readonly inflatedBytesMax: number;
}

/** Limits the memory that all requests together hold while they are read and decompressed. */
export class BodyBudget {
  readonly #bytesMax: number;
  readonly #waiting: (() => void)[] = [];
  #bytes = 0;
  #decoders = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** @throws RequestRejection 503 if that many more bytes exceed the budget. */
  acquire(bytes: number): void {
    if (this.#bytes + bytes > this.#bytesMax) {
      throw new RequestRejection(503, `Requests in flight already hold ${this.#bytes} bytes.`);
    }
    this.#bytes += bytes;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Runs `decode` as soon as fewer than {@link DECODERS_MAX} others are running. */
  async runDecoder<Result>(decode: () => Promise<Result>): Promise<Result> {
    if (this.#decoders === DECODERS_MAX) {
      await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    } else this.#decoders++;
    try {
      return await decode();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#decoders--;
    }
  }
}

/**
 * Reads and decompresses a request's body.
 * @throws RequestRejection 400, 413, 415 or 503; the request's own error if the client disconnects.
 */
export function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  budget: BodyBudget,
): Promise<Uint8Array> {
  const coding = readCoding(request.headers["content-encoding"]);
  const rejection = coding instanceof RequestRejection ? coding : undefined;
  const options = { bytesMax: limits.bodyBytesMax, budget, rejection };
  return withBody(request, options, (body): Uint8Array | Promise<Uint8Array> =>
    coding === undefined || coding instanceof RequestRejection
      ? body
      : decompress(body, limits.inflatedBytesMax, budget, coding),
  );
}

/** Returns the coding that Content-Encoding names, undefined if it names none, or a 415 if it is not supported. */
function readCoding(header: string | undefined): ContentCoding | RequestRejection | undefined {
  const names = (header ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length === 0) return undefined;
  const coding = names.length === 1 ? findCoding(names[0]!) : undefined;
  if (coding !== undefined) return coding;
  const text = `Content-Encoding ${quotedExcerpt(names.join(", "))} is not supported; use ${CODING_CHOICE}.`;
  return new RequestRejection(415, text, { codings: HTTP_CODINGS });
}

/** Such as `gzip, zstd or deflate`. */
const CODING_CHOICE = `${HTTP_CODINGS.slice(0, -1).join(", ")} or ${HTTP_CODINGS.at(-1)}`;

interface BodyOptions {
  readonly bytesMax: number;
  readonly budget: BodyBudget;
  /** A reason to reject the request whatever its body is. */
  readonly rejection?: RequestRejection | undefined;
}

/**
 * Reads a request's body as it was sent, and charges it to the budget until `use` is done.
 *
 * The body of a rejected request is drained: a client whose connection is closed while it still sends sees a broken
 * connection instead of the response.
 * @throws RequestRejection 413 or 503; the request's own error if the client disconnects.
 */
export async function withBody<Result>(
  request: IncomingMessage,
  options: BodyOptions,
  use: (body: Buffer) => Result | Promise<Result>,
): Promise<Result> {
  const reader = new BodyReader(options);
  try {
    await reader.read(request);
    return await use(reader.takeBody());
  } finally {
    reader.release();
  }
}

class BodyReader {
  readonly #bytesMax: number;
  readonly #budget: BodyBudget;
  #rejection: unknown;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor({ bytesMax, budget, rejection }: BodyOptions) {
    this.#bytesMax = bytesMax;
    this.#budget = budget;
    this.#rejection = rejection;
  }

  /** Resolves at the end of the body. Listeners, because an async iterator takes a third of the time of a small request. */
  read(request: IncomingMessage): Promise<void> {
    return new Promise((resolve, reject) => {
      request.on("data", (chunk: Buffer) => this.#add(chunk));
      request.on("end", resolve);
      request.on("error", reject);
      request.on("close", () => {
        if (!request.readableEnded) reject(new Error("The request ends before its body does."));
      });
    });
  }

  #add(chunk: Buffer): void {
    if (this.#rejection !== undefined) return;
    try {
      if (this.#bytes + chunk.length > this.#bytesMax) throw tooLarge(this.#bytesMax);
      this.#budget.acquire(chunk.length);
      this.#bytes += chunk.length;
      this.#chunks.push(chunk);
    } catch (error) {
      this.#rejection = error;
      this.#chunks = [];
      // Now rather than at the end of the body: otherwise concurrent requests would all be rejected because of each other.
      this.release();
    }
  }

  /**
   * Returns the body, which the caller owns from then on.
   * @throws RequestRejection 413, 415 or 503
   */
  takeBody(): Buffer {
    if (this.#rejection !== undefined) throw this.#rejection;
    const chunks = this.#chunks;
    this.#chunks = [];
    if (chunks.length === 1) return chunks[0]!;
    const body = Buffer.concat(chunks);
    // Each chunk is a copy that Node made for this reader alone.
    for (const chunk of chunks) releaseMemory(chunk);
    return body;
  }

  /** Returns the body's bytes to the budget. */
  release(): void {
    this.#budget.release(this.#bytes);
    this.#bytes = 0;
  }
}

/**
 * Decompresses a body, of which it takes ownership.
 * @throws RequestRejection 400, 413 or 503
 */
export async function decompress(
  body: Buffer,
  bytesMax: number,
  budget: BodyBudget,
  coding: ContentCoding = GZIP,
): Promise<Uint8Array> {
  try {
    const content =
      decompressSync(body, bytesMax, coding) ??
      (await budget.runDecoder(() => decompressInThread(body, bytesMax, budget, coding)));
    releaseMemory(body);
    return content;
  } catch (error) {
    throw isInvalidInput(error) ? invalidInput(error, coding) : error;
  }
}

function invalidInput(error: unknown, { name }: ContentCoding): RequestRejection {
  const text = needsLargeWindow(error)
    ? "The body needs a zstd window of more than 8 MiB (RFC 9659); compress it with a smaller one."
    : `The body is not valid ${name}.`;
  return new RequestRejection(400, text);
}

/** Decompresses a small body. Returns undefined if body or content is too large for that, or if data follows the first frame. */
function decompressSync(
  body: Buffer,
  bytesMax: number,
  coding: ContentCoding,
): Uint8Array | undefined {
  if (body.length > SYNC_BODY_BYTES_MAX) return undefined;
  const hasSize = coding === GZIP && body.length >= GZIP_SIZE_BYTES;
  const size = hasSize ? body.readUInt32LE(body.length - GZIP_SIZE_BYTES) : 0;
  if (size > SYNC_CONTENT_BYTES_MAX) return undefined;
  try {
    const maxOutputLength = Math.min(bytesMax, SYNC_CONTENT_BYTES_MAX);
    const { buffer, engine } = coding.decode(body, { maxOutputLength, info: true });
    return engine.bytesWritten === body.length ? buffer : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") return undefined;
    throw error;
  }
}

/** Decompresses in libuv's thread pool, and charges the content to the budget while it grows. */
async function decompressInThread(
  body: Buffer,
  bytesMax: number,
  budget: BodyBudget,
  coding: ContentCoding,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let rest = body;
  try {
    for (let frames = 1; ; frames++) {
      const decoder = coding.createDecoder(rest, { chunkSize: CHUNK_BYTES });
      decoder.end(rest);
      for await (const chunk of decoder as AsyncIterable<Buffer>) {
        if (bytes + chunk.length > bytesMax) throw tooLarge(bytesMax, " after decompression");
        budget.acquire(chunk.length);
        bytes += chunk.length;
        chunks.push(chunk);
      }
      rest = rest.subarray(decoder.bytesWritten);
      if (rest.length === 0 || isPadding(rest, coding)) return Buffer.concat(chunks);
      if (frames === coding.framesMax) throw trailingData(rest.length, coding);
    }
  } finally {
    budget.release(bytes);
  }
}

/** Zeros after gzip are ignored: software that writes whole blocks pads with them (gzip manual, "Using gzip on tapes"). */
function isPadding(rest: Buffer, coding: ContentCoding): boolean {
  if (coding !== GZIP || rest.length > PADDING_BYTES_MAX) return false;
  return rest.every((byte) => byte === 0);
}

function trailingData(bytes: number, { name, framesMax }: ContentCoding): RequestRejection {
  const frames = framesMax === 1 ? "the end" : `${framesMax} frames`;
  return new RequestRejection(400, `The body has ${bytes} bytes after ${frames} of its ${name}.`);
}

export function tooLarge(bytesMax: number, when = ""): RequestRejection {
  return new RequestRejection(
    413,
    `The body is larger than ${bytesMax} bytes${when}; send fewer records per request.`,
  );
}

/**
 * Detaches a buffer's memory, which would otherwise wait for a full garbage collection and trigger one: V8 marks the
 * whole heap for about every 25 MB of external memory.
 *
 * Only the owner of the bytes may call this: all views of them become empty. A view of a larger buffer is left alone,
 * because others own the rest of it.
 */
export function releaseMemory({ buffer, byteLength }: Uint8Array): void {
  const isWhole = byteLength === buffer.byteLength;
  if (!isWhole || byteLength < RELEASED_BYTES_MIN) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
