/** Stores equal records that follow each other once, and then how many there were. */

import { hash } from "node:crypto";
import { clearTimeout, setTimeout } from "node:timers";
import {
  defineProcessor,
  parseFilter,
  z,
  type LogRecord,
  type Processor,
  type ProcessorHost,
  type RecordView,
  type Verdict,
} from "tailgate/plugin";
import { ComparedBytes, type ComparedFields } from "./dedupe/compared-bytes.ts";
import { filterOption } from "./windows/filter-option.ts";
import { timesOf, timeText, type RecordTimes } from "./windows/message-fields.ts";

const ATTRIBUTE_PREFIX = "attributes.";

const fieldList = z
  .array(z.string().regex(/^(?:body|attributes\..+)$/s, "expected body or attributes.NAME"))
  .default([]);

const options = z
  .strictObject({
    interval_seconds: z
      .number()
      .min(0.1)
      .max(86_400)
      .default(10)
      .describe("How long equal records are collapsed, from the first one on."),
    log_count_attribute: z
      .string()
      .min(1)
      .default("log_count")
      .describe("Attribute with the number of records that a stored one stands for."),
    exclude_fields: fieldList.describe(
      "What may differ: `body` or `attributes.NAME`, such as `attributes.request_id`. Times, trace and span ids always may.",
    ),
    include_fields: fieldList.describe(
      "What must be equal beside logger, level and resource, in the same form; if empty, everything but `exclude_fields`.",
    ),
    filter: filterOption("The records that are collapsed; all others pass."),
    max_keys: z
      .int()
      .min(1)
      .max(100_000)
      .default(1000)
      .describe(
        "Maximum number of loggers, each of each resource, whose newest record is remembered; beyond it the oldest one is forgotten.",
      ),
  })
  .refine(({ include_fields: included, exclude_fields: excluded }) => {
    return included.length === 0 || excluded.length === 0;
  }, "include_fields and exclude_fields cannot be combined");

type DedupeOptions = z.output<typeof options>;

export default defineProcessor({
  name: "dedupe",
  description:
    "Collapses equal system logs that follow each other into one, with their count and times.",
  options,
  open: (given, host) => new Dedupe(given, host),
});

/** Equal records, the first of which has passed. */
interface Run {
  readonly compared: Buffer;
  readonly startedAtMs: number;
  repeats: Repeats | undefined;
}

interface Repeats {
  /** The first one. */
  readonly record: LogRecord;
  count: number;
  readonly first: RecordTimes;
  last: RecordTimes;
  readonly timer: NodeJS.Timeout;
}

class Dedupe implements Processor {
  readonly #host: ProcessorHost;
  readonly #options: DedupeOptions;
  readonly #filter;
  readonly #compared: ComparedBytes;
  readonly #countRepeat;
  readonly #countForgotten;
  /** By logger and resource; the least recently replaced one comes first. */
  readonly #runs = new Map<string, Run>();
  /** Weak, so that no request stays in memory. */
  readonly #resourceKeys = new WeakMap<Uint8Array, string>();
  #isFlushed = false;

  constructor(given: DedupeOptions, host: ProcessorHost) {
    const { metrics } = host;
    this.#host = host;
    this.#options = given;
    this.#filter = parseFilter({ q: given.filter });
    this.#compared = new ComparedBytes(comparedFields(given));
    this.#countRepeat = metrics.counter(
      "repeated_records",
      "System logs that were counted instead of stored.",
    );
    this.#countForgotten = metrics.counter(
      "forgotten_records",
      "Records that were forgotten because there were more than max_keys.",
    );
    this.#countRepeat(0);
    this.#countForgotten(0);
  }

  inspect(view: RecordView): Verdict {
    if (this.#isFlushed || view.type() === "audit_log" || !this.#filter.matches(view, 0)) {
      return "pass";
    }
    const key = `${view.logger()}\0${this.#resourceKey(view)}`;
    const run = this.#runs.get(key);
    const compared = this.#compared.of(view.message());
    const nowMs = performance.now();
    if (run === undefined) {
      this.#begin(key, compared, nowMs);
      return "pass";
    }
    const isOver = nowMs - run.startedAtMs >= 1000 * this.#options.interval_seconds;
    if (compared === undefined || isOver || !compared.equals(run.compared)) {
      this.#end(key, run);
      this.#begin(key, compared, nowMs);
      return "pass";
    }
    this.#repeat(key, run, view, nowMs);
    return "drop";
  }

  /** Records of different processes are different. A large resource is as good as its hash. */
  #resourceKey(view: RecordView): string {
    const bytes = view.resourceBytes();
    if (bytes.length === 0) return "";
    let key = this.#resourceKeys.get(bytes);
    if (key === undefined) {
      key = hash("sha256", bytes, "base64");
      this.#resourceKeys.set(bytes, key);
    }
    return key;
  }

  #begin(key: string, compared: Buffer | undefined, startedAtMs: number): void {
    if (compared === undefined) return;
    if (this.#runs.size >= this.#options.max_keys) this.#forgetOldest();
    this.#runs.set(key, { compared: Buffer.from(compared), startedAtMs, repeats: undefined });
  }

  #forgetOldest(): void {
    const [key, run] = this.#runs.entries().next().value!;
    this.#countForgotten(1);
    this.#end(key, run);
  }

  #repeat(key: string, run: Run, view: RecordView, nowMs: number): void {
    const times = timesOf(view.message());
    this.#countRepeat(1);
    if (run.repeats !== undefined) {
      run.repeats.count++;
      run.repeats.last = times;
      return;
    }
    const endMs = run.startedAtMs + 1000 * this.#options.interval_seconds;
    const timer = setTimeout(() => this.#end(key, run), endMs - nowMs).unref();
    run.repeats = { record: view.record(), count: 1, first: times, last: times, timer };
  }

  /** Forgets a run, and stores how often its record was repeated. */
  #end(key: string, { repeats }: Run): void {
    this.#runs.delete(key);
    if (repeats === undefined) return;
    const { record, count, first, last, timer } = repeats;
    clearTimeout(timer);
    const attributes = new Map(record.attributes)
      .set(this.#options.log_count_attribute, count)
      .set("first_timestamp", timeText(first))
      .set("last_timestamp", timeText(last));
    this.#host.emit({ ...record, ...last, attributes });
  }

  flush(): void {
    this.#isFlushed = true;
    for (const [key, run] of this.#runs) this.#end(key, run);
  }

  close(): void {
    this.flush();
  }
}

function comparedFields({
  include_fields: included,
  exclude_fields: excluded,
}: DedupeOptions): ComparedFields {
  const isIncluding = included.length > 0;
  const named = isIncluding ? included : excluded;
  const names = new Set(
    named
      .filter((field) => field.startsWith(ATTRIBUTE_PREFIX))
      .map((field) => field.slice(ATTRIBUTE_PREFIX.length)),
  );
  return {
    body: named.includes("body") === isIncluding,
    attribute:
      names.size === 0 && !isIncluding ? undefined : (name) => names.has(name) === isIncluding,
  };
}
