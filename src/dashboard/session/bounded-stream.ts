import type { LogEntry, StreamEvent } from "../../client/index.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { PanelOptions } from "../panel/panel-store.ts";

import { boundsOf, type TimeBounds, type TimeRange } from "./view.ts";

/**
 * A stream of which only what lies between two times is handed on: the gateway's filter knows no times. What lies
 * outside counts as filtered.
 */
export class BoundedStream {
  readonly #stream: PanelOptions["stream"];
  readonly #now: () => number;
  #range: TimeRange;
  /** The one that holds once the gateway has taken the filter of this version. */
  #next: { readonly version: number; readonly range: TimeRange } | undefined;
  #waiting: (() => void)[] = [];

  /** `now`: the gateway's time, in ms since 1970. */
  constructor(stream: PanelOptions["stream"], range: TimeRange, now: () => number) {
    this.#stream = stream;
    this.#now = now;
    this.#range = range;
    this.nextRange = range;
  }

  get status(): PanelOptions["stream"]["status"] {
    return this.#stream.status;
  }

  /** Those that hold just now: "the last five minutes" move on. */
  get bounds(): TimeBounds {
    return boundsOf(this.#range, this.#now());
  }

  listen(listener: (event: StreamEvent) => void): () => void {
    return this.#stream.listen((event) => this.#take(event, listener));
  }

  /** The one that comes with the next filter. */
  nextRange: TimeRange;

  setFilter(filter: FilterQuery): number {
    const version = this.#stream.setFilter(filter);
    this.#next = { version, range: this.nextRange };
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
    if (isAnswer) this.#range = this.#next!.range;
    listener(event);
    if (isAnswer) this.#settle();
  }

  #settle(): void {
    this.#next = undefined;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #isWithin({ envelope }: LogEntry): boolean {
    const { sinceMs, untilMs } = this.bounds;
    if (sinceMs === undefined && untilMs === undefined) return true;
    const ms = Date.parse(envelope.data.timestamp);
    return (sinceMs === undefined || ms >= sinceMs) && (untilMs === undefined || ms < untilMs);
  }
}
