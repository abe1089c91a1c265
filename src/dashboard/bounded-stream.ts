import type { LogEntry, StreamEvent } from "../client/index.ts";
import type { FilterQuery } from "../filter.ts";
import type { PanelOptions } from "./panel-store.ts";

import type { TimeBounds } from "./view.ts";

/**
 * A stream of which only what lies between two times is handed on: the gateway's filter knows no times. What lies
 * outside counts as filtered.
 */
export class BoundedStream {
  readonly #stream: PanelOptions["stream"];
  #bounds: TimeBounds = {};
  /** Those that hold once the gateway has taken the filter of this version. */
  #next: { readonly version: number; readonly bounds: TimeBounds } | undefined;
  #waiting: (() => void)[] = [];

  constructor(stream: PanelOptions["stream"], bounds: TimeBounds) {
    this.#stream = stream;
    this.#bounds = bounds;
  }

  get status(): PanelOptions["stream"]["status"] {
    return this.#stream.status;
  }

  /** Those that hold. */
  get bounds(): TimeBounds {
    return this.#bounds;
  }

  listen(listener: (event: StreamEvent) => void): () => void {
    return this.#stream.listen((event) => this.#take(event, listener));
  }

  /** The bounds of which `setFilter`, called next, is told. */
  nextBounds: TimeBounds = {};

  setFilter(filter: FilterQuery): number {
    const version = this.#stream.setFilter(filter);
    this.#next = { version, bounds: this.nextBounds };
    return version;
  }

  /** Resolves when the gateway has taken the last filter, or refused it. */
  settled(): Promise<void> {
    if (!this.#next) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #take(event: StreamEvent, listener: (event: StreamEvent) => void): void {
    if (event.type === "records") {
      const entries = event.entries.filter((entry) => this.#isWithin(entry));
      return listener({ ...event, entries });
    }
    const isAnswer =
      (event.type === "filter" || event.type === "refused") &&
      event.version === this.#next?.version;
    if (isAnswer) this.#bounds = this.#next!.bounds;
    listener(event);
    if (isAnswer) this.#settle();
  }

  #settle(): void {
    this.#next = undefined;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #isWithin({ envelope }: LogEntry): boolean {
    const { sinceMs, untilMs } = this.#bounds;
    if (sinceMs === undefined && untilMs === undefined) return true;
    const ms = Date.parse(envelope.data.timestamp);
    return (sinceMs === undefined || ms >= sinceMs) && (untilMs === undefined || ms < untilMs);
  }
}
