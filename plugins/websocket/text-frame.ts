/** An unmasked text frame with FIN (RFC 6455, 5.2). */
const TEXT = 0x81;

/** From these lengths on two bytes, and eight bytes, say how long it is. */
const LENGTH_16_MIN = 126;
const LENGTH_64_MIN = 1 << 16;

/** How many bytes stand before a payload of that length. */
export function frameHeadBytes(length: number): number {
  if (length < LENGTH_16_MIN) return 2;
  return length < LENGTH_64_MIN ? 4 : 10;
}

/** Writes what stands before a payload; answers where the payload starts. */
export function writeFrameHead(target: Buffer, start: number, length: number): number {
  target[start] = TEXT;
  if (length < LENGTH_16_MIN) {
    target[start + 1] = length;
  } else if (length < LENGTH_64_MIN) {
    target[start + 1] = 126;
    target.writeUInt16BE(length, start + 2);
  } else {
    target[start + 1] = 127;
    target.writeBigUInt64BE(BigInt(length), start + 2);
  }
  return start + frameHeadBytes(length);
}

/** A text as a frame. */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(frameHeadBytes(length) + length);
  frame.write(text, writeFrameHead(frame, 0, length));
  return frame;
}
