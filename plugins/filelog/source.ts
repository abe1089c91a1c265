import type { BigIntStats } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { LineSplitter } from "tailgate/plugin";
import { EventAssembler, type LineEvent, type StartsEvent } from "./event-assembler.ts";
import { fingerprintOf, inodeOf, isFingerprintOf, type Position } from "./position.ts";

const CHUNK_BYTES = 128 << 10;

export interface SourceOptions {
  readonly maxLogBytes: number;
  readonly fingerprintBytes: number;
  readonly startsEvent: StartsEvent | undefined;
}

/** One open file that is read line by line. Its offsets are those of {@link Position}. */
export class Source {
  readonly position: Position;
  /** When bytes were read last, in milliseconds since 1970. */
  grownMs = Date.now();
  #handle: FileHandle;
  /** The file itself while its copy is read. */
  #copied: FileHandle | undefined;
  readonly #options: SourceOptions;
  /** Up to where the file was read. What is between the position's offset and this waits for the end of its event. */
  #readOffset: number;
  #head: Buffer = Buffer.alloc(0);
  /** The bytes before {@link #readOffset}, back to the fingerprint before the position's offset. */
  #recent: Buffer = Buffer.alloc(0);
  readonly #splitter: LineSplitter;
  readonly #assembler: EventAssembler;
  /** The offset of the line that the splitter returns next. */
  #lineOffset: number;

  private constructor(handle: FileHandle, position: Position, options: SourceOptions) {
    this.#handle = handle;
    this.position = position;
    this.#options = options;
    this.#readOffset = position.offset;
    this.#lineOffset = position.offset;
    this.#splitter = new LineSplitter(options.maxLogBytes);
    this.#assembler = new EventAssembler(options.maxLogBytes, options.startsEvent);
  }

  /**
   * Opens a file at its position. Returns undefined if the file is not the one that the position was stored for.
   * @throws the error of the file system
   */
  static async open(
    path: string,
    position: Position,
    options: SourceOptions,
  ): Promise<Source | undefined> {
    const handle = await open(path, "r");
    try {
      const source = new Source(handle, position, options);
      const isSame = inodeOf(await source.stat()) === position.inode;
      if (isSame && (await source.#matches())) {
        source.commit(position.offset);
        return source;
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    await handle.close();
    return undefined;
  }

  /** Reads what identifies the file, and compares it with the position. */
  async #matches(): Promise<boolean> {
    const { head, tail, offset } = this.position;
    this.#head = await this.#read(0, this.#options.fingerprintBytes);
    this.#recent = await this.#read(Math.max(0, offset - tail.bytes), Math.min(tail.bytes, offset));
    return (
      this.#recent.length === tail.bytes &&
      isFingerprintOf(this.#head, head) &&
      isFingerprintOf(this.#recent, tail)
    );
  }

  /** Skips everything that is in the file now, up to the end of its last line. */
  async skipToEnd(): Promise<void> {
    const { size } = await this.#handle.stat();
    let end = size;
    // A line that is half written is read from its start.
    for (let found = false; end > 0 && !found;) {
      const start = Math.max(0, end - CHUNK_BYTES);
      const feed = (await this.#read(start, end - start)).lastIndexOf(0x0a);
      found = feed >= 0;
      end = found ? start + feed + 1 : start;
      if (size - end > this.#options.maxLogBytes) break;
    }
    const start = Math.max(0, end - this.#options.fingerprintBytes);
    this.#recent = await this.#read(start, end - start);
    this.#readOffset = end;
    this.#lineOffset = end;
    this.commit(end);
  }

  async stat(): Promise<BigIntStats> {
    return await (this.#copied ?? this.#handle).stat({ bigint: true });
  }

  /** Whether what was read is still there: the file was neither truncated nor written anew. */
  async isIntact(): Promise<boolean> {
    const { size } = await this.#handle.stat();
    if (size < this.#readOffset) return false;
    const start = this.#readOffset - this.#recent.length;
    const head = await this.#read(0, this.#head.length);
    return (
      head.equals(this.#head) && (await this.#read(start, this.#recent.length)).equals(this.#recent)
    );
  }

  /** Whether another file starts with everything that was read from this one: it is a copy, perhaps with more at its end. */
  async isCopiedTo(path: string): Promise<boolean> {
    if (this.#readOffset === 0) return false;
    await using handle = await open(path, "r");
    const { size } = await handle.stat();
    if (size < this.#readOffset) return false;
    const start = this.#readOffset - this.#recent.length;
    const read = this.#head.subarray(0, this.#readOffset);
    return (
      (await readFrom(handle, 0, read.length)).equals(read) &&
      (await readFrom(handle, start, this.#recent.length)).equals(this.#recent)
    );
  }

  /** Whether another file starts as this one does: it may be a copy that is being written. */
  async startsLike(path: string): Promise<boolean> {
    await using handle = await open(path, "r");
    const head = await readFrom(handle, 0, this.#head.length);
    return head.equals(this.#head.subarray(0, head.length));
  }

  /** Continues at the same offset in a copy of the file. */
  async continueIn(path: string): Promise<void> {
    this.#copied = this.#handle;
    this.#handle = await open(path, "r");
  }

  /** Returns the source of the same file from its beginning. This one is not used any more. */
  async startAgain(position: Position): Promise<Source> {
    const handle = this.#copied ?? this.#handle;
    if (this.#copied !== undefined) await this.#handle.close();
    const source = new Source(handle, position, this.#options);
    await source.#matches();
    source.commit(position.offset);
    return source;
  }

  /**
   * Reads a piece of the file; returns the events that it completes, and whether it was the last piece. If what was read
   * before is not there any more, nothing is read: {@link isIntact} is false then.
   */
  async read(): Promise<{ readonly events: LineEvent[]; readonly isEnd: boolean }> {
    // In one call with the bytes before: the file may be truncated, and written anew, at any time.
    const overlap = Math.min(this.#recent.length, this.#options.fingerprintBytes);
    const bytes = await readOnce(this.#handle, this.#readOffset - overlap, overlap + CHUNK_BYTES);
    const before = this.#recent.subarray(this.#recent.length - overlap);
    const chunk = bytes.subarray(overlap);
    const isSame = bytes.subarray(0, overlap).equals(before) && this.#continuesHead(chunk);
    if (chunk.length === 0 || !isSame) return { events: [], isEnd: true };
    this.grownMs = Date.now();
    this.#extendHead(chunk);
    this.#readOffset += chunk.length;
    this.#remember(chunk);
    const events: LineEvent[] = [];
    for (const line of this.#splitter.push(chunk)) {
      events.push(...this.#assembler.add(line, this.#lineOffset));
      this.#lineOffset += line.bytes;
    }
    return { events, isEnd: false };
  }

  /** Returns what waits for more: a line without its end, and the event that it may belong to. */
  flush(): LineEvent[] {
    const events: LineEvent[] = [];
    const line = this.#splitter.flush();
    if (line !== undefined) {
      events.push(...this.#assembler.add(line, this.#lineOffset));
      this.#lineOffset += line.bytes;
    }
    const last = this.#assembler.flush();
    if (last !== undefined) events.push(last);
    return events;
  }

  get isWaiting(): boolean {
    return this.#splitter.pendingBytes > 0 || this.#assembler.isWaiting;
  }

  /** Whether nothing was read yet. */
  get isUnread(): boolean {
    return this.#readOffset === 0;
  }

  get hasPartialLine(): boolean {
    return this.#splitter.pendingBytes > 0;
  }

  /** The offset after everything that {@link read} and {@link flush} have returned or left out. */
  get settledOffset(): number {
    return this.#assembler.isWaiting ? this.#assembler.start : this.#lineOffset;
  }

  /** Whether a piece starts with what is known of it from when the file was opened. */
  #continuesHead(chunk: Buffer): boolean {
    const known = this.#head.subarray(this.#readOffset);
    return known.equals(chunk.subarray(0, known.length));
  }

  /** Takes the head from what is read: the file may have changed since. */
  #extendHead(chunk: Buffer): void {
    const { fingerprintBytes } = this.#options;
    if (this.#readOffset >= fingerprintBytes) return;
    const before = this.#head.subarray(0, this.#readOffset);
    this.#head = Buffer.concat([before, chunk.subarray(0, fingerprintBytes - before.length)]);
  }

  #remember(chunk: Buffer): void {
    const kept = this.#readOffset - this.position.offset + this.#options.fingerprintBytes;
    const joined = Buffer.concat([this.#recent, chunk]);
    this.#recent = Buffer.from(joined.subarray(Math.max(0, joined.length - kept)));
  }

  /** Moves the position: everything before `offset` is durable. */
  commit(offset: number): void {
    const { position } = this;
    position.offset = offset;
    const end = this.#recent.length - (this.#readOffset - offset);
    const start = Math.max(0, end - this.#options.fingerprintBytes);
    position.tail = fingerprintOf(this.#recent.subarray(start, end));
    position.head = fingerprintOf(this.#head);
    this.#recent = this.#recent.subarray(start);
  }

  async close(): Promise<void> {
    await this.#handle.close();
    await this.#copied?.close();
  }

  #read(start: number, length: number): Promise<Buffer> {
    return readFrom(this.#handle, start, length);
  }
}

async function readOnce(handle: FileHandle, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  const { bytesRead } = await handle.read(buffer, 0, length, start);
  return buffer.subarray(0, bytesRead);
}

/** Reads up to `length` bytes. */
async function readFrom(handle: FileHandle, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, start + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
