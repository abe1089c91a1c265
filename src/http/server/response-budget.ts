import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import { HttpProblem } from "./rejections.ts";
import { Readable } from "node:stream";

const RETRY_AFTER_SECONDS = 1;

/** A page of records gets no more than this, and no more than a part of what is left, so that something always is. */
const PAGE_BYTES_MAX = 8 << 20;
const PAGE_PART = 1 / 4;

/** Pages leave this part to the other answers, which are small. */
const RESERVED_PART = 1 / 8;

/** Bounds the memory of all answers that their clients have not read yet. */
export class AnswerBudget {
  readonly metrics: readonly Metric[] = [
    gauge(
      "tailgate_http_answer_bytes",
      "Memory of answers that clients have not read yet.",
      () => this.#bytes,
    ),
    counter(
      "tailgate_http_answers_refused",
      "Requests that were answered 503 because answers that nobody reads took the memory.",
      () => this.#refused,
    ),
  ];
  readonly #bytesMax: number;
  /** A response that waits behind another one on its connection does not notice its end. */
  readonly #accounts = new Map<Socket, Set<AnswerAccount>>();
  #bytes = 0;
  #refused = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Opens an account, which is closed with the response or its connection. */
  open(response: ServerResponse): AnswerAccount {
    const socket = response.req.socket;
    const accounts = this.#accountsOf(socket);
    const account = new AnswerAccount((bytes) => (this.#bytes += bytes));
    accounts.add(account);
    response.once("close", () => {
      account.close();
      accounts.delete(account);
    });
    return account;
  }

  #accountsOf(socket: Socket): Set<AnswerAccount> {
    const known = this.#accounts.get(socket);
    if (known) return known;
    const accounts = new Set<AnswerAccount>();
    if (socket.destroyed) return accounts;
    this.#accounts.set(socket, accounts);
    socket.once("close", () => {
      this.#accounts.delete(socket);
      for (const account of accounts) account.close();
    });
    return accounts;
  }

  /** The size of the page that may begin now. */
  get pageBytesMax(): number {
    const free = this.#bytesMax * (1 - RESERVED_PART) - this.#bytes;
    return Math.max(0, Math.min(PAGE_BYTES_MAX, PAGE_PART * free));
  }

  /** Takes memory for a page; returns false if there is none. Alone, a single record may be larger than all of it. */
  takeForPage(account: AnswerAccount, bytes: number): boolean {
    const isFree = this.#bytes + bytes <= this.#bytesMax * (1 - RESERVED_PART);
    if (this.#bytes > 0 && !isFree) return false;
    account.take(bytes);
    return true;
  }

  /**
   * Takes memory for a small answer.
   * @throws HttpProblem ANSWERS_UNREAD
   */
  take(account: AnswerAccount, bytes: number): void {
    if (this.#bytes > 0 && this.#bytes + bytes > this.#bytesMax) throw this.refusal();
    account.take(bytes);
  }

  /** For a request that gets no answer because clients do not read theirs. */
  refusal(): HttpProblem {
    this.#refused++;
    const text = `Answers that clients have not read yet hold ${this.#bytes} bytes (http.max_answer_bytes). Try again in ${RETRY_AFTER_SECONDS} s.`;
    return new HttpProblem(503, "ANSWERS_UNREAD", text, RETRY_AFTER_SECONDS);
  }
}

/** What one answer holds. */
export class AnswerAccount {
  readonly #count: (bytes: number) => void;
  #bytes = 0;

  constructor(count: (bytes: number) => void) {
    this.#count = count;
  }

  take(bytes: number): void {
    this.#bytes += bytes;
    this.#count(bytes);
  }

  give(bytes: number): void {
    this.take(-Math.min(bytes, this.#bytes));
  }

  close(): void {
    this.give(this.#bytes);
  }
}

/** What is handed to a socket at a time, so that it shows whether its client reads. Smaller answers need no stream. */
export const WRITE_BYTES_MAX = 64 << 10;

/** A stream that goes on when the client has read what it has. */
export function streamOf(pieces: Iterable<Buffer>): Readable {
  return Readable.from(pieces, { objectMode: false, highWaterMark: WRITE_BYTES_MAX });
}

/** The same bytes in pieces of that size. */
export function* slicesOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += WRITE_BYTES_MAX) {
    yield bytes.subarray(start, start + WRITE_BYTES_MAX);
  }
}
