import type { Socket } from "node:net";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import { HttpError } from "../server/rejections.ts";

const RETRY_AFTER_SECONDS = 1;

export interface SearchLimits {
  /** How many searches may run at the same time. */
  readonly searchesMax: number;
  /** How many may wait for their turn. */
  readonly queuedSearchesMax: number;
}

interface QueuedSearch {
  /** True if the search has run before: a search in progress is not rejected. */
  readonly isContinued: boolean;
  /** Called with true when it may run, with false if its client has left. */
  readonly start: (mayRun: boolean) => void;
  readonly reject: (error: HttpError) => void;
}

/**
 * Limits the searches of the journal that run at the same time. Others wait in one queue per connection, and the queues
 * are served in turn: a client that sends many requests delays itself, not everyone. On overflow, the longest queue loses
 * its last search.
 */
export class SearchQueue {
  readonly metrics: readonly Metric[] = [
    gauge("tailgate_http_searches", "Running searches of the journal.", () => this.#running),
    gauge(
      "tailgate_http_searches_queued",
      "Searches of the journal waiting for others to finish.",
      () => this.#queued,
    ),
    counter(
      "tailgate_http_searches_refused",
      "Searches answered 503 because too many were waiting.",
      () => this.#rejected,
    ),
  ];
  readonly #limits: SearchLimits;
  /** By connection, in the order of their turns. */
  readonly #queues = new Map<Socket, QueuedSearch[]>();
  #running = 0;
  #queued = 0;
  #rejected = 0;

  constructor(limits: SearchLimits) {
    this.#limits = limits;
  }

  /**
   * Runs a search for the client of this socket when its turn comes, unless the client leaves before.
   * @throws HttpError SEARCHES_BUSY if too many are waiting.
   */
  async run(socket: Socket, search: () => Promise<void>, isContinued: boolean): Promise<void> {
    if (!(await this.#waitForTurn(socket, isContinued))) return;
    try {
      await search();
    } finally {
      this.#running--;
      this.#startNext();
    }
  }

  #waitForTurn(socket: Socket, isContinued: boolean): Promise<boolean> | boolean {
    if (socket.destroyed) return false;
    if (this.#running < this.#limits.searchesMax) {
      this.#running++;
      return true;
    }
    if (!isContinued && this.#queued >= this.#limits.queuedSearchesMax) this.#rejectOne(socket);
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#queueOf(socket).push({ isContinued, start: resolve, reject });
    this.#queued++;
    return promise;
  }

  /** Adds one listener per connection, however many requests it has sent. */
  #queueOf(socket: Socket): QueuedSearch[] {
    const existing = this.#queues.get(socket);
    if (existing) return existing;
    const queue: QueuedSearch[] = [];
    this.#queues.set(socket, queue);
    socket.once("close", this.#removeClosed);
    return queue;
  }

  readonly #removeClosed = (): void => {
    for (const [socket, queue] of this.#queues) {
      if (!socket.destroyed) continue;
      this.#queues.delete(socket);
      socket.off("close", this.#removeClosed);
      this.#queued -= queue.length;
      for (const { start } of queue) start(false);
    }
  };

  /** Rejects the last search of the longest queue: the new one, unless another connection has more. */
  #rejectOne(newcomer: Socket): void {
    let longest = this.#queues.get(newcomer)?.length ?? 0;
    let last: { queue: QueuedSearch[]; index: number } | undefined;
    for (const queue of this.#queues.values()) {
      const index = queue.findLastIndex(({ isContinued }) => !isContinued);
      if (queue.length <= longest + 1 || index < 0) continue;
      longest = queue.length - 1;
      last = { queue, index };
    }
    this.#rejected++;
    const text = `${this.#running} searches of the journal are running and ${this.#queued} are waiting. Retry in ${RETRY_AFTER_SECONDS} s.`;
    const error = new HttpError(503, "SEARCHES_BUSY", text, RETRY_AFTER_SECONDS);
    if (last === undefined) throw error;
    const [rejected] = last.queue.splice(last.index, 1);
    this.#queued--;
    rejected!.reject(error);
  }

  #startNext(): void {
    for (const [socket, queue] of this.#queues) {
      if (this.#running >= this.#limits.searchesMax) return;
      const { start } = queue.shift()!;
      this.#queued--;
      this.#running++;
      // Moves the queue to the end of the turns.
      this.#queues.delete(socket);
      if (queue.length > 0) this.#queues.set(socket, queue);
      else socket.off("close", this.#removeClosed);
      start(true);
    }
  }
}
