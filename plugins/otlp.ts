/** Sends records over OTLP/HTTP to a collector, a log store or another gateway. */

import {
  defineExporter,
  withSignals,
  z,
  type Batch,
  type Exporter,
  type Host,
  type OtlpForm,
  type Written,
} from "tailgate/plugin";
import { RejectionLog } from "./http-client/rejection-log.ts";
import {
  destinationOptions,
  LOGS,
  planDestination,
  readDestination,
  type Destination,
} from "./otlp/destination.ts";
import { Quarantine } from "./otlp/quarantine.ts";
import { OtlpSender } from "./otlp/sender.ts";

const options = z.strictObject({
  ...destinationOptions(LOGS),
  logger_attribute: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Attribute that repeats the logger's name, for stores that drop the scope. Default: none.",
    ),
  record_uid: z
    .boolean()
    .default(true)
    .describe(
      "Whether each record gets the attribute `log.record.uid`, unless it has one. A record that is sent again, after a crash or a lost response, has the same value, which identifies duplicates.",
    ),
  max_batch_bytes: z
    .int()
    .min(1)
    .default(2 << 20)
    .describe(
      "Approximate maximum size of a request before compression, in bytes; a larger record is sent alone.",
    ),
  quarantine_max_bytes: z
    .int()
    .min(1)
    .default(64 << 20)
    .describe(
      "Maximum size of the quarantine's two files, in bytes; beyond it the older one is deleted and its records are counted.",
    ),
});

type OtlpOptions = z.output<typeof options>;

export default defineExporter({
  name: "otlp",
  description: "Sends records over OTLP/HTTP to a collector or a log store, with retries.",
  options,
  plan: (given) => planDestination(given, LOGS),
  async open(given, host) {
    const destination = readDestination(given, LOGS);
    const form = readForm(given, host);
    const quarantine = await Quarantine.open(host, { bytesMax: given.quarantine_max_bytes, form });
    return new OtlpExporter(
      destination,
      quarantine,
      { form, bytesMax: given.max_batch_bytes },
      host,
    );
  },
});

function readForm(given: OtlpOptions, { journal }: Host): OtlpForm {
  return {
    loggerAttribute: given.logger_attribute,
    uidOf: given.record_uid ? (sequence) => journal.uidOf(sequence) : undefined,
  };
}

class OtlpExporter implements Exporter {
  readonly #destination: Destination;
  readonly #sender: OtlpSender<Batch>;
  readonly #bytesMax: number;
  readonly #quarantine: Quarantine;
  readonly #rejections: RejectionLog;
  readonly #closing = new AbortController();
  /** The newest settled record: a batch that is delivered again resumes after it. */
  #settled = 0;

  constructor(
    destination: Destination,
    quarantine: Quarantine,
    { form, bytesMax }: { form: OtlpForm; bytesMax: number },
    host: Host,
  ) {
    const isJson = destination.protocol === "http/json";
    this.#destination = destination;
    this.#sender = new OtlpSender<Batch>(destination, LOGS, {
      serialize: (batch) => (isJson ? batch.otlpJson(form) : batch.otlp(form)),
      count: ({ length }) => length,
    });
    this.#bytesMax = bytesMax;
    this.#quarantine = quarantine;
    this.#rejections = new RejectionLog(destination.name, quarantine.path, host.log);
    host.sendingTo(destination.name);
  }

  async write(batch: Batch, signal: AbortSignal): Promise<Written> {
    const rest = batch.select((index) => batch.sequence(index) > this.#settled);
    await withSignals([signal, this.#closing.signal], (either) => this.#sendAll(rest, either));
    return { dropped: this.#rejections.takeCounts() };
  }

  async #sendAll(batch: Batch, signal: AbortSignal): Promise<void> {
    for (const part of splitBySize(batch, this.#bytesMax)) await this.#send(part, signal);
  }

  /** Bisects a rejected part to isolate the records that the destination rejects. */
  async #send(part: Batch, signal: AbortSignal): Promise<void> {
    const outcome = await this.#sender.send(part, signal);
    if (outcome.kind === "accepted") {
      const rejected = Math.min(outcome.rejected, part.length);
      this.#rejections.addPartialSuccess(rejected, outcome.message);
    } else if (part.length > 1) {
      const half = part.length >> 1;
      await this.#send(
        part.select((index) => index < half),
        signal,
      );
      return this.#send(part.from(half), signal);
    } else {
      // Before the record is settled: if storing fails, delivery sends it again.
      await this.#quarantine.store(part, outcome.reason);
      this.#rejections.addRejected(part.sequence(0), outcome.reason);
    }
    this.#settled = part.sequence(part.length - 1);
  }

  close(): void {
    this.#closing.abort(new Error("The exporter is closed."));
    this.#destination.agent.destroy();
  }
}

/** Yields parts of up to `bytesMax`, measured by their envelopes, each of at least one record. */
function* splitBySize(batch: Batch, bytesMax: number): Generator<Batch> {
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
