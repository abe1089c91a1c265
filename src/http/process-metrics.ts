import { monitorEventLoopDelay } from "node:perf_hooks";
import { gauge, type Metric } from "./metric.ts";

/** How often the loop is looked at. */
const RESOLUTION_MS = 20;

/** The process's own numbers, under the names that Prometheus's clients for Node use. */
export class ProcessMetrics {
  readonly #loopDelay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
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
      "How late the event loop was, 99th percentile since the last scrape.",
      () => this.#lagSeconds(this.#loopDelay.percentile(99)),
    ),
    gauge(
      "nodejs_eventloop_lag_max_seconds",
      "How late the event loop was at most since the last scrape.",
      () => this.#lagSeconds(this.#loopDelay.max),
    ),
  ];

  constructor() {
    this.#loopDelay.enable();
  }

  /** Begins a new interval for what is measured since the last scrape. */
  reset(): void {
    this.#loopDelay.reset();
  }

  close(): void {
    this.#loopDelay.disable();
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
