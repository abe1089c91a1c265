/**
 * Unmasked WebSocket text frames (RFC 6455, section 5.2). This is the only file that knows what their headers look like:
 * the envelopes of a batch lie in memory as such frames, so that clients can be sent that memory as it is.
 */

/** FIN and the opcode of a text frame. */
const TEXT_FRAME = 0x81;
/** The bit RSV1, which says that a message is compressed. */
const COMPRESSED = 0x40;
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

/** Returns where the payload of the unmasked text frame at `position` starts and ends. */
export function textFrameAt(
  bytes: Uint8Array,
  position: number,
): { readonly start: number; readonly end: number } {
  const { buffer, byteOffset, byteLength } = bytes;
  const view = new DataView(buffer, byteOffset, byteLength);
  const length = view.getUint8(position + 1);
  if (length < LENGTH_16) return { start: position + 2, end: position + 2 + length };
  if (length === LENGTH_16) {
    return { start: position + 4, end: position + 4 + view.getUint16(position + 2) };
  }
  return { start: position + 10, end: position + 10 + Number(view.getBigUint64(position + 2)) };
}

/** Returns a payload that permessage-deflate has compressed as one text frame (RFC 7692, section 6.1). */
export function compressedTextFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafeSlow(frameHeaderBytes(payload.length) + payload.length);
  frame.set(payload, writeFrameHeader(frame, 0, payload.length));
  frame[0]! |= COMPRESSED;
  return frame;
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
