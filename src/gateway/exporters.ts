import type { RecordBatch } from "../batch/record-batch.ts";
import type { ExporterComponent } from "../config/config.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { createJournalDelivery } from "../delivery/journal-cursor.ts";
import { createLiveDelivery, type LiveDelivery } from "../delivery/live-queue.ts";
import type { Exporter } from "../plugin/index.ts";
import { parseFilter } from "../wire/filter.ts";
import { createHost, findExporterFlaw, openPlugin, type HostContext } from "./host.ts";
import { exporterStatus, type ComponentStatus } from "./status.ts";

interface RunningExporter {
  readonly id: string;
  readonly delivery: Delivery;
}

/** The open exporters of a gateway, each with its delivery. */
export class RunningExporters {
  readonly #context: HostContext;
  readonly #live: (RunningExporter & LiveDelivery)[] = [];
  readonly #durable: RunningExporter[] = [];

  constructor(context: HostContext) {
    this.#context = context;
  }

  get all(): readonly RunningExporter[] {
    return [...this.#live, ...this.#durable];
  }

  get statuses(): ComponentStatus[] {
    return [
      ...this.#live.map(({ id, delivery }) => exporterStatus(id, delivery, false)),
      ...this.#durable.map(({ id, delivery }) => exporterStatus(id, delivery, true)),
    ];
  }

  /** @throws TailgateError PLUGIN_OPEN_FAILED and what the plugin throws */
  async open(component: ExporterComponent): Promise<void> {
    const { id, level, filter: q, timeoutMs, queueBytesMax, definition, options } = component;
    const host = createHost(component, this.#context);
    const exporter = await openPlugin<Exporter>(
      component,
      () => definition.open(options, host),
      findExporterFlaw,
    );
    const { journal } = this.#context;
    const type = exporter.type ?? definition.type;
    const filter = q === undefined ? undefined : parseFilter({ q });
    const common = { type, level, filter, timeoutMs, log: host.log, clock: journal.clock };
    if (definition.live) {
      const delivery = createLiveDelivery(exporter, { ...common, queueBytesMax });
      this.#live.push({ id, ...delivery });
    } else {
      const delivery = createJournalDelivery(exporter, { ...common, journal, consumer: id });
      this.#durable.push({ id, delivery });
    }
  }

  /** Gives a batch to the live exporters, before it is durable. */
  offer(batch: RecordBatch): void {
    for (const { offer } of this.#live) offer(batch);
  }

  /** Tells the other exporters that the journal may have more durable records. */
  wake(): void {
    for (const { delivery } of this.#durable) delivery.wake();
  }

  /** Resolves when each exporter has written or dropped every record that waits now, or when aborted. */
  async drain(signal: AbortSignal): Promise<void> {
    await Promise.all(this.all.map(({ delivery }) => delivery.drain(signal)));
  }

  /** Writes what exporters can write synchronously, when the process exits. `leftMs` returns the time that is left. */
  drainSync(leftMs: () => number): void {
    for (const { delivery } of this.all) delivery.drainSync(leftMs());
    for (const { delivery } of this.#durable) delivery.abandonSync();
  }
}
