import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { FilterQuery } from "../wire/filter.ts";
import { LogStream, type LogStreamOptions } from "./log-stream.ts";
import type { LogEntry, MissingRange, StreamEvent, StreamStatus } from "./stream-events.ts";

/** `tailgate/react`: a gateway's records in a React component. */

export interface UseLogStreamOptions extends LogStreamOptions {
  /** How many entries are kept, the newest; 1000 where absent. Read when the component is mounted. */
  readonly maxEntries?: number | undefined;
}

export interface LogStreamView extends BufferView {
  /**
   * Replaces the filter in place, until the option changes; what is shown stays. If the gateway refuses it,
   * `filterError` says why until a filter is accepted.
   */
  readonly setFilter: (filter: FilterQuery) => void;
  /** What is shown stays as it is; what comes meanwhile is kept, up to `maxEntries`. */
  readonly pause: () => void;
  readonly resume: () => void;
  /** Forgets all entries and gaps. */
  readonly clear: () => void;
}

const ENTRIES_MAX = 1_000;

/** Before the first frame, and where a server renders. */
const STARTING: StreamStatus = {
  state: "connecting",
  reason: "Connecting.",
  since: 0,
  transport: "tailgate.v1",
};

/**
 * Follows a gateway as long as the component is mounted. It renders once a frame at most, however many records come.
 * Another `url` or `start` begins a new stream with an empty buffer; another `filter` changes it in place.
 */
export function useLogStream(options: UseLogStreamOptions): LogStreamView {
  const { filter = {}, maxEntries = ENTRIES_MAX } = options;
  const [buffer] = useState(() => new LogBuffer(maxEntries, STARTING));
  const stream = useRef<LogStream>(undefined);
  const latest = useRef({ options, filter });
  const streamKey = JSON.stringify([String(options.url), options.start]);
  const filterKey = JSON.stringify(filter);

  useEffect(() => {
    latest.current.options = options;
  });
  useEffect(() => {
    latest.current.filter = JSON.parse(filterKey) as FilterQuery;
    stream.current?.setFilter(latest.current.filter);
  }, [filterKey]);
  useEffect(() => {
    const { options: given, filter: wanted } = latest.current;
    const started = new LogStream({ ...given, filter: wanted });
    stream.current = started;
    buffer.begin();
    const end = started.listen((event) => buffer.take(event));
    return () => {
      stream.current = undefined;
      end();
      started.close();
    };
  }, [buffer, streamKey]);

  const subscribe = useCallback((listener: () => void) => buffer.listen(listener), [buffer]);
  const view = useCallback(() => buffer.view, [buffer]);
  const shown = useSyncExternalStore(subscribe, view, view);
  const [actions] = useState(() => ({
    setFilter(wanted: FilterQuery): void {
      latest.current.filter = wanted;
      stream.current?.setFilter(wanted);
    },
    pause: () => buffer.pause(),
    resume: () => buffer.resume(),
    clear: () => buffer.clear(),
  }));
  return { ...shown, ...actions };
}

/** What there is to be shown. Each one stays as it is; the next one is another object. */
export interface BufferView {
  /** The newest ones, oldest first; while it is paused, those that were there then. */
  readonly entries: readonly LogEntry[];
  /** The newest ones, in the order in which they were told. */
  readonly gaps: readonly MissingRange[];
  readonly status: StreamStatus;
  /** Why the gateway refused the filter that was set last; undefined if it did not. The filter before it holds. */
  readonly filterError: string | undefined;
  readonly isPaused: boolean;
  /** How many entries have come since it was paused. */
  readonly waiting: number;
}

/** A frame where there are no frames, in Node. */
const FRAME_MS = 16;

/** The newest records of a stream, for a page that draws once a frame, however many events come. */
export class LogBuffer {
  readonly #entriesMax: number;
  readonly #listeners = new Set<() => void>();
  #entries: LogEntry[] = [];
  #gaps: MissingRange[] = [];
  #view: BufferView;
  #status: StreamStatus;
  #filterError: string | undefined;
  #shown: Pick<BufferView, "entries" | "gaps"> | undefined;
  #waiting = 0;
  #isDrawing = false;

  constructor(entriesMax: number, status: StreamStatus) {
    this.#entriesMax = entriesMax;
    this.#status = status;
    const filterError = undefined;
    this.#view = { entries: [], gaps: [], status, filterError, isPaused: false, waiting: 0 };
  }

  get view(): BufferView {
    return this.#view;
  }

  /** Calls the listener when there is another view; answers the function that ends it. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  take(event: StreamEvent): void {
    if (event.type === "records") this.#add(event.entries);
    else if (event.type === "gap")
      this.#gaps = newest([...this.#gaps, event.gap], this.#entriesMax);
    else if (event.type === "reset") this.#forgetFrom(event.from);
    else if (event.type === "status") this.#status = event.status;
    else if (event.type === "refused") this.#filterError = event.reason;
    else if (event.type === "filter") this.#filterError = undefined;
    else return;
    this.#draw();
  }

  /** Another stream begins. */
  begin(): void {
    this.#filterError = undefined;
    this.clear();
  }

  /** What is shown stays; what comes is kept, the newest as ever. */
  pause(): void {
    this.#shown ??= { entries: this.#copy(), gaps: this.#gaps };
    this.#draw();
  }

  resume(): void {
    this.#shown = undefined;
    this.#waiting = 0;
    this.#draw();
  }

  clear(): void {
    this.#entries = [];
    this.#gaps = [];
    if (this.#shown) this.#shown = { entries: [], gaps: [] };
    this.#waiting = 0;
    this.#draw();
  }

  #add(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#entries.push(entry);
    if (this.#shown) this.#waiting += entries.length;
    // Not at each event: it costs as much as all that is kept.
    if (this.#entries.length > 2 * this.#entriesMax) this.#entries = this.#copy();
  }

  #copy(): LogEntry[] {
    return newest(this.#entries, this.#entriesMax);
  }

  #forgetFrom(sequence: number): void {
    this.#entries = this.#entries.filter((entry) => entry.sequence < sequence);
    this.#gaps = this.#gaps.filter(({ from }) => from < sequence);
  }

  /** A page that is not looked at has no frames: it is drawn when it is. */
  #draw(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    const frame = (): void => {
      this.#isDrawing = false;
      this.#view = {
        ...(this.#shown ?? { entries: this.#copy(), gaps: this.#gaps }),
        status: this.#status,
        filterError: this.#filterError,
        isPaused: this.#shown !== undefined,
        waiting: this.#waiting,
      };
      for (const listener of Array.from(this.#listeners)) listener();
    };
    const { requestAnimationFrame: request } = globalThis as FrameSource;
    if (request) request(frame);
    else setTimeout(frame, FRAME_MS);
  }
}

interface FrameSource {
  readonly requestAnimationFrame?: (frame: () => void) => void;
}

function newest<Item>(items: readonly Item[], count: number): Item[] {
  return items.slice(Math.max(0, items.length - count));
}
