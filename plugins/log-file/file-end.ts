import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";

const LINE_FEED = 0x0a;

/** Usually enough to contain the end of the last line; doubled until it is. */
const READ_BYTES = 64 << 10;

/** The end of a file of lines. */
export interface FileEnd {
  /** The offset after the line feed of the last complete line. */
  readonly completeBytes: number;
  /** The bytes after that: the beginning of a line, or nothing. */
  readonly torn: Buffer;
}

/** Reads the end of a regular file. */
export async function endOfFile(path: string): Promise<FileEnd> {
  await using handle = await openToRead(path);
  return await endOf(handle);
}

/** Reads the complete lines of a regular file, without their line feeds, the last one first. */
export async function* linesFromEnd(path: string): AsyncGenerator<Buffer> {
  await using handle = await openToRead(path);
  let { completeBytes: end } = await endOf(handle);
  for (let length = READ_BYTES; end > 0;) {
    const start = Math.max(0, end - length);
    const bytes = await read(handle, start, end);
    let lineEnd = bytes.length - 1;
    for (let feed; (feed = feedBefore(bytes, lineEnd)) >= 0; lineEnd = feed) {
      yield bytes.subarray(feed + 1, lineEnd);
    }
    if (start === 0) {
      yield bytes.subarray(0, lineEnd);
      return;
    }
    const isFound = lineEnd < bytes.length - 1;
    length = isFound ? READ_BYTES : 2 * length;
    end = start + lineEnd + 1;
  }
}

async function endOf(handle: FileHandle): Promise<FileEnd> {
  const { size } = await handle.stat();
  for (let length = READ_BYTES; ; length *= 2) {
    const start = Math.max(0, size - length);
    const bytes = await read(handle, start, size);
    const end = bytes.lastIndexOf(LINE_FEED) + 1;
    if (end > 0 || start === 0) return { completeBytes: start + end, torn: bytes.subarray(end) };
  }
}

/** Returns the offset of the last line feed before `offset`; -1 if there is none. */
function feedBefore(bytes: Buffer, offset: number): number {
  return offset === 0 ? -1 : bytes.lastIndexOf(LINE_FEED, offset - 1);
}

async function read(handle: FileHandle, start: number, end: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start);
  return buffer.subarray(0, bytesRead);
}

function openToRead(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
}
