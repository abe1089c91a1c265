import type { IncomingMessage } from "node:http";
import { createGunzip, gunzipSync } from "node:zlib";
import { giveBack } from "./own-memory.ts";
import { Refusal } from "./refusal.ts";

/** Up to these sizes, before and after, unpacking on the spot is faster than handing it to another thread. */
const SYNC_GUNZIP_BYTES_MAX = 64 << 10;
const SYNC_GUNZIPPED_BYTES_MAX = 1 << 20;

/** Gzip ends with the size of what was packed, modulo 2^32, as its last four bytes have it (RFC 1952, 2.3.1). */
const SIZE_BYTES = 4;

/** How much the other thread unpacks at a time. */
const GUNZIP_CHUNK_BYTES = 256 << 10;

export interface BodyLimits {
  /** As it comes over the wire, in bytes. */
  readonly bodyBytesMax: number;
  /** After unpacking. */
  readonly inflatedBytesMax: number;
}

/** What all requests may hold together while they are read and unpacked. */
export class BodyBudget {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** @throws Refusal 503 where there is no room for that many more. */
  take(bytes: number): void {
    if (this.#bytes + bytes > this.#bytesMax) {
      throw new Refusal(503, `Requests in flight hold ${this.#bytes} bytes already.`);
    }
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/**
 * Reads a request's body and unpacks it.
 * @throws Refusal 400, 413, 415 or 503; the request's own error where the client goes away.
 */
export function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  budget: BodyBudget,
): Promise<Uint8Array> {
  const encoding = request.headers["content-encoding"]?.trim().toLowerCase() || "identity";
  const isGzip = encoding === "gzip" || encoding === "x-gzip";
  const refusal =
    isGzip || encoding === "identity"
      ? undefined
      : new Refusal(415, `Content-Encoding ${JSON.stringify(encoding)} is not taken; use gzip.`);
  const taking = { bytesMax: limits.bodyBytesMax, budget, refusal };
  return withBody(request, taking, (body): Uint8Array | Promise<Uint8Array> =>
    isGzip ? unpacked(body, limits.inflatedBytesMax, budget) : body,
  );
}

interface Taking {
  readonly bytesMax: number;
  readonly budget: BodyBudget;
  /** Why the body is refused whatever it is. */
  readonly refusal?: Refusal | undefined;
}

/**
 * Reads a request's body as it is sent, and counts it as in flight until it was used.
 *
 * A body that is refused is still read to its end, into nothing: a client that is cut off while it sends would see a
 * broken connection in place of the answer.
 * @throws Refusal 413 or 503; the request's own error where the client goes away.
 */
export async function withBody<Result>(
  request: IncomingMessage,
  taking: Taking,
  use: (body: Buffer) => Result | Promise<Result>,
): Promise<Result> {
  const body = new ArrivingBody(taking);
  try {
    await body.arrived(request);
    return await use(body.joined());
  } finally {
    body.release();
  }
}

/** What a request has sent of its body. */
class ArrivingBody {
  readonly #bytesMax: number;
  readonly #budget: BodyBudget;
  #refusal: unknown;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor({ bytesMax, budget, refusal }: Taking) {
    this.#bytesMax = bytesMax;
    this.#budget = budget;
    this.#refusal = refusal;
  }

  /** Resolves at the body's end. An iterator over the request would take a third of the time of a small one. */
  arrived(request: IncomingMessage): Promise<void> {
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
    if (this.#refusal !== undefined) return;
    try {
      if (this.#bytes + chunk.length > this.#bytesMax) throw tooLarge(this.#bytesMax);
      this.#budget.take(chunk.length);
      this.#bytes += chunk.length;
      this.#chunks.push(chunk);
    } catch (error) {
      this.#refusal = error;
      this.#chunks = [];
    }
  }

  /**
   * The body, which belongs to the caller from then on.
   * @throws Refusal 413, 415 or 503
   */
  joined(): Buffer {
    if (this.#refusal !== undefined) throw this.#refusal;
    const chunks = this.#chunks;
    this.#chunks = [];
    if (chunks.length === 1) return chunks[0]!;
    const body = Buffer.concat(chunks);
    // Node has copied each of them for its one reader.
    for (const chunk of chunks) giveBack(chunk);
    return body;
  }

  /** Says that the body was used. */
  release(): void {
    this.#budget.give(this.#bytes);
    this.#bytes = 0;
  }
}

/**
 * Unpacks a body, which belongs to it from then on.
 * @throws Refusal 400, 413 or 503
 */
export async function unpacked(
  body: Buffer,
  bytesMax: number,
  budget: BodyBudget,
): Promise<Uint8Array> {
  try {
    const content = unpackedHere(body, bytesMax);
    if (content === undefined) return await unpackedElsewhere(body, bytesMax, budget);
    giveBack(body);
    return content;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(400, "The body is not valid gzip.");
  }
}

/** Unpacks what is small; undefined if it may not be, whatever it says of its size. */
function unpackedHere(body: Buffer, bytesMax: number): Uint8Array | undefined {
  const size = body.length < SIZE_BYTES ? 0 : body.readUInt32LE(body.length - SIZE_BYTES);
  if (body.length > SYNC_GUNZIP_BYTES_MAX || size > SYNC_GUNZIPPED_BYTES_MAX) return undefined;
  try {
    return gunzipSync(body, { maxOutputLength: Math.min(bytesMax, SYNC_GUNZIPPED_BYTES_MAX) });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") return undefined;
    throw error;
  }
}

/** Unpacks in another thread, and counts what comes of it while others do the same. */
async function unpackedElsewhere(
  body: Buffer,
  bytesMax: number,
  budget: BodyBudget,
): Promise<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: GUNZIP_CHUNK_BYTES });
  const chunks: Buffer[] = [];
  let bytes = 0;
  gunzip.end(body);
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      if (bytes + chunk.length > bytesMax) throw tooLargeUnpacked(bytesMax);
      budget.take(chunk.length);
      bytes += chunk.length;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } finally {
    budget.give(bytes);
  }
}

function tooLargeUnpacked(bytesMax: number): Refusal {
  return tooLarge(bytesMax, " after unpacking");
}

export function tooLarge(bytesMax: number, when = ""): Refusal {
  return new Refusal(
    413,
    `The body is larger than ${bytesMax} bytes${when}; send fewer records at once.`,
  );
}
