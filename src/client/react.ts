/** `tailgate/react`: a gateway's records in a React component. */

import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { FilterQuery } from "../wire/filter.ts";
import { LogStream, type LogStreamOptions } from "./log-stream.ts";
import type { LogEntry, MissingRange, StreamEvent, StreamStatus } from "./stream-events.ts";

/** The options of a {@link LogStream}, and the size of the buffer. */
export interface UseLogStreamOptions extends LogStreamOptions {
  /** How many of the newest entries and gaps to retain. Default: 1000. Read when the component mounts. */
  readonly maxEntries?: number | undefined;
}

/** What to render. Views are immutable; every change creates a new one. */
export interface BufferView {
  /** The newest entries, oldest first; while paused, those at the time of the pause. */
  readonly entries: readonly LogEntry[];
  /** The newest gaps, in the order in which they were reported. */
  readonly gaps: readonly MissingRange[];
  readonly status: StreamStatus;
  /** Why the gateway rejected the last filter; undefined if it did not. The previous filter stays in effect. */
  readonly filterError: string | undefined;
  readonly isPaused: boolean;
  /** How many entries have arrived since the pause. */
  readonly waiting: number;
}

/** What to render, and functions that change it. The functions are the same in every render. */
export interface LogStreamView extends BufferView {
  /**
   * Replaces the filter in place until the option changes; the entries remain. If the gateway rejects it, `filterError`
   * says why until a filter is accepted.
   */
  readonly setFilter: (filter: FilterQuery) => void;
  /** Freezes the view. New entries are buffered, up to `maxEntries`. */
  readonly pause: () => void;
  /** Shows the newest entries again. */
  readonly resume: () => void;
  /** Removes all entries and gaps. */
  readonly clear: () => void;
  /** Connects now, also after the gateway rejected the credentials. */
  readonly retry: () => void;
}

const ENTRIES_MAX = 1_000;

/** Before the first frame, and when rendering on a server. */
const INITIAL_STATUS: StreamStatus = {
  state: "connecting",
  reason: "Connecting.",
  since: 0,
  transport: "tailgate.v1",
};

/**
 * Follows a gateway while the component is mounted. Renders at most once a frame, however many records arrive. A changed
 * `url` or `start` opens a new stream with an empty buffer; a changed `filter` is applied in place; a changed `token` is
 * used from the next connection on.
 */
export function useLogStream(options: UseLogStreamOptions): LogStreamView {
  const { filter = {}, maxEntries = ENTRIES_MAX } = options;
  const [buffer] = useState(() => new LogBuffer(maxEntries));
  const stream = useRef<LogStream>(undefined);
  const latest = useRef({ options, filter });
  const streamKey = JSON.stringify([String(options.url), options.start]);
  const filterKey = JSON.stringify(filter);

  useEffect(() => {
    latest.current.options = options;
  });
  const token = typeof options.token === "string" ? options.token : "";
  useEffect(() => {
    // Ends the wait of a stream whose token was rejected.
    if (stream.current?.status.state === "unauthorized") stream.current.retry();
  }, [token]);
  useEffect(() => {
    latest.current.filter = JSON.parse(filterKey) as FilterQuery;
    stream.current?.setFilter(latest.current.filter);
  }, [filterKey]);
  useEffect(() => {
    const { options: streamOptions, filter: currentFilter } = latest.current;
    const opened = new LogStream({
      ...streamOptions,
      filter: currentFilter,
      token: () => currentToken(latest.current.options),
    });
    stream.current = opened;
    buffer.start();
    const stopListening = opened.listen((event) => buffer.add(event));
    return () => {
      stream.current = undefined;
      stopListening();
      opened.close();
    };
  }, [buffer, streamKey]);

  const view = useSyncExternalStore(buffer.listen, buffer.getView, buffer.getView);
  const [actions] = useState(() => ({
    setFilter(changed: FilterQuery): void {
      latest.current.filter = changed;
      stream.current?.setFilter(changed);
    },
    pause: () => buffer.pause(),
    resume: () => buffer.resume(),
    clear: () => buffer.clear(),
    retry: () => stream.current?.retry(),
  }));
  return { ...view, ...actions };
}

/** Returns the token of the latest render, which may have been renewed. */
async function currentToken({ token = "" }: LogStreamOptions): Promise<string> {
  return typeof token === "string" ? token : token();
}

/** Replaces the animation frame in Node. */
const FRAME_MS = 16;

/** The newest records of a stream, for a component that renders once a frame, however many events arrive. */
class LogBuffer {
  readonly #entriesMax: number;
  readonly #listeners = new Set<() => void>();
  #entries: LogEntry[] = [];
  #gaps: MissingRange[] = [];
  #status = INITIAL_STATUS;
  #filterError: string | undefined;
  /** What is rendered while the view is paused. */
  #frozen: Pick<BufferView, "entries" | "gaps"> | undefined;
  #waiting = 0;
  #isScheduled = false;
  #view: BufferView;

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
    this.#view = this.#createView();
  }

  readonly getView = (): BufferView => this.#view;

  /** Calls the listener when the view changes. Returns the function that removes it. */
  readonly listen = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  add(event: StreamEvent): void {
    if (event.type === "records") this.#addEntries(event.entries);
    else if (event.type === "gap")
      this.#gaps = newest([...this.#gaps, event.gap], this.#entriesMax);
    else if (event.type === "reset") this.#removeFrom(event.from);
    else if (event.type === "status") this.#status = event.status;
    else if (event.type === "refused") this.#filterError = event.reason;
    else if (event.type === "filter") this.#filterError = undefined;
    else return;
    this.#schedule();
  }

  /** Prepares for a new stream. */
  start(): void {
    this.#filterError = undefined;
    this.clear();
  }

  pause(): void {
    this.#frozen ??= { entries: this.#newestEntries(), gaps: this.#gaps };
    this.#schedule();
  }

  resume(): void {
    this.#frozen = undefined;
    this.#waiting = 0;
    this.#schedule();
  }

  clear(): void {
    this.#entries = [];
    this.#gaps = [];
    if (this.#frozen) this.#frozen = { entries: [], gaps: [] };
    this.#waiting = 0;
    this.#schedule();
  }

  #addEntries(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#entries.push(entry);
    if (this.#frozen) this.#waiting += entries.length;
    // Not on every event: trimming copies all entries.
    if (this.#entries.length > 2 * this.#entriesMax) this.#entries = this.#newestEntries();
  }

  #newestEntries(): LogEntry[] {
    return newest(this.#entries, this.#entriesMax);
  }

  #removeFrom(sequence: number): void {
    this.#entries = this.#entries.filter((entry) => entry.sequence < sequence);
    this.#gaps = this.#gaps.filter(({ from }) => from < sequence);
  }

  #createView(): BufferView {
    return {
      ...(this.#frozen ?? { entries: this.#newestEntries(), gaps: this.#gaps }),
      status: this.#status,
      filterError: this.#filterError,
      isPaused: this.#frozen !== undefined,
      waiting: this.#waiting,
    };
  }

  /** Updates the view at the next frame. A hidden page has none until it becomes visible. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const update = (): void => {
      this.#isScheduled = false;
      this.#view = this.#createView();
      for (const listener of Array.from(this.#listeners)) listener();
    };
    const { requestAnimationFrame } = globalThis as {
      requestAnimationFrame?: (callback: () => void) => void;
    };
    if (requestAnimationFrame) requestAnimationFrame(update);
    else setTimeout(update, FRAME_MS);
  }
}

function newest<Item>(items: readonly Item[], count: number): Item[] {
  return items.slice(Math.max(0, items.length - count));
}
