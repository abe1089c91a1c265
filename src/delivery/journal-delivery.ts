import type { Journal } from "../journal/journal.ts";
import type { Exporter } from "../plugin/index.ts";
import { Counters } from "./counters.ts";
import { Delivery, type DeliveryOptions } from "./delivery.ts";
import { JournalSource } from "./journal-source.ts";
import type { Wish } from "./source.ts";

export interface JournalDeliveryOptions extends DeliveryOptions, Wish {
  readonly journal: Journal;
  /** The name under which the journal keeps the exporter's place. */
  readonly consumer: string;
}

/** Carries every durable record to an exporter, from where it stopped the last time. Wake it when there are more. */
export class JournalDelivery extends Delivery {
  constructor(exporter: Exporter, options: JournalDeliveryOptions) {
    const counters = new Counters();
    const { resumeAfter } = exporter;
    super(exporter, new JournalSource({ ...options, resumeAfter, counters }), counters, options);
  }
}
