import type { Readable } from "node:stream";
import type { Batch, Gap } from "../../plugin/index.ts";
import {
  chunksOf,
  streamOf,
  WRITE_BYTES_MAX,
  type ResponseBudget,
  type ResponseMemory,
} from "../server/response-budget.ts";
import type { MatchSink } from "./journal-search.ts";

/** Memory is reserved in buffers that grow up to this size; a larger record has its own. */
const BUFFER_BYTES_MIN = 4 << 10;
const BUFFER_BYTES_MAX = 64 << 10;

/** How many buffers are in flight at most: in the stream, the response and the socket. */
const BUFFERS_IN_FLIGHT = 3;

/** What is written between the records of a page, and after each of them. */
export interface Separators {
  readonly between: string;
  readonly after: string;
}

export const LINES: Separators = { between: "", after: "\n" };

/** What the records of a response take their memory from. */
export interface PageMemory {
  readonly budget: ResponseBudget;
  readonly memory: ResponseMemory;
}

/** The records of one response, or of a part of it, as JSON: each envelope with its sequence in front. */
export class RecordPage implements MatchSink {
  readonly readsEnvelopes = false;
  readonly #limit: number;
  readonly #separators: Separators;
  readonly #lastSequence: number;
  readonly #budget: ResponseBudget;
  readonly #memory: ResponseMemory;
  /** The full buffers. */
  readonly #buffers: Buffer[] = [];
  /** The buffer that is being filled. */
  #buffer = Buffer.alloc(0);
  #used = 0;
  #bytes = 0;
  #bytesMax = Infinity;
  #count = 0;
  #isOutOfMemory = false;
  #isAtEnd = false;

  /** It ends before a record with a sequence beyond `lastSequence`. */
  constructor(
    limit: number,
    separators: Separators,
    { budget, memory }: PageMemory,
    lastSequence = Infinity,
  ) {
    this.#limit = limit;
    this.#lastSequence = lastSequence;
    this.#separators = separators;
    this.#budget = budget;
    this.#memory = memory;
  }

  /** True if there was no memory even for the first record. */
  get isRejected(): boolean {
    return this.#isOutOfMemory && this.#count === 0;
  }

  get left(): number {
    return this.#limit - this.#count;
  }

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return (
      this.#count >= this.#limit ||
      this.#bytes >= this.#bytesMax ||
      this.#isOutOfMemory ||
      this.#isAtEnd
    );
  }

  /** Copies the record: a reference would retain its batch, which may be a thousand times as large. */
  add(batch: Batch, index: number): boolean {
    if (batch.sequence(index) > this.#lastSequence) {
      this.#isAtEnd = true;
      return false;
    }
    const { between, after } = this.#separators;
    // Followed by the envelope without its opening brace.
    const head = `${this.#count === 0 ? "" : between}{"sequence":${batch.sequence(index)},`;
    const envelope = batch.bytes(index);
    const length = head.length + envelope.length - 1 + after.length;
    if (!this.#reserve(length)) {
      this.#isOutOfMemory = true;
      return false;
    }
    this.#write(head);
    this.#buffer.set(envelope.subarray(1), this.#used);
    this.#used += envelope.length - 1;
    this.#write(after);
    this.#bytes += length;
    this.#count++;
    return true;
  }

  #write(text: string): void {
    this.#used += this.#buffer.write(text, this.#used, "latin1");
  }

  /** Makes room for a record in the current buffer or a new one. Returns false if there is no memory. */
  #reserve(length: number): boolean {
    if (this.#count === 0) this.#bytesMax = this.#budget.pageBytesMax;
    if (this.#used + length <= this.#buffer.length) return true;
    const grown = Math.min(BUFFER_BYTES_MAX, Math.max(BUFFER_BYTES_MIN, 2 * this.#buffer.length));
    const size = Math.max(length, grown);
    if (!this.#budget.reserveForPage(this.#memory, size)) return false;
    this.#finishBuffer();
    this.#buffer = Buffer.allocUnsafeSlow(size);
    return true;
  }

  #finishBuffer(): void {
    if (this.#used > 0) this.#buffers.push(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  /** Returns the buffers with its records, which it retains no longer. */
  takeBuffers(): Buffer[] {
    this.#finishBuffer();
    return this.#buffers.splice(0);
  }

  /** Returns the body and its length; a large body is a stream that advances as the client reads. */
  body(
    head: string,
    tail: string,
  ): { readonly length: number; readonly content: Buffer | Readable } {
    const buffers = this.takeBuffers();
    const length = Buffer.byteLength(head) + this.#bytes + Buffer.byteLength(tail);
    if (length <= WRITE_BYTES_MAX) {
      return { length, content: Buffer.concat([Buffer.from(head), ...buffers, Buffer.from(tail)]) };
    }
    return { length, content: streamOf(drain({ head, buffers, tail }, this.#memory)) };
  }
}

/** Yields the body in chunks, and releases the memory of each buffer once its chunks must have been written. */
function* drain(
  { head, buffers, tail }: { head: string; buffers: Buffer[]; tail: string },
  memory: ResponseMemory,
): Generator<Buffer> {
  const inFlight: number[] = [];
  if (head !== "") yield Buffer.from(head);
  for (let buffer = buffers.shift(); buffer; buffer = buffers.shift()) {
    yield* chunksOf(buffer);
    inFlight.push(buffer.buffer.byteLength);
    if (inFlight.length > BUFFERS_IN_FLIGHT) memory.release(inFlight.shift()!);
  }
  if (tail !== "") yield Buffer.from(tail);
}

/** Returns a gap as JSON; `lane` is the former name of `type`, for clients that know only that. */
export function gapJson({ from, to, type, reason }: Gap): object {
  return { from, to, type, lane: type, reason };
}
