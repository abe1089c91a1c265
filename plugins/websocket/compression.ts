/**
 * permessage-deflate (RFC 7692) without context takeover: no message refers to an earlier one, so that a compressed frame
 * is the same for all clients that get these records, and is made once.
 */

import { constants, deflateRawSync } from "node:zlib";
import { compressedTextFrame, textFrameAt } from "tailgate/plugin";
import type { Chunk, Encoder } from "./encoders.ts";

/** Compressing a larger message would occupy the event loop for longer than 10 ms. */
const MESSAGE_BYTES_MAX = 1 << 20;

/** Higher levels save less than a percent of the bytes of envelopes, and take up to three times as long. */
const LEVEL = 3;

/** What `ws` negotiates. */
export const DEFLATE_EXTENSION = {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
} as const;

/** A client that asks for a smaller window cannot read what the others share; it may be sent uncompressed messages. */
const SMALL_WINDOW = /server_max_window_bits\s*=\s*"?(?:[89]|1[0-4])\b/i;

/** Returns whether a client can read compressed messages: `negotiated` and `offered` are `Sec-WebSocket-Extensions`. */
export function readsCompressed(negotiated: string, offered: string | undefined): boolean {
  return negotiated !== "" && !SMALL_WINDOW.test(offered ?? "");
}

/** An empty block ends what is flushed; it is left out of the message (RFC 7692, section 7.2.1). */
const FLUSH_TAIL_BYTES = 4;

interface CompressionOptions {
  /** Smaller messages are sent as they are. */
  readonly thresholdBytes: number;
  /** Called with how many bytes each message that was compressed has become smaller. */
  countSaved(bytes: number): void;
}

/** Returns the encoder with its messages compressed. Control messages, which are small, stay as they are. */
export function compressedEncoder(encoder: Encoder, options: CompressionOptions): Encoder {
  return {
    reportsGaps: encoder.reportsGaps,
    encode: (range) => encoder.encode(range).map((chunk) => compressedChunk(chunk, options)),
    encodeMessage: (message) => encoder.encodeMessage(message),
  };
}

function compressedChunk(
  { to, frames, bytes }: Chunk,
  { thresholdBytes, countSaved }: CompressionOptions,
): Chunk {
  const parts: Uint8Array[] = [];
  /** The end of what is in `parts`. */
  let copied = 0;
  for (let position = 0; position < bytes.length;) {
    const { start, end } = textFrameAt(bytes, position);
    const size = end - start;
    if (size >= thresholdBytes && size <= MESSAGE_BYTES_MAX) {
      const frame = compressedTextFrame(deflated(bytes.subarray(start, end)));
      if (frame.length < end - position) {
        parts.push(bytes.subarray(copied, position), frame);
        copied = end;
        countSaved(end - position - frame.length);
      }
    }
    position = end;
  }
  if (copied === 0) return { to, frames, bytes };
  parts.push(bytes.subarray(copied));
  return { to, frames, bytes: Buffer.concat(parts) };
}

function deflated(payload: Uint8Array): Buffer {
  const flushed = deflateRawSync(payload, { level: LEVEL, finishFlush: constants.Z_SYNC_FLUSH });
  return flushed.subarray(0, flushed.length - FLUSH_TAIL_BYTES);
}
