/** Shows instances as traces: sends a span for each instance's life over OTLP/HTTP, to Jaeger for example. */

import {
  defineExporter,
  LEVELS,
  textOf,
  withSignals,
  type Batch,
  type Exporter,
  type Host,
} from "tailgate/plugin";
import { planDestination, readDestination, type Destination } from "./otlp/destination.ts";
import { TRACES } from "./otlp/signal.ts";
import { BookKeeper } from "./spans/book-keeper.ts";
import type { FinishedSpan } from "./spans/finished-span.ts";
import { InstanceBook } from "./spans/instance-book.ts";
import { readEvent } from "./spans/instance-event.ts";
import { options, type SpansOptions } from "./spans/options.ts";
import { SpanSender } from "./spans/span-sender.ts";

export default defineExporter({
  name: "spans",
  description: "Sends the lives of instances as traces over OTLP/HTTP, to Jaeger for example.",
  options,
  plan: (given) => planDestination(given, TRACES),
  open: (given, host) => new SpansExporter(readDestination(given, TRACES), given, host),
});

/** How long the end waits for the other side: the gateway gives a second, and the book has to be kept in it, too. */
const END_MS_MAX = 700;

class SpansExporter implements Exporter {
  readonly resumeAfter: number | undefined;
  readonly #destination: Destination;
  readonly #sender: SpanSender;
  readonly #book: InstanceBook;
  readonly #keeper: BookKeeper;
  readonly #log: Host["log"];
  /** Place in LEVELS from which system logs count. */
  readonly #lowest: number;
  readonly #closing = new AbortController();
  /** The newest record that is in the book. */
  #taken = 0;
  /** Spans of records that are in the book: until they are settled, it is not kept. */
  #waiting: FinishedSpan[] = [];
  #isBehind = false;

  constructor(destination: Destination, given: SpansOptions, host: Host) {
    const { log, metrics } = host;
    this.#destination = destination;
    this.#log = log;
    this.#sender = new SpanSender(destination, given.service_name, host);
    this.#lowest = given.log_events === "none" ? LEVELS.length : LEVELS.indexOf(given.log_events);
    const countClosed = metrics.counter(
      "instances_closed",
      "Instances whose span has ended, by how.",
    );
    this.#book = new InstanceBook(given.max_open_instances, ({ end }) => countClosed(1, { end }));
    this.#keeper = new BookKeeper(host);
    this.resumeAfter = this.#keeper.restore(this.#book);
    this.#taken = this.resumeAfter ?? 0;
    metrics.gauge(
      "open_instances",
      "Instances whose end has not come.",
      () => this.#book.openCount,
    );
  }

  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    this.#isBehind = true;
    this.#take(batch);
    await this.#send(signal);
    this.#isBehind = false;
    this.#keeper.settled(this.#book, this.#taken);
  }

  /** A batch that comes again is in the book already. */
  #take(batch: Batch): void {
    for (let index = 0; index < batch.length; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= this.#taken) continue;
      const event = this.#isWanted(batch, index) ? readEvent(batch, index) : undefined;
      if (event !== undefined) for (const span of this.#book.take(event)) this.#waiting.push(span);
      this.#taken = sequence;
    }
  }

  #isWanted(batch: Batch, index: number): boolean {
    return batch.type(index) === "audit_log" || LEVELS.indexOf(batch.level(index)) >= this.#lowest;
  }

  async #send(signal: AbortSignal): Promise<void> {
    const send = (either: AbortSignal): Promise<void> => this.#sender.send(this.#waiting, either);
    await withSignals([signal, this.#closing.signal], send);
  }

  /** Ends what is open. Where records wait that may tell another end, it stays open for the next start. */
  async close(signal: AbortSignal): Promise<void> {
    try {
      if (!this.#isBehind && this.#taken > 0) await this.#end(signal);
    } finally {
      this.#closing.abort(new Error("The exporter is closed."));
      this.#destination.agent.destroy();
    }
  }

  async #end(signal: AbortSignal): Promise<void> {
    const { openCount } = this.#book;
    const before = this.#book.toText();
    const nowNanos = BigInt(Date.now()) * 1_000_000n;
    this.#waiting = this.#book.stop(nowNanos, this.#taken);
    try {
      await withSignals([signal], (limit) => this.#send(limit), END_MS_MAX);
    } catch (error) {
      this.#log.warning(
        `The spans of ${openCount} open instances could not be sent; they stay open for the next start: ${textOf(error)}`,
      );
      return this.#keeper.keep(before, this.#taken);
    }
    await this.#keeper.keep(this.#book.toText(), this.#taken);
  }
}
