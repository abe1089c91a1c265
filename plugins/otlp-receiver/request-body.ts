import type { IncomingMessage } from "node:http";
import { quotedExcerpt } from "tailgate/plugin";
import {
  contentCoding,
  GZIP,
  HTTP_CODINGS,
  isInvalidInput,
  needsLargeWindow,
  type ContentCoding,
} from "./content-coding.ts";
import { giveBack } from "./own-memory.ts";
import { Refusal } from "./refusal.ts";

/** Up to these sizes, before and after, unpacking on the spot is faster than handing it to another thread. */
const SYNC_BODY_BYTES_MAX = 64 << 10;
const SYNC_CONTENT_BYTES_MAX = 1 << 20;

/** Gzip ends with the size of what was packed, modulo 2^32, as its last four bytes have it (RFC 1952, 2.3.1). */
const SIZE_BYTES = 4;

const PADDING_BYTES_MAX = 64 << 10;

/** How much the other thread unpacks at a time. */
const CHUNK_BYTES = 256 << 10;

/** How many bodies are unpacked in other threads at once: libuv has four for everything, and a zstd window takes 8 MiB. */
const DECODERS_MAX = 2;

export interface BodyLimits {
  /** As it comes over the wire, in bytes. */
  readonly bodyBytesMax: number;
  /** After unpacking. */
  readonly inflatedBytesMax: number;
}

/** What all requests may hold together while they are read and unpacked. */
export class BodyBudget {
  readonly #bytesMax: number;
  readonly #waiting: (() => void)[] = [];
  #bytes = 0;
  #decoders = 0;

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

  /** Runs `decode` once fewer than {@link DECODERS_MAX} others run. */
  async inTurn<Result>(decode: () => Promise<Result>): Promise<Result> {
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
 * Reads a request's body and unpacks it.
 * @throws Refusal 400, 413, 415 or 503; the request's own error where the client goes away.
 */
export function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  budget: BodyBudget,
): Promise<Uint8Array> {
  const coding = codingOf(request.headers["content-encoding"]);
  const refusal = coding instanceof Refusal ? coding : undefined;
  const taking = { bytesMax: limits.bodyBytesMax, budget, refusal };
  return withBody(request, taking, (body): Uint8Array | Promise<Uint8Array> =>
    coding === undefined || coding instanceof Refusal
      ? body
      : unpacked(body, limits.inflatedBytesMax, budget, coding),
  );
}

/** The coding that Content-Encoding names; undefined if that is none, 415 if it is not accepted. */
function codingOf(header: string | undefined): ContentCoding | Refusal | undefined {
  const names = (header ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length === 0) return undefined;
  const coding = names.length === 1 ? contentCoding(names[0]!) : undefined;
  if (coding !== undefined) return coding;
  const text = `Content-Encoding ${quotedExcerpt(names.join(", "))} is not taken; use ${CHOICE}.`;
  return new Refusal(415, text, { codings: HTTP_CODINGS });
}

/** Such as `gzip, zstd or deflate`. */
const CHOICE = `${HTTP_CODINGS.slice(0, -1).join(", ")} or ${HTTP_CODINGS.at(-1)}`;

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
      // At once, not at the body's end: else requests that come together would all be refused for each other's sake.
      this.release();
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
  coding: ContentCoding = GZIP,
): Promise<Uint8Array> {
  try {
    const content =
      unpackedHere(body, bytesMax, coding) ??
      (await budget.inTurn(() => unpackedElsewhere(body, bytesMax, budget, coding)));
    giveBack(body);
    return content;
  } catch (error) {
    throw isInvalidInput(error) ? invalid(error, coding) : error;
  }
}

function invalid(error: unknown, { name }: ContentCoding): Refusal {
  const text = needsLargeWindow(error)
    ? "The body needs a zstd window of more than 8 MiB (RFC 9659); compress it with a smaller one."
    : `The body is not valid ${name}.`;
  return new Refusal(400, text);
}

/** Unpacks what is small; undefined if it may not be, whatever it says of its size, or if something follows it. */
function unpackedHere(
  body: Buffer,
  bytesMax: number,
  coding: ContentCoding,
): Uint8Array | undefined {
  if (body.length > SYNC_BODY_BYTES_MAX) return undefined;
  const saysSize = coding === GZIP && body.length >= SIZE_BYTES;
  const size = saysSize ? body.readUInt32LE(body.length - SIZE_BYTES) : 0;
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

/** Unpacks in another thread, and counts what comes of it while others do the same. */
async function unpackedElsewhere(
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
      const decoder = coding.decoder(rest, { chunkSize: CHUNK_BYTES });
      decoder.end(rest);
      for await (const chunk of decoder as AsyncIterable<Buffer>) {
        if (bytes + chunk.length > bytesMax) throw tooLargeUnpacked(bytesMax);
        budget.take(chunk.length);
        bytes += chunk.length;
        chunks.push(chunk);
      }
      rest = rest.subarray(decoder.bytesWritten);
      if (rest.length === 0 || isPadding(rest, coding)) return Buffer.concat(chunks);
      if (frames === coding.framesMax) throw trailing(rest.length, coding);
    }
  } finally {
    budget.give(bytes);
  }
}

/** Some zeros after gzip are ignored: what writes whole blocks pads with them ("Using gzip on tapes"). */
function isPadding(rest: Buffer, coding: ContentCoding): boolean {
  if (coding !== GZIP || rest.length > PADDING_BYTES_MAX) return false;
  return rest.every((byte) => byte === 0);
}

function trailing(bytes: number, { name, framesMax }: ContentCoding): Refusal {
  const frames = framesMax === 1 ? "its end" : `${framesMax} frames`;
  return new Refusal(400, `The body has ${bytes} bytes after ${frames} of ${name}.`);
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
