import type { IncomingMessage } from "node:http";
import { createGunzip, gunzipSync } from "node:zlib";
import { Refusal } from "./refusal.ts";

/** Up to it, unpacking on the spot is faster than handing it to another thread. */
const SYNC_GUNZIP_BYTES_MAX = 64 << 10;

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
export async function readBody(
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
  { bytesMax, budget, refusal: given }: Taking,
  use: (body: Buffer) => Result | Promise<Result>,
): Promise<Result> {
  let refusal: unknown = given;
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      if (refusal !== undefined) continue;
      try {
        if (bytes + chunk.length > bytesMax) throw tooLarge(bytesMax);
        budget.take(chunk.length);
        bytes += chunk.length;
        chunks.push(chunk);
      } catch (error) {
        refusal = error;
        chunks.length = 0;
      }
    }
    if (refusal !== undefined) throw refusal;
    return await use(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
  } finally {
    budget.give(bytes);
  }
}

/** @throws Refusal 400, 413 or 503 */
export async function unpacked(
  body: Buffer,
  bytesMax: number,
  budget: BodyBudget,
): Promise<Uint8Array> {
  try {
    return body.length <= SYNC_GUNZIP_BYTES_MAX
      ? compact(gunzipSync(body, { maxOutputLength: bytesMax }))
      : await unpackedElsewhere(body, bytesMax, budget);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
      throw tooLargeUnpacked(bytesMax);
    }
    throw new Refusal(400, "The body is not valid gzip.");
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

/** The journal keeps bodies for a while: not together with memory around them that is nobody's. */
function compact(body: Buffer): Uint8Array {
  return 2 * body.length < body.buffer.byteLength ? new Uint8Array(body) : body;
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
