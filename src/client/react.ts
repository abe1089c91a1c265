/** `tailgate/react`: a gateway's records in a React component. */

import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { FilterQuery } from "../wire/filter.ts";
import { LogBuffer, type BufferView } from "./log-buffer.ts";
import { LogStream, type LogStreamOptions } from "./log-stream.ts";
import type { StreamStatus } from "./stream-event.ts";

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
