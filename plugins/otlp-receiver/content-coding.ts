import {
  constants,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
  gunzipSync,
  inflateRawSync,
  inflateSync,
  zstdDecompressSync,
  type Gunzip,
  type Inflate,
  type InflateRaw,
  type ZlibOptions,
  type ZstdDecompress,
} from "node:zlib";

/** RFC 9659, 3: a decoder need not hold more for a frame, and a few bytes could else ask for 2 GiB. */
const ZSTD_WINDOW_BYTES_LOG_MAX = 23;
const ZSTD_OPTIONS = {
  params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_BYTES_LOG_MAX },
};

/** What a decoder has read when it is done. Node's declarations do not know the option `info`. */
interface Decoded {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

interface DecodeOptions {
  readonly maxOutputLength: number;
  readonly info: true;
}

/** A content coding (RFC 9110, 8.4.1) that the receiver decodes. */
export interface ContentCoding {
  readonly name: string;
  /** How many pieces a body may have that follow each other; those of gzip are one to its decoder. */
  readonly framesMax: number;
  /** Decodes at once. Like the stream it stops at the end of a piece, whatever follows. */
  decode(body: Uint8Array, options: DecodeOptions): Decoded;
  decoder(
    body: Uint8Array,
    options: { readonly chunkSize: number },
  ): Gunzip | Inflate | InflateRaw | ZstdDecompress;
}

export const GZIP: ContentCoding = {
  name: "gzip",
  framesMax: 1,
  decode: (body, options) => gunzipSync(body, options) as unknown as Decoded,
  decoder: (_, options) => createGunzip(options),
};

/** Each frame has a decoder of its own: Node's ends after one. */
const ZSTD: ContentCoding = {
  name: "zstd",
  framesMax: 1024,
  decode: (body, options) =>
    zstdDecompressSync(body, { ...ZSTD_OPTIONS, ...options }) as unknown as Decoded,
  decoder: (_, options) => createZstdDecompress({ ...ZSTD_OPTIONS, ...options }),
};

/** By its name in zlib's format, which many senders leave out. */
const DEFLATE: ContentCoding = {
  name: "deflate",
  framesMax: 1,
  decode(body, options: ZlibOptions & DecodeOptions) {
    const decode = isZlib(body) ? inflateSync : inflateRawSync;
    return decode(body, options) as unknown as Decoded;
  },
  decoder: (body, options) => (isZlib(body) ? createInflate(options) : createInflateRaw(options)),
};

/**
 * Whether it begins with zlib's header (RFC 1950, 2.2). Raw deflate does not: such a first byte would be that of a
 * stored block whose padding is not zero.
 */
function isZlib(body: Uint8Array): boolean {
  const [first = 0, second = 0] = body;
  return (first & 0x0f) === 8 && (256 * first + second) % 31 === 0;
}

/** By their names over HTTP; `zlib` is how the OpenTelemetry Collector calls deflate. */
const CODINGS: ReadonlyMap<string, ContentCoding> = new Map([
  ["gzip", GZIP],
  ["zstd", ZSTD],
  ["deflate", DEFLATE],
  ["zlib", DEFLATE],
  // RFC 9110, 8.4.1.3
  ["x-gzip", GZIP],
]);

/** As `Accept-Encoding` lists them. */
export const HTTP_CODINGS: readonly string[] = ["gzip", "zstd", "deflate", "zlib"];

/** As `grpc-accept-encoding` lists them. */
export const GRPC_CODINGS: readonly string[] = ["gzip", "zstd"];

/** The coding of that name; undefined where there is none. */
export function contentCoding(name: string): ContentCoding | undefined {
  return CODINGS.get(name);
}

/** True for errors that the input is to blame for, not the machine. */
export function isInvalidInput(error: unknown): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  if (code === "Z_MEM_ERROR" || code === "ZSTD_error_memory_allocation") return false;
  return code.startsWith("Z_") || code.startsWith("ZSTD_error_");
}

/** True if the sender's zstd needs more memory to be decoded than is allowed. */
export function needsLargeWindow(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ZSTD_error_frameParameter_windowTooLarge";
}
