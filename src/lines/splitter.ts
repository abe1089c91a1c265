import { StringDecoder } from "node:string_decoder";

/** One line of a source. */
export interface SplitLine {
  /** The line as text without its line ending. What is not UTF-8 is U+FFFD. */
  readonly text: string;
  /** The size in the source, with the line ending, in bytes. */
  readonly bytes: number;
  /** The number of bytes that were left out because the line is too long; the text ends with a marker then. */
  readonly cutBytes: number;
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BYTE_ORDER_MARK = "\uFEFF";

/** Splits bytes into lines. Keeps at most `maxBytes` of a line in memory. */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  /** The bytes of the line so far, and how many of them are in the parts. */
  #bytes = 0;
  #kept = 0;

  /** `maxBytes` limits the bytes of a line that are kept. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The size of the line that has no end yet, in bytes. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** Adds bytes, and returns the lines that they complete. `chunk` may be reused afterwards. */
  push(chunk: Uint8Array): SplitLine[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const lines: SplitLine[] = [];
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      this.#add(bytes.subarray(start, end));
      lines.push(this.#take(1));
      start = end + 1;
    }
    if (start < bytes.length) this.#add(Buffer.from(bytes.subarray(start)));
    return lines;
  }

  /** Returns the line that has no end yet; undefined if there is none. */
  flush(): SplitLine | undefined {
    return this.#bytes === 0 ? undefined : this.#take(0);
  }

  #add(part: Buffer): void {
    const kept = part.subarray(0, this.#maxBytes - this.#kept);
    this.#bytes += part.length;
    this.#kept += kept.length;
    if (kept.length > 0) this.#parts.push(kept);
  }

  #take(terminatorBytes: number): SplitLine {
    const line = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    const bytes = this.#bytes + terminatorBytes;
    const cutBytes = this.#bytes - this.#kept;
    this.#parts = [];
    this.#bytes = 0;
    this.#kept = 0;
    return { text: cutBytes > 0 ? cutText(line, cutBytes) : textOfLine(line), bytes, cutBytes };
  }
}

function textOfLine(line: Buffer): string {
  const end = line.at(-1) === CARRIAGE_RETURN ? line.length - 1 : line.length;
  return withoutMark(line.toString("utf8", 0, end));
}

/** Ends before a character of which not all bytes are left. */
function cutText(line: Buffer, cutBytes: number): string {
  return `${withoutMark(new StringDecoder("utf8").write(line))} [truncated: ${cutBytes} more bytes]`;
}

function withoutMark(text: string): string {
  return text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
}
