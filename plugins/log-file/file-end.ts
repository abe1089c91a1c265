import { constants } from "node:fs";
import { open } from "node:fs/promises";

const LINE_FEED = 0x0a;

/** Most ends are found in so much; for larger lines more is read. */
const READ_BYTES = 64 << 10;

/** How a file of lines ends. */
export interface FileEnd {
  /** The last whole line, without its line feed; undefined where there is none. */
  readonly lastLine: Buffer | undefined;
  /** Where that line ends, its line feed included. */
  readonly wholeBytes: number;
  /** What follows: the beginning of a line, or nothing. */
  readonly torn: Buffer;
}

/** The file is a regular one. */
export async function endOfFile(path: string): Promise<FileEnd> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await handle.stat();
    for (let length = Math.min(READ_BYTES, size); ; length = Math.min(2 * length, size)) {
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(length),
        0,
        length,
        size - length,
      );
      const bytes = buffer.subarray(0, bytesRead);
      const end = bytes.lastIndexOf(LINE_FEED) + 1;
      const start = bytes.subarray(0, Math.max(0, end - 1)).lastIndexOf(LINE_FEED) + 1;
      if (start === 0 && length < size) continue;
      const lastLine = end === 0 ? undefined : bytes.subarray(start, end - 1);
      return { lastLine, wholeBytes: size - length + end, torn: bytes.subarray(end) };
    }
  } finally {
    await handle.close();
  }
}
