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

/** 8 MiB, the limit of RFC 9659, section 3. Without it a few bytes of input could allocate 2 GiB. */
const ZSTD_WINDOW_BYTES_LOG_MAX = 23;
const ZSTD_OPTIONS = {
  params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_BYTES_LOG_MAX },
};

/** The result of a synchronous decoder with `info: true`, an option that Node's type declarations lack. */
interface DecodedBody {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

interface DecodeOptions {
  readonly maxOutputLength: number;
  readonly info: true;
}

/** A content coding (RFC 9110, section 8.4.1) that the receiver supports. */
export interface ContentCoding {
  readonly name: string;
  /** How many concatenated frames a body may have. Node's gzip decoder reads several members as one. */
  readonly framesMax: number;
  /** Decodes synchronously. Like the stream, it stops at the end of the first frame and ignores what follows. */
  decode(body: Uint8Array, options: DecodeOptions): DecodedBody;
  createDecoder(
    body: Uint8Array,
    options: { readonly chunkSize: number },
  ): Gunzip | Inflate | InflateRaw | ZstdDecompress;
}

export const GZIP: ContentCoding = {
  name: "gzip",
  framesMax: 1,
  decode: (body, options) => gunzipSync(body, options) as unknown as DecodedBody,
  createDecoder: (_, options) => createGunzip(options),
};

/** Each frame needs a new decoder: Node's ends after one. */
const ZSTD: ContentCoding = {
  name: "zstd",
  framesMax: 1024,
  decode: (body, options) =>
    zstdDecompressSync(body, { ...ZSTD_OPTIONS, ...options }) as unknown as DecodedBody,
  createDecoder: (_, options) => createZstdDecompress({ ...ZSTD_OPTIONS, ...options }),
};

/** The name stands for zlib's format, but many senders send raw deflate. */
const DEFLATE: ContentCoding = {
  name: "deflate",
  framesMax: 1,
  decode(body, options: ZlibOptions & DecodeOptions) {
    const decode = isZlib(body) ? inflateSync : inflateRawSync;
    return decode(body, options) as unknown as DecodedBody;
  },
  createDecoder: (body, options) =>
    isZlib(body) ? createInflate(options) : createInflateRaw(options),
};

/**
 * True if the body starts with zlib's header (RFC 1950, section 2.2). Raw deflate cannot: that first byte would be a
 * stored block with padding other than zero.
 */
function isZlib(body: Uint8Array): boolean {
  const [first = 0, second = 0] = body;
  return (first & 0x0f) === 8 && (256 * first + second) % 31 === 0;
}

/** By their HTTP names; `zlib` is the OpenTelemetry Collector's name of deflate. */
const CODINGS: ReadonlyMap<string, ContentCoding> = new Map([
  ["gzip", GZIP],
  ["zstd", ZSTD],
  ["deflate", DEFLATE],
  ["zlib", DEFLATE],
  // RFC 9110, section 8.4.1.3
  ["x-gzip", GZIP],
]);

/** For `Accept-Encoding`. */
export const HTTP_CODINGS: readonly string[] = ["gzip", "zstd", "deflate", "zlib"];

/** For `grpc-accept-encoding`. */
export const GRPC_CODINGS: readonly string[] = ["gzip", "zstd"];

export function findCoding(name: string): ContentCoding | undefined {
  return CODINGS.get(name);
}

/** True if the input caused the error rather than a lack of memory. */
export function isInvalidInput(error: unknown): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  if (code === "Z_MEM_ERROR" || code === "ZSTD_error_memory_allocation") return false;
  return code.startsWith("Z_") || code.startsWith("ZSTD_error_");
}

/** True if the zstd frame needs a larger window than is allowed. */
export function needsLargeWindow(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ZSTD_error_frameParameter_windowTooLarge";
}
