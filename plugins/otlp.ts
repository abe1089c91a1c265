/** Sends records over OTLP/HTTP: to a collector, a log store, another gateway. */

import {
  defineExporter,
  withSignals,
  type Batch,
  type Exporter,
  type Host,
  type OtlpForm,
  type Written,
} from "tailgate/plugin";
import { planDestination, readDestination, type Destination } from "./otlp/destination.ts";
import { Losses } from "./otlp/losses.ts";
import { options, type OtlpOptions } from "./otlp/options.ts";
import { Quarantine } from "./otlp/quarantine.ts";
import { post } from "./otlp/request.ts";
import { LOGS } from "./otlp/signal.ts";
import { laterError, verdictOf } from "./otlp/verdict.ts";

export default defineExporter({
  name: "otlp",
  description:
    "Sends records over OTLP/HTTP to a collector or a log store, each one until it is taken.",
  options,
  plan: (given) => planDestination(given, LOGS),
  async open(given, host) {
    const destination = readDestination(given, LOGS);
    const form = formOf(given, host);
    const quarantine = await Quarantine.open(host, { bytesMax: given.quarantine_max_bytes, form });
    return new OtlpExporter(
      destination,
      quarantine,
      { form, bytesMax: given.max_batch_bytes },
      host,
    );
  },
});

function formOf(given: OtlpOptions, { journal }: Host): OtlpForm {
  return {
    loggerAttribute: given.logger_attribute,
    uidOf: given.record_uid ? (sequence) => journal.uidOf(sequence) : undefined,
  };
}

class OtlpExporter implements Exporter {
  readonly #destination: Destination;
  readonly #form: OtlpForm;
  readonly #bytesMax: number;
  readonly #quarantine: Quarantine;
  readonly #losses: Losses;
  readonly #closing = new AbortController();
  /** The newest record that is settled: a batch that comes again is gone on with behind it. */
  #settled = 0;

  constructor(
    destination: Destination,
    quarantine: Quarantine,
    { form, bytesMax }: { form: OtlpForm; bytesMax: number },
    host: Host,
  ) {
    this.#destination = destination;
    this.#form = form;
    this.#bytesMax = bytesMax;
    this.#quarantine = quarantine;
    this.#losses = new Losses(destination.name, quarantine.path, host.log);
    host.sendingTo(destination.name);
  }

  async write(batch: Batch, signal: AbortSignal): Promise<Written> {
    const rest = batch.select((index) => batch.sequence(index) > this.#settled);
    await withSignals([signal, this.#closing.signal], (either) => this.#sendAll(rest, either));
    return { dropped: this.#losses.take() };
  }

  async #sendAll(batch: Batch, signal: AbortSignal): Promise<void> {
    for (const part of parted(batch, this.#bytesMax)) await this.#send(part, signal);
  }

  /** Of a part that is refused for good the halves are sent, down to the records that are to blame. */
  async #send(part: Batch, signal: AbortSignal): Promise<void> {
    const { protocol } = this.#destination;
    const isJson = protocol === "http/json";
    const body = isJson ? part.otlpJson(this.#form) : part.otlp(this.#form);
    const answer = await post(this.#destination, body, signal);
    const verdict = verdictOf(answer);
    if (verdict.kind === "later") throw laterError(this.#destination.name, verdict);
    if (verdict.kind === "taken") {
      this.#losses.rejected(Math.min(verdict.rejected, part.length), verdict.message);
    } else if (part.length > 1) {
      const half = part.length >> 1;
      await this.#send(
        part.select((index) => index < half),
        signal,
      );
      return this.#send(part.from(half), signal);
    } else {
      // Not settled before it is safe there: where that fails, delivery comes again.
      await this.#quarantine.keep(part, verdict.reason);
      this.#losses.refused(part.sequence(0), verdict.reason);
    }
    this.#settled = part.sequence(part.length - 1);
  }

  close(): void {
    this.#closing.abort(new Error("The exporter is closed."));
    this.#destination.agent.destroy();
  }
}

/** Parts of up to so many bytes, measured by the envelopes, or of one record. */
function* parted(batch: Batch, bytesMax: number): Generator<Batch> {
  for (let rest = batch; rest.length > 0;) {
    let end = 0;
    for (let bytes = 0; end < rest.length; end++) {
      bytes += rest.size(end);
      if (bytes > bytesMax && end > 0) break;
    }
    const part = end;
    yield rest.select((index) => index < part);
    rest = rest.select((index) => index >= part);
  }
}
