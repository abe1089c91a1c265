import type { Readable } from "node:stream";
import type { Batch } from "../../plugin/index.ts";
import {
  type AnswerAccount,
  type AnswerBudget,
  slicesOf,
  streamOf,
  WRITE_BYTES_MAX,
} from "../server/response-budget.ts";
import type { Sink } from "./journal-search.ts";

/** Memory is taken in pieces that grow up to this size; records that are larger have a piece of their own. */
const PIECE_BYTES_MIN = 4 << 10;
const PIECE_BYTES_MAX = 64 << 10;

/** So many pieces can be between here and the system's buffers: the stream's, the response's, the socket's. */
const PIECES_UNDERWAY = 3;

/** How records follow one another. */
export interface Separators {
  readonly between: string;
  readonly after: string;
}

/** The records of one answer: each as JSON, the envelope with its sequence in front. */
export class FoundRecords implements Sink {
  readonly readsEnvelopes = false;
  readonly #limit: number;
  readonly #separators: Separators;
  readonly #budget: AnswerBudget;
  readonly #account: AnswerAccount;
  /** Pieces that are full, and the one that is being filled. */
  readonly #pieces: Buffer[] = [];
  #piece = Buffer.alloc(0);
  #used = 0;
  #bytes = 0;
  /** With so many bytes it takes no further record. */
  #bytesMax = Infinity;
  #count = 0;
  #isOut = false;

  constructor(
    limit: number,
    separators: Separators,
    { budget, account }: { budget: AnswerBudget; account: AnswerAccount },
  ) {
    this.#limit = limit;
    this.#separators = separators;
    this.#budget = budget;
    this.#account = account;
  }

  /** True if not even the first record had room. */
  get isRefused(): boolean {
    return this.#isOut && this.#count === 0;
  }

  get isFull(): boolean {
    return this.#count >= this.#limit || this.#bytes >= this.#bytesMax || this.#isOut;
  }

  /** Copies the record: what it is a part of can be a thousand times as large. Returns false if it has no room. */
  take(batch: Batch, index: number): boolean {
    const { between, after } = this.#separators;
    // All of the envelope but its opening brace is taken as it is.
    const head = `${this.#count === 0 ? "" : between}{"sequence":${batch.sequence(index)},`;
    const envelope = batch.bytes(index);
    const length = head.length + envelope.length - 1 + after.length;
    if (!this.#hasRoom(length)) {
      this.#isOut = true;
      return false;
    }
    this.#write(head);
    this.#piece.set(envelope.subarray(1), this.#used);
    this.#used += envelope.length - 1;
    this.#write(after);
    this.#bytes += length;
    this.#count++;
    return true;
  }

  #write(text: string): void {
    this.#used += this.#piece.write(text, this.#used, "latin1");
  }

  /** Makes sure that so many bytes fit into the piece that is being filled. */
  #hasRoom(length: number): boolean {
    if (this.#count === 0) this.#bytesMax = this.#budget.pageBytesMax;
    if (this.#used + length <= this.#piece.length) return true;
    const grown = Math.min(PIECE_BYTES_MAX, Math.max(PIECE_BYTES_MIN, 2 * this.#piece.length));
    const size = Math.max(length, grown);
    if (!this.#budget.takeForPage(this.#account, size)) return false;
    this.#endPiece();
    this.#piece = Buffer.allocUnsafeSlow(size);
    return true;
  }

  #endPiece(): void {
    if (this.#used > 0) this.#pieces.push(this.#piece.subarray(0, this.#used));
    this.#used = 0;
  }

  /** The answer with its length, as a stream if it is large: it goes on when the client has read what it has. */
  body(
    head: string,
    tail: string,
  ): { readonly length: number; readonly content: Buffer | Readable } {
    this.#endPiece();
    const pieces = this.#pieces.splice(0);
    const length = Buffer.byteLength(head) + this.#bytes + Buffer.byteLength(tail);
    if (length <= WRITE_BYTES_MAX) {
      return { length, content: Buffer.concat([Buffer.from(head), ...pieces, Buffer.from(tail)]) };
    }
    const content = written({ head, pieces, tail }, this.#account);
    return { length, content: streamOf(content) };
  }
}

/** Hands the answer out, and forgets each piece of it. */
function* written(
  { head, pieces, tail }: { head: string; pieces: Buffer[]; tail: string },
  account: AnswerAccount,
): Generator<Buffer> {
  const underway: number[] = [];
  if (head !== "") yield Buffer.from(head);
  for (let piece = pieces.shift(); piece; piece = pieces.shift()) {
    yield* slicesOf(piece);
    underway.push(piece.buffer.byteLength);
    if (underway.length > PIECES_UNDERWAY) account.give(underway.shift()!);
  }
  if (tail !== "") yield Buffer.from(tail);
}
