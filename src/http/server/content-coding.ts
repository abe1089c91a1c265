/** Compression of responses, as far as the client accepts it. */

import { pipeline, Readable, type Transform } from "node:stream";
// As a whole: by name, Node versions without zstd could not even load the module that reports them as unsupported.
import zlib from "node:zlib";
import type { Context } from "koa";
import type { ResponseBudget } from "./response-budget.ts";

/** The content coding of a body that is not compressed. */
export const IDENTITY = "identity";

/**
 * Returns the coding that the client prefers, the first one of equally preferred ones. A client that accepts none of
 * them gets the content as it is (RFC 9110, 12.5.3).
 */
export function acceptedCoding(header: string, codings: readonly string[]): string {
  const qualities = new Map(
    header.split(",").map((part) => {
      const [coding, quality] = part
        .trim()
        .toLowerCase()
        .split(/\s*;\s*q=/);
      return [coding!, quality === undefined ? 1 : Number(quality)];
    }),
  );
  // Codings that are not named rank below all that are.
  const qualityOf = (coding: string): number =>
    qualities.get(coding) ?? (coding === IDENTITY ? Number.MIN_VALUE : (qualities.get("*") ?? 0));
  const [best] = codings
    .filter((coding) => qualityOf(coding) > 0)
    .toSorted((one, other) => qualityOf(other) - qualityOf(one));
  return best ?? IDENTITY;
}

/**
 * The codings of responses that are compressed on the way, preferred first. Their levels and windows are those that keep up
 * with the journal, in at most {@link COMPRESSOR_BYTES} of memory.
 */
const COMPRESSORS: ReadonlyMap<string, () => Transform> = new Map([
  [
    "zstd",
    () =>
      zlib.createZstdCompress({
        params: {
          [zlib.constants.ZSTD_c_compressionLevel]: 3,
          [zlib.constants.ZSTD_c_windowLog]: 18,
        },
      }),
  ],
  [
    "br",
    () =>
      zlib.createBrotliCompress({
        params: {
          [zlib.constants.BROTLI_PARAM_MODE]: zlib.constants.BROTLI_MODE_TEXT,
          [zlib.constants.BROTLI_PARAM_QUALITY]: 4,
          [zlib.constants.BROTLI_PARAM_LGWIN]: 18,
        },
      }),
  ],
  ["gzip", () => zlib.createGzip({ level: 4 })],
]);

const CODINGS = [...COMPRESSORS.keys()];

/** The memory of one compressor, by which it counts as an unread response. */
const COMPRESSOR_BYTES = 1 << 20;

/** A smaller body fits into a packet. */
const COMPRESSED_BYTES_MIN = 1 << 10;

/**
 * Compresses the response's body, unless it is small, a file of the dashboard, or the memory of unread responses is used up.
 * The body is a buffer or a stream; without a length it is taken for a large one.
 */
export function compressBody(context: Context, budget: ResponseBudget): void {
  const { body, length } = context;
  if (!Buffer.isBuffer(body) && !(body instanceof Readable)) return;
  // The dashboard's files were compressed when it was built.
  if (context.res.hasHeader("Vary")) return;
  context.vary("Accept-Encoding");
  if (length !== undefined && length < COMPRESSED_BYTES_MIN) return;
  const coding = acceptedCoding(context.get("Accept-Encoding"), CODINGS);
  const createCompressor = COMPRESSORS.get(coding);
  if (createCompressor === undefined) return;
  if (!budget.reserveForPage(budget.open(context.res), COMPRESSOR_BYTES)) return;
  const content = Buffer.isBuffer(body) ? Readable.from([body], { objectMode: false }) : body;
  // A failure ends the compressor, too, and koa cuts the response then.
  context.body = pipeline(content, createCompressor(), () => {});
  context.set("Content-Encoding", coding);
  context.remove("Content-Length");
}
