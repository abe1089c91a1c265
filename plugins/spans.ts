/** Sends the lifetime of each instance as a trace over OTLP/HTTP, to Jaeger for example. */

import {
  defineExporter,
  LEVELS,
  textOf,
  withSignals,
  z,
  type Batch,
  type Exporter,
  type Host,
} from "tailgate/plugin";
import {
  destinationOptions,
  planDestination,
  readDestination,
  TRACES,
  type Destination,
} from "./otlp/destination.ts";
import { readEvent } from "./spans/instance-event.ts";
import { InstanceTracker } from "./spans/instance-tracker.ts";
import { END_REASONS } from "./spans/open-instance.ts";
import { SpanSender } from "./spans/span-sender.ts";
import type { FinishedSpan } from "./spans/span.ts";

const options = z.strictObject({
  ...destinationOptions(TRACES),
  service_name: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Service name of all spans. Default: that of the process that logged the instance; for this process OTEL_SERVICE_NAME, else `orchestrator`.",
    ),
  log_events: z
    .enum([...LEVELS, "none"])
    .default("ERROR")
    .describe(
      "Minimum level of the system logs that become events of the span of the instance they name; `none` excludes them.",
    ),
  max_open_instances: z
    .int()
    .min(1)
    .max(10_000)
    .default(256)
    .describe(
      "Maximum number of open instances; beyond it the oldest one is closed with the reason `evicted`.",
    ),
});

type SpansOptions = z.output<typeof options>;

export default defineExporter({
  name: "spans",
  description: "Sends the lifetimes of instances as traces over OTLP/HTTP, to Jaeger for example.",
  options,
  plan: (given) => planDestination(given, TRACES),
  open: (given, host) => new SpansExporter(readDestination(given, TRACES), given, host),
});

/** How long a stop waits for the destination: less than the gateway's second, in which the state is saved too. */
const STOP_MS_MAX = 700;

class SpansExporter implements Exporter {
  readonly resumeAfter: number | undefined;
  readonly #destination: Destination;
  readonly #sender: SpanSender;
  readonly #tracker: InstanceTracker;
  readonly #store: TrackerStore;
  readonly #log: Host["log"];
  /** Index in LEVELS of the lowest level of system logs that count. */
  readonly #lowestRank: number;
  readonly #closing = new AbortController();
  /** The newest record that the tracker has. */
  #tracked = 0;
  /** Spans of tracked records. The tracker's state is not saved before they are settled. */
  #queue: FinishedSpan[] = [];
  #hasUnsettled = false;

  constructor(destination: Destination, given: SpansOptions, host: Host) {
    const { log, metrics } = host;
    this.#destination = destination;
    this.#log = log;
    this.#sender = new SpanSender(destination, given.service_name, host);
    this.#lowestRank =
      given.log_events === "none" ? LEVELS.length : LEVELS.indexOf(given.log_events);
    const countClosed = metrics.counter(
      "instances_closed",
      "Instances whose span ended, by reason.",
    );
    for (const end of END_REASONS) countClosed(0, { end });
    this.#tracker = new InstanceTracker(given.max_open_instances, ({ end }) =>
      countClosed(1, { end }),
    );
    this.#store = new TrackerStore(host);
    this.resumeAfter = this.#store.restore(this.#tracker);
    this.#tracked = this.resumeAfter ?? 0;
    metrics.gauge(
      "open_instances",
      "Instances that have not ended.",
      () => this.#tracker.openCount,
    );
  }

  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    this.#hasUnsettled = true;
    this.#track(batch);
    await this.#send(signal);
    this.#hasUnsettled = false;
    this.#store.saveSoon(this.#tracker, this.#tracked);
  }

  /** Skips records that were tracked before: a batch is delivered again until `write` resolves. */
  #track(batch: Batch): void {
    for (let index = 0; index < batch.length; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= this.#tracked) continue;
      const event = this.#isIncluded(batch, index) ? readEvent(batch, index) : undefined;
      if (event !== undefined) for (const span of this.#tracker.add(event)) this.#queue.push(span);
      this.#tracked = sequence;
    }
  }

  #isIncluded(batch: Batch, index: number): boolean {
    if (batch.type(index) === "audit_log") return true;
    return LEVELS.indexOf(batch.level(index)) >= this.#lowestRank;
  }

  async #send(signal: AbortSignal): Promise<void> {
    const send = (either: AbortSignal): Promise<void> => this.#sender.send(this.#queue, either);
    await withSignals([signal, this.#closing.signal], send);
  }

  /** Closes the open instances, unless records are unsettled that may end them otherwise: then they stay open. */
  async close(signal: AbortSignal): Promise<void> {
    try {
      if (!this.#hasUnsettled && this.#tracked > 0) await this.#stop(signal);
    } finally {
      this.#closing.abort(new Error("The exporter is closed."));
      this.#destination.agent.destroy();
    }
  }

  async #stop(signal: AbortSignal): Promise<void> {
    const { openCount } = this.#tracker;
    const before = this.#tracker.serialize();
    const nowNanos = BigInt(Date.now()) * 1_000_000n;
    this.#queue = this.#tracker.stop(nowNanos, this.#tracked);
    try {
      await withSignals([signal], (limit) => this.#send(limit), STOP_MS_MAX);
    } catch (error) {
      this.#log.warning(
        `The spans of ${openCount} open instances could not be sent; the instances stay open until the next start: ${textOf(error)}`,
      );
      return this.#store.save(before, this.#tracked);
    }
    await this.#store.save(this.#tracker.serialize(), this.#tracked);
  }
}

/** Time between two saves: about what a crash makes the exporter process again. */
const SAVE_INTERVAL_MS = 1000;

/** A large state is saved less often, so that saving stays a small part of the work. */
const SAVED_CHARS_PER_MS = 64;

const savedSchema = z.object({ version: z.literal(1), sequence: z.number(), book: z.unknown() });

/** Saves the tracker's state in the journal, so that open instances outlive the process. */
class TrackerStore {
  readonly #host: Host;
  #nextSaveAtMs = -Infinity;
  #isSaving = false;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Restores the tracker. Returns the sequence of its newest record, or undefined if no state was saved. */
  restore(tracker: InstanceTracker): number | undefined {
    const text = this.#host.memory.recall();
    if (text === undefined) return undefined;
    try {
      const saved = savedSchema.parse(JSON.parse(text));
      tracker.restore(saved.book);
      return saved.sequence;
    } catch (error) {
      const warning = "The saved state of open instances is not readable and is ignored";
      this.#host.log.warning(`${warning}: ${textOf(error)}`);
      return undefined;
    }
  }

  /** Saves the state in the background, if the last save is long enough ago. All its spans up to `sequence` are settled. */
  saveSoon(tracker: InstanceTracker, sequence: number): void {
    if (this.#isSaving || performance.now() < this.#nextSaveAtMs) return;
    const state = tracker.serialize();
    this.#isSaving = true;
    // An older state is valid too, and a journal that cannot store reports that itself.
    this.save(state, sequence)
      .catch(() => {})
      .finally(() => (this.#isSaving = false));
    const pauseMs = Math.max(SAVE_INTERVAL_MS, state.length / SAVED_CHARS_PER_MS);
    this.#nextSaveAtMs = performance.now() + pauseMs;
  }

  /** `state`: the tracker's, as JSON. */
  async save(state: string, sequence: number): Promise<void> {
    await this.#host.memory.keep(`{"version":1,"sequence":${sequence},"book":${state}}`);
  }
}
