/**
 * Unmasked WebSocket text frames (RFC 6455, section 5.2). This is the only file that knows what their headers look like:
 * the envelopes of a batch lie in memory as such frames, so that clients can be sent that memory as it is.
 */

/** FIN and the opcode of a text frame. */
const TEXT_FRAME = 0x81;
/** Values of the length field: the length follows in two bytes, in eight bytes. */
const LENGTH_16 = 126;
const LENGTH_64 = 127;

const LENGTH_16_MAX = 0xffff;

/**
 * Bytes to leave free before an envelope, for the header of all but very large ones. The shortest envelope, an audit
 * event without a message, has 129 bytes, so that no header is shorter.
 */
export const FRAME_HEADER_SPACE = 4;

/** Returns true if a payload is so large that its frame header is longer than {@link FRAME_HEADER_SPACE}. */
export function hasLongFrameHeader(payloadBytes: number): boolean {
  return payloadBytes > LENGTH_16_MAX;
}

/** Returns the size of the header of a WebSocket text frame before a payload of that size, in bytes. */
export function frameHeaderBytes(payloadBytes: number): number {
  if (payloadBytes < LENGTH_16) return 2;
  return payloadBytes > LENGTH_16_MAX ? 10 : 4;
}

/** Writes the header of a WebSocket text frame with a payload of that size at `position`; returns where the payload starts. */
export function writeFrameHeader(target: Buffer, position: number, payloadBytes: number): number {
  target[position] = TEXT_FRAME;
  if (payloadBytes < LENGTH_16) {
    target[position + 1] = payloadBytes;
    return position + 2;
  }
  if (payloadBytes > LENGTH_16_MAX) {
    target[position + 1] = LENGTH_64;
    return target.writeBigUInt64BE(BigInt(payloadBytes), position + 2);
  }
  target[position + 1] = LENGTH_16;
  target[position + 2] = payloadBytes >> 8;
  target[position + 3] = payloadBytes & 0xff;
  return position + 4;
}

/** Returns a text as one WebSocket text frame. */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(frameHeaderBytes(length) + length);
  frame.write(text, writeFrameHeader(frame, 0, length));
  return frame;
}
