import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import { HttpError } from "./rejections.ts";

const RETRY_AFTER_SECONDS = 1;

/** The limit of a page of records, and its share of the memory that is left, so that some is always left. */
const PAGE_BYTES_MAX = 8 << 20;
const PAGE_SHARE = 1 / 4;

/** The share that pages leave to other responses, which are small. */
const RESERVED_SHARE = 1 / 8;

/** Limits the memory of all responses that their clients have not read yet. */
export class ResponseBudget {
  readonly metrics: readonly Metric[] = [
    gauge(
      "tailgate_http_answer_bytes",
      "Memory of responses that clients have not read yet.",
      () => this.#bytes,
    ),
    counter(
      "tailgate_http_answers_refused",
      "Requests answered 503 because unread responses used all the memory.",
      () => this.#rejected,
    ),
  ];
  /** May change while responses are open. */
  bytesMax: number;
  /** A response that waits behind another one on its connection is not told when that connection ends. */
  readonly #allocations = new Map<Socket, Set<ResponseMemory>>();
  #bytes = 0;
  #rejected = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Returns the memory of a response, which is released when the response or its connection closes. */
  open(response: ServerResponse): ResponseMemory {
    const { socket } = response.req;
    const allocations = this.#allocationsOf(socket);
    const memory = new ResponseMemory((bytes) => (this.#bytes += bytes));
    allocations.add(memory);
    response.once("close", () => {
      memory.releaseAll();
      allocations.delete(memory);
    });
    return memory;
  }

  #allocationsOf(socket: Socket): Set<ResponseMemory> {
    const existing = this.#allocations.get(socket);
    if (existing) return existing;
    const allocations = new Set<ResponseMemory>();
    if (socket.destroyed) return allocations;
    this.#allocations.set(socket, allocations);
    socket.once("close", () => {
      this.#allocations.delete(socket);
      for (const memory of allocations) memory.releaseAll();
    });
    return allocations;
  }

  /** The size limit of a page that starts now. */
  get pageBytesMax(): number {
    const free = this.bytesMax * (1 - RESERVED_SHARE) - this.#bytes;
    return Math.max(0, Math.min(PAGE_BYTES_MAX, PAGE_SHARE * free));
  }

  /** Reserves memory for a page. Returns false if there is none; while no other response uses any, there always is. */
  reserveForPage(memory: ResponseMemory, bytes: number): boolean {
    const isFree = this.#bytes + bytes <= this.bytesMax * (1 - RESERVED_SHARE);
    if (this.#bytes > 0 && !isFree) return false;
    memory.reserve(bytes);
    return true;
  }

  /**
   * Reserves memory for a small response.
   * @throws HttpError ANSWERS_UNREAD
   */
  reserve(memory: ResponseMemory, bytes: number): void {
    if (this.#bytes > 0 && this.#bytes + bytes > this.bytesMax) throw this.exceeded();
    memory.reserve(bytes);
  }

  /** Returns the error for a request that gets no response because clients do not read theirs, and counts it. */
  exceeded(): HttpError {
    this.#rejected++;
    const text = `Responses that clients have not read yet hold ${this.#bytes} bytes (http.max_answer_bytes). Retry in ${RETRY_AFTER_SECONDS} s.`;
    return new HttpError(503, "ANSWERS_UNREAD", text, RETRY_AFTER_SECONDS);
  }
}

/** The memory of one response. */
export class ResponseMemory {
  readonly #count: (bytes: number) => void;
  #bytes = 0;

  constructor(count: (bytes: number) => void) {
    this.#count = count;
  }

  reserve(bytes: number): void {
    this.#bytes += bytes;
    this.#count(bytes);
  }

  release(bytes: number): void {
    this.reserve(-Math.min(bytes, this.#bytes));
  }

  releaseAll(): void {
    this.release(this.#bytes);
  }
}

/** How much is written to a socket at a time, so that it shows whether its client reads. Smaller bodies need no stream. */
export const WRITE_BYTES_MAX = 64 << 10;

/** Returns a stream that advances as the client reads. */
export function streamOf(chunks: Iterable<Buffer> | AsyncIterable<Buffer>): Readable {
  return Readable.from(chunks, { objectMode: false, highWaterMark: WRITE_BYTES_MAX });
}

/** Splits bytes into chunks of at most {@link WRITE_BYTES_MAX}. */
export function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += WRITE_BYTES_MAX) {
    yield bytes.subarray(start, start + WRITE_BYTES_MAX);
  }
}
