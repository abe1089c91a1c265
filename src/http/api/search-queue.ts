import type { Socket } from "node:net";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import { HttpProblem } from "../server/rejections.ts";

const RETRY_AFTER_SECONDS = 1;

export interface SearchLimits {
  /** How many searches run at the same time. */
  readonly searchesMax: number;
  /** How many wait for it. */
  readonly queuedSearchesMax: number;
}

interface Waiting {
  /** True for a search that has run before: it is not refused in the middle. */
  readonly isContinued: boolean;
  /** Told whether its turn has come: false if its client has left. */
  readonly begin: (isDue: boolean) => void;
  readonly refuse: (problem: HttpProblem) => void;
}

/**
 * Bounds the searches of the journal that run at the same time. The others wait, each connection in a line of its own,
 * and the lines take turns: who sends many requests waits longer, not everyone. When too many wait, the longest line
 * loses its last one.
 */
export class SearchQueue {
  readonly metrics: readonly Metric[] = [
    gauge("tailgate_http_searches", "Searches of the journal that run.", () => this.#running),
    gauge(
      "tailgate_http_searches_queued",
      "Searches of the journal that wait for others to end.",
      () => this.#queued,
    ),
    counter(
      "tailgate_http_searches_refused",
      "Searches that were answered 503 because too many waited.",
      () => this.#refused,
    ),
  ];
  readonly #limits: SearchLimits;
  /** By connection, in the order of their turns. */
  readonly #lines = new Map<Socket, Waiting[]>();
  #running = 0;
  #queued = 0;
  #refused = 0;

  constructor(limits: SearchLimits) {
    this.#limits = limits;
  }

  /**
   * Runs a search for the client of that socket when its turn comes; not at all if the client leaves before.
   * @throws HttpProblem SEARCHES_BUSY if too many wait.
   */
  async run(socket: Socket, search: () => Promise<void>, isContinued: boolean): Promise<void> {
    if (!(await this.#admit(socket, isContinued))) return;
    try {
      await search();
    } finally {
      this.#running--;
      this.#next();
    }
  }

  #admit(socket: Socket, isContinued: boolean): Promise<boolean> | boolean {
    if (socket.destroyed) return false;
    if (this.#running < this.#limits.searchesMax) {
      this.#running++;
      return true;
    }
    if (!isContinued && this.#queued >= this.#limits.queuedSearchesMax) this.#makeRoom(socket);
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#lineOf(socket).push({ isContinued, begin: resolve, refuse: reject });
    this.#queued++;
    return promise;
  }

  /** One listener for each connection, however many requests it has sent. */
  #lineOf(socket: Socket): Waiting[] {
    const known = this.#lines.get(socket);
    if (known) return known;
    const line: Waiting[] = [];
    this.#lines.set(socket, line);
    socket.once("close", this.#leave);
    return line;
  }

  readonly #leave = (): void => {
    for (const [socket, line] of this.#lines) {
      if (!socket.destroyed) continue;
      this.#end(socket);
      this.#queued -= line.length;
      for (const { begin } of line) begin(false);
    }
  };

  #end(socket: Socket): void {
    this.#lines.delete(socket);
    socket.off("close", this.#leave);
  }

  /** Refuses the last one of the longest line: the newcomer itself, unless another connection has more. */
  #makeRoom(newcomer: Socket): void {
    let longest = this.#lines.get(newcomer)?.length ?? 0;
    let last: { line: Waiting[]; index: number } | undefined;
    for (const line of this.#lines.values()) {
      const index = line.findLastIndex(({ isContinued }) => !isContinued);
      if (line.length <= longest + 1 || index < 0) continue;
      longest = line.length - 1;
      last = { line, index };
    }
    this.#refused++;
    const problem = this.#busy();
    if (last === undefined) throw problem;
    const [refused] = last.line.splice(last.index, 1);
    this.#queued--;
    refused!.refuse(problem);
  }

  #busy(): HttpProblem {
    const text = `${this.#running} searches of the journal are running and ${this.#queued} are waiting. Try again in ${RETRY_AFTER_SECONDS} s.`;
    return new HttpProblem(503, "SEARCHES_BUSY", text, RETRY_AFTER_SECONDS);
  }

  /** Gives free places to those whose turn it is. */
  #next(): void {
    for (const [socket, line] of this.#lines) {
      if (this.#running >= this.#limits.searchesMax) return;
      const { begin } = line.shift()!;
      this.#queued--;
      this.#running++;
      // To the end of the turns.
      this.#lines.delete(socket);
      if (line.length > 0) this.#lines.set(socket, line);
      else socket.off("close", this.#leave);
      begin(true);
    }
  }
}
