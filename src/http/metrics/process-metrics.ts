import { readdirSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { counter, gauge, type Metric } from "./metric.ts";

/** How often the event loop delay is sampled. */
const RESOLUTION_MS = 20;

/** The event loop metrics cover the last one to two minutes, however often they are scraped. */
const WINDOW_MS = 60_000;

/** Metrics of the process, under the names that prom-client uses. */
export class ProcessMetrics {
  /** Two histograms, reset alternately, one window apart. The first one has been recording for longer. */
  #loopDelays = [newLoopDelay(), newLoopDelay()] as const;
  readonly #timer = setInterval(() => this.#startWindow(), WINDOW_MS).unref();
  readonly metrics: readonly Metric[] = [
    counter("process_cpu_seconds", "CPU time of the process, in user and kernel mode.", () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    }),
    gauge(
      "process_start_time_seconds",
      "Start time of the process, in seconds since 1970.",
      () => performance.timeOrigin / 1000,
    ),
    gauge("process_resident_memory_bytes", "Resident memory of the process.", () =>
      process.memoryUsage.rss(),
    ),
    gauge(
      "nodejs_heap_size_used_bytes",
      "JavaScript heap in use.",
      () => process.memoryUsage().heapUsed,
    ),
    gauge(
      "nodejs_external_memory_bytes",
      "Memory outside of the heap that JavaScript objects hold.",
      () => process.memoryUsage().external,
    ),
    gauge(
      "nodejs_eventloop_lag_p99_seconds",
      "Event loop lag of the last one to two minutes, 99th percentile.",
      () => this.#lagSeconds(this.#loopDelays[0].percentile(99)),
    ),
    gauge(
      "nodejs_eventloop_lag_max_seconds",
      "Event loop lag of the last one to two minutes, maximum.",
      () => this.#lagSeconds(this.#loopDelays[0].max),
    ),
    gauge(
      "process_open_fds",
      "Open file descriptors of the process; Linux only.",
      countDescriptors,
    ),
  ];

  close(): void {
    clearInterval(this.#timer);
    for (const loopDelay of this.#loopDelays) loopDelay.disable();
  }

  #startWindow(): void {
    const [first, second] = this.#loopDelays;
    first.reset();
    this.#loopDelays = [second, first];
  }

  /** The histogram's values include the sampling interval. */
  #lagSeconds(delayNanos: number): number {
    return Math.max(0, delayNanos / 1e9 - RESOLUTION_MS / 1e3);
  }
}

function newLoopDelay(): ReturnType<typeof monitorEventLoopDelay> {
  const loopDelay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  loopDelay.enable();
  return loopDelay;
}

/** Returns the number of open file descriptors, without the one that lists them; undefined if it is unknown. */
function countDescriptors(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length - 1;
  } catch {
    return undefined;
  }
}
