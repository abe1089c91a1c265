import { readdirSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { gauge, type Metric } from "./metric.ts";

/** How often the loop is looked at. */
const RESOLUTION_MS = 20;

/** What is shown of the event loop is of at least the last minute, and of two at most, whoever scrapes and how often. */
const WINDOW_MS = 60_000;

/** Linux lists the descriptors of a process there. */
const DESCRIPTORS = "/proc/self/fd";

/** The process's own numbers, under the names that Prometheus's clients for Node use. */
export class ProcessMetrics {
  /** They begin anew in turn, a window apart: the first one has measured for longer. */
  #loopDelays = [newLoopDelay(), newLoopDelay()] as const;
  readonly #timer = setInterval(() => this.#beginWindow(), WINDOW_MS).unref();
  readonly metrics: readonly Metric[] = [
    {
      name: "process_cpu_seconds",
      description: "Processor time of the process, in user and kernel mode.",
      kind: "counter",
      read: () => [{ value: cpuSeconds(), labels: {} }],
    },
    gauge(
      "process_start_time_seconds",
      "When the process started, in seconds since 1970.",
      () => performance.timeOrigin / 1000,
    ),
    gauge("process_resident_memory_bytes", "Memory of the process that is resident.", () =>
      process.memoryUsage.rss(),
    ),
    gauge(
      "nodejs_heap_size_used_bytes",
      "Memory that JavaScript's objects use.",
      () => process.memoryUsage().heapUsed,
    ),
    gauge(
      "nodejs_external_memory_bytes",
      "Memory outside of the heap that objects hold.",
      () => process.memoryUsage().external,
    ),
    gauge(
      "nodejs_eventloop_lag_p99_seconds",
      "How late the event loop was in the last one to two minutes, 99th percentile.",
      () => this.#lagSeconds(this.#loopDelays[0].percentile(99)),
    ),
    gauge(
      "nodejs_eventloop_lag_max_seconds",
      "How late the event loop was in the last one to two minutes at most.",
      () => this.#lagSeconds(this.#loopDelays[0].max),
    ),
    {
      name: "process_open_fds",
      description: "File descriptors that the process has open; on Linux.",
      kind: "gauge",
      *read() {
        const count = openDescriptors();
        if (count !== undefined) yield { value: count, labels: {} };
      },
    },
  ];

  close(): void {
    clearInterval(this.#timer);
    for (const loopDelay of this.#loopDelays) loopDelay.disable();
  }

  #beginWindow(): void {
    const [first, second] = this.#loopDelays;
    first.reset();
    this.#loopDelays = [second, first];
  }

  /** The histogram's values hold the time between two looks beside the lag. */
  #lagSeconds(delayNanos: number): number {
    return Math.max(0, delayNanos / 1e9 - RESOLUTION_MS / 1e3);
  }
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function newLoopDelay(): ReturnType<typeof monitorEventLoopDelay> {
  const loopDelay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  loopDelay.enable();
  return loopDelay;
}

/** Without the one that lists them; undefined where nobody can tell. */
function openDescriptors(): number | undefined {
  try {
    return readdirSync(DESCRIPTORS).length - 1;
  } catch {
    return undefined;
  }
}
