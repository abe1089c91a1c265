import type { RecordBatch } from "../batch/record-batch.ts";
import type { ExporterComponent } from "../config/config.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { createJournalDelivery } from "../delivery/journal-cursor.ts";
import { createLiveDelivery } from "../delivery/live-queue.ts";
import type { Batch, Exporter } from "../plugin/index.ts";
import { TailgateError } from "../wire/errors.ts";
import type { Closing } from "./closing.ts";
import { parseFilter } from "../filter/filter.ts";
import { createHost, findExporterFlaw, openPlugin, type HostContext } from "./host.ts";
import { exporterStatus, type ComponentStatus } from "./status.ts";

/** How long an exporter that is being restarted may take to end its write, and how long once it was told to. */
const WRITE_MS_MAX = 10_000;
const CUT_MS_MAX = 1_000;

/** How long it may take to close then. */
const CLOSE_MS_MAX = 5_000;

interface RunningExporter {
  readonly id: string;
  readonly component: ExporterComponent;
  readonly delivery: Delivery;
  /** Gives a live exporter a batch; undefined for others. */
  readonly offer?: ((batch: Batch) => void) | undefined;
  release(): void;
}

/** What the intake appends to: the journal, and the open exporters, each with its delivery. */
export class RunningExporters {
  readonly #context: HostContext;
  #live: { readonly id: string; offer(batch: Batch): void }[] = [];
  #running: RunningExporter[] = [];
  /** What live exporters get once they have been opened again. */
  readonly #held = new Map<string, HeldBatches>();

  readonly #closing: Closing;

  constructor(context: HostContext, closing: Closing) {
    this.#context = context;
    this.#closing = closing;
  }

  /** Live exporters come first. */
  get all(): readonly RunningExporter[] {
    return this.#running.toSorted(
      (one, other) => Number(one.offer === undefined) - Number(other.offer === undefined),
    );
  }

  get statuses(): ComponentStatus[] {
    return this.all.map(({ id, delivery, offer }) =>
      exporterStatus(id, delivery, offer === undefined),
    );
  }

  /** @throws TailgateError PLUGIN_OPEN_FAILED and what the plugin throws */
  async open(component: ExporterComponent): Promise<void> {
    const { id, level, filter: q, timeoutMs, queueBytesMax, definition, options } = component;
    const { host, release } = createHost(component, this.#context);
    const exporter = await openPlugin<Exporter>(
      component,
      () => definition.open(options, host),
      release,
      findExporterFlaw,
    );
    const { journal } = this.#context;
    const type = exporter.type ?? definition.type;
    const filter = q === undefined ? undefined : parseFilter({ q });
    const common = { type, level, filter, timeoutMs, log: host.log, clock: journal.clock };
    const opened = definition.live
      ? createLiveDelivery(exporter, { ...common, queueBytesMax })
      : { delivery: createJournalDelivery(exporter, { ...common, journal, consumer: id }) };
    const held = this.#held.get(id);
    this.forget(id);
    this.#add({ id, component, release, ...opened });
    if (held === undefined || !("offer" in opened)) return;
    for (const batch of held.batches) opened.offer(batch);
    opened.delivery.counters.received += held.dropped;
    opened.delivery.counters.drop("queue_full", held.dropped);
  }

  #add(exporter: RunningExporter): void {
    const { id, offer } = exporter;
    if (offer !== undefined) this.#live.push({ id, offer });
    this.#running.push(exporter);
  }

  #remove(id: string): void {
    this.#live = this.#live.filter((one) => one.id !== id);
    this.#running = this.#running.filter((one) => one.id !== id);
  }

  /**
   * Stops exporters for a reload, so that others may use their files and ports. Those that will be opened again leave what they
   * have not written: live exporters to {@link open}, others in the journal. Those that are removed write it, if they can.
   * @throws TailgateError RELOAD_FAILED if one would go on writing to its file; then all of them continue.
   */
  async stop(ids: ReadonlySet<string>, kept: ReadonlySet<string>): Promise<void> {
    const exporters = this.#running.filter(({ id }) => ids.has(id));
    try {
      await Promise.all(
        exporters.map((exporter) =>
          kept.has(exporter.id) ? suspend(exporter) : drainAndSuspend(exporter),
        ),
      );
    } catch (error) {
      for (const { delivery } of exporters) delivery.resume();
      throw error;
    }
    await Promise.all(exporters.map((exporter) => this.#close(exporter, kept.has(exporter.id))));
  }

  async #close(
    { id, component, delivery, offer, release }: RunningExporter,
    isKept: boolean,
  ): Promise<void> {
    this.#remove(id);
    const signal = AbortSignal.timeout(CLOSE_MS_MAX);
    if (isKept) {
      const rest = delivery.handOver();
      if (offer !== undefined) this.#hold(id, new HeldBatches(rest, component.queueBytesMax));
      await delivery.closeExporter(signal);
    } else {
      await delivery.close(signal);
    }
    release();
  }

  #hold(id: string, held: HeldBatches): void {
    this.#held.set(id, held);
    this.#live.push({ id, offer: (batch) => held.add(batch) });
  }

  /** Lets all exporters write what they can until the time is over, and closes them. */
  async close(timeMsMax: number): Promise<void> {
    await this.#closing.closeAll(
      "exporter",
      this.all,
      ({ delivery }, signal) => {
        delivery.resume();
        return delivery.close(signal);
      },
      timeMsMax,
    );
  }

  /** Forgets what an exporter would get that could not be opened again. */
  forget(id: string): void {
    this.#held.delete(id);
    this.#live = this.#live.filter((one) => one.id !== id);
  }

  has(id: string): boolean {
    return this.#running.some((one) => one.id === id);
  }

  /** Returns the memory of what the journal has not committed, in bytes. */
  unstoredBytes(): number {
    return this.#context.journal.pendingBytes;
  }

  /**
   * Appends a batch to the journal. Offers it to live exporters at once; wakes the others when the journal has stored it or
   * failed to.
   */
  async append(batch: RecordBatch): Promise<void> {
    const stored = this.#context.journal.append(batch);
    for (const { offer } of this.#live) offer(batch);
    try {
      await stored;
    } finally {
      this.wake();
    }
  }

  /** Tells the exporters that read from the journal that it may have more durable records. */
  wake(): void {
    for (const { delivery, offer } of this.#running) if (offer === undefined) delivery.wake();
  }

  /** Resolves when each exporter has written or dropped every record that waits now, or when aborted. */
  async drain(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#running.map(({ delivery }) => delivery.drain(signal)));
  }

  /** Writes what exporters can write synchronously, when the process exits. `leftMs` returns the time that is left. */
  drainSync(leftMs: () => number): void {
    for (const { delivery } of this.#running) delivery.drainSync(leftMs());
    for (const { delivery, offer } of this.#running) {
      if (offer === undefined) delivery.abandonSync();
    }
  }
}

/** @throws TailgateError RELOAD_FAILED if the exporter would go on writing to its file */
async function suspend({ id, component, delivery }: RunningExporter): Promise<void> {
  const { definition, options, timeoutMs } = component;
  const limitMs = Math.min(timeoutMs, WRITE_MS_MAX);
  if (await delivery.suspend(AbortSignal.timeout(limitMs))) return;
  if (await delivery.cut(AbortSignal.timeout(CUT_MS_MAX))) return;
  const [file] = definition.owns?.(options) ?? [];
  if (file === undefined) return;
  throw new TailgateError(
    "RELOAD_FAILED",
    `The exporter ${id} has not ended its write to ${file} for ${limitMs / 1000} s, and two exporters must not write to one file.`,
  );
}

async function drainAndSuspend(exporter: RunningExporter): Promise<void> {
  await exporter.delivery.drain(AbortSignal.timeout(WRITE_MS_MAX));
  await suspend(exporter);
}

/** What a live exporter gets once it has been opened again. */
class HeldBatches {
  readonly batches: Batch[];
  readonly #bytesMax: number;
  #bytes = 0;
  /** The number of records that exceeded the capacity. */
  dropped = 0;

  constructor(batches: readonly Batch[], bytesMax: number) {
    this.batches = [...batches];
    this.#bytesMax = bytesMax;
  }

  add(batch: Batch): void {
    this.#bytes += batch.byteLength;
    if (this.#bytes <= this.#bytesMax) this.batches.push(batch);
    else this.dropped += batch.length;
  }
}
