/**
 * The envelopes of a batch lie in memory as unmasked WebSocket text frames (RFC 6455, section 5.2), one after the
 * other, so that clients can be sent that memory as it is. This is the only file that knows what frame headers look
 * like.
 */

/** FIN and the opcode of a text frame. */
const TEXT_FRAME = 0x81;
/** Length fields: the length follows in two bytes, in eight bytes. */
const LENGTH_16 = 126;
const LENGTH_64 = 127;

const LENGTH_16_MAX = 0xffff;

const HEADER_BYTES = 4;
const LONG_HEADER_BYTES = 10;

/** Space to leave free before an envelope, for the header of all but very large ones. */
export const FRAME_HEADER_SPACE = HEADER_BYTES;

/** Whether an envelope is so large that its frame header is longer than {@link FRAME_HEADER_SPACE}. */
export function hasLongFrameHeader(envelopeBytes: number): boolean {
  return envelopeBytes > LENGTH_16_MAX;
}

/**
 * Returns the size of the frame header before an envelope of that size. The shortest envelope, an audit event without a
 * message, has 129 bytes, so the header of two bytes never occurs.
 */
export function frameHeaderBytes(envelopeBytes: number): number {
  return envelopeBytes > LENGTH_16_MAX ? LONG_HEADER_BYTES : HEADER_BYTES;
}

/** Writes the frame header of an envelope of that size, at `position`. */
export function writeFrameHeader(buffer: Buffer, position: number, envelopeBytes: number): void {
  buffer[position] = TEXT_FRAME;
  if (envelopeBytes > LENGTH_16_MAX) {
    buffer[position + 1] = LENGTH_64;
    buffer.writeBigUInt64BE(BigInt(envelopeBytes), position + 2);
  } else {
    buffer[position + 1] = LENGTH_16;
    buffer[position + 2] = envelopeBytes >> 8;
    buffer[position + 3] = envelopeBytes & 0xff;
  }
}
