import type { Batch, Exporter } from "../plugin/index.ts";
import { Counters } from "./counters.ts";
import { Delivery, type DeliveryOptions } from "./delivery.ts";
import { LiveSource } from "./live-source.ts";
import type { Wish } from "./source.ts";

export interface LiveDeliveryOptions extends DeliveryOptions, Wish {
  /** What may wait for the exporter, in bytes, for system logs and audit events each. */
  readonly queueBytesMax: number;
}

/** Carries batches to a viewer as they come. */
export class LiveDelivery extends Delivery {
  readonly #source: LiveSource;

  constructor(exporter: Exporter, options: LiveDeliveryOptions) {
    const counters = new Counters();
    const source = new LiveSource({ ...options, counters });
    super(exporter, source, counters, options);
    this.#source = source;
  }

  /** Takes a batch; it never throws and never waits. */
  offer(batch: Batch): void {
    this.#source.offer(batch);
    this.wake();
  }

  override close(signal: AbortSignal): Promise<void> {
    this.#source.close();
    return super.close(signal);
  }
}
