/** Limits how many records of one kind are stored in a window of time; the rest becomes one summary record. */

import {
  createRecord,
  defineProcessor,
  LEVELS,
  parseFilter,
  z,
  type Level,
  type Processor,
  type ProcessorHost,
  type RecordView,
  type Resource,
  type Value,
  type Verdict,
} from "tailgate/plugin";
import { messageTemplate } from "./throttle/message-template.ts";
import { filterOption } from "./windows/filter-option.ts";
import { timesOf, timeText, type RecordTimes } from "./windows/message-fields.ts";
import { textStart } from "./windows/text-start.ts";
import { Windows } from "./windows/windows.ts";

/** A longer part of a key is cut, which bounds the memory of the keys. */
const KEY_PART_CHARS_MAX = 256;

/** A summary has the resource of a record, unless it is larger than this. */
const RESOURCE_BYTES_MAX = 2048;

const options = z.strictObject({
  key: z
    .array(z.string().min(1))
    .min(1)
    .max(16)
    .default(["logger", "level"])
    .describe(
      "What records of one kind have in common: `logger`, `level`, `message_template` (the message without its numbers, ids and quoted texts), `resource.NAME`, or the name of an attribute such as `instance_id`.",
    ),
  threshold: z
    .int()
    .min(1)
    .default(100)
    .describe("How many records of each key pass in a window; the others are suppressed."),
  window_seconds: z
    .number()
    .min(0.1)
    .max(86_400)
    .default(10)
    .describe("Length of a window, which begins with the first record of its key."),
  filter: filterOption("The records that are counted and suppressed; all others pass."),
  max_keys: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe("Maximum number of open windows; beyond it the oldest one ends early."),
});

type ThrottleOptions = z.output<typeof options>;

export default defineProcessor({
  name: "throttle",
  description:
    "Limits the rate of system logs for each key, and stores one summary for those it suppresses.",
  options,
  open: (given, host) => new Throttle(given, host),
});

/** What was suppressed in an open window. */
interface Suppressed {
  count: number;
  /** The key's parts as the first record has them. */
  readonly key: ReadonlyMap<string, string>;
  readonly logger: string;
  /** The highest one. */
  level: Level;
  readonly resource: Resource | null;
  readonly first: RecordTimes;
  last: RecordTimes;
}

interface Window {
  passed: number;
  suppressed: Suppressed | undefined;
}

class Throttle implements Processor {
  readonly #host: ProcessorHost;
  readonly #options: ThrottleOptions;
  readonly #parts: readonly KeyPart[];
  readonly #filter;
  readonly #windows: Windows<Window>;
  readonly #countSuppressed;
  #isFlushed = false;

  constructor(given: ThrottleOptions, host: ProcessorHost) {
    const { metrics } = host;
    this.#host = host;
    this.#options = given;
    this.#parts = given.key.map(keyPart);
    this.#filter = parseFilter({ q: given.filter });
    this.#countSuppressed = metrics.counter("suppressed", "System logs that were suppressed.");
    const countEvicted = metrics.counter(
      "evicted_windows",
      "Windows that ended early because there were more than max_keys.",
    );
    this.#countSuppressed(0);
    countEvicted(0);
    this.#windows = new Windows({
      lengthMs: 1000 * given.window_seconds,
      max: given.max_keys,
      ended: ({ suppressed }, end) => {
        if (end === "evicted") countEvicted(1);
        if (suppressed !== undefined) this.#summarize(suppressed);
      },
    });
    metrics.gauge("open_windows", "Open windows.", () => this.#windows.size);
  }

  inspect(view: RecordView): Verdict {
    if (this.#isFlushed || view.type() === "audit_log" || !this.#filter.matches(view, 0)) {
      return "pass";
    }
    const key = this.#keyOf(view);
    const window =
      this.#windows.get(key) ?? this.#windows.open(key, { passed: 0, suppressed: undefined });
    if (window.passed < this.#options.threshold) {
      window.passed++;
      return "pass";
    }
    this.#suppress(window, view);
    return "drop";
  }

  #keyOf(view: RecordView): string {
    const [first, ...others] = this.#parts;
    let key = textOfPart(first!.read(view));
    for (const { read } of others) key += `\0${textOfPart(read(view))}`;
    return key;
  }

  #suppress(window: Window, view: RecordView): void {
    const time = timesOf(view.message());
    const level = view.level();
    const { suppressed } = window;
    this.#countSuppressed(1);
    if (suppressed === undefined) {
      const key = new Map(this.#parts.map(({ name, read }) => [name, textOfPart(read(view))]));
      const resource =
        view.resourceBytes().length <= RESOURCE_BYTES_MAX ? view.record().resource : null;
      const logger = view.logger();
      window.suppressed = { count: 1, key, logger, level, resource, first: time, last: time };
      return;
    }
    suppressed.count++;
    suppressed.last = time;
    if (LEVELS.indexOf(level) > LEVELS.indexOf(suppressed.level)) suppressed.level = level;
  }

  #summarize({ count, key, logger, level, resource, first, last }: Suppressed): void {
    const what = count === 1 ? "1 more record" : `${count} more records`;
    const keyText = Array.from(key, ([name, value]) => `${name} ${value}`).join(", ");
    const record = createRecord({
      logger,
      level,
      body: `${what} in ${this.#options.window_seconds} s suppressed: ${keyText}`,
      attributes: {
        "throttle.count": count,
        "throttle.first_timestamp": timeText(first),
        "throttle.last_timestamp": timeText(last),
        "throttle.key": new Map(key),
      },
    });
    this.#host.emit({ ...record, resource });
  }

  flush(): void {
    this.#isFlushed = true;
    this.#windows.endAll();
  }

  close(): void {
    this.flush();
  }
}

interface KeyPart {
  readonly name: string;
  read(view: RecordView): Value | undefined;
}

const RESOURCE_PREFIX = "resource.";

function keyPart(name: string): KeyPart {
  switch (name) {
    case "logger":
      return { name, read: (view) => view.logger() };
    case "level":
      return { name, read: (view) => view.level() };
    case "message_template":
      return { name, read: (view) => messageTemplate(messageOf(view)) };
    default: {
      if (!name.startsWith(RESOURCE_PREFIX)) return { name, read: (view) => view.attribute(name) };
      const attribute = name.slice(RESOURCE_PREFIX.length);
      return { name, read: (view) => view.resourceAttribute(attribute) };
    }
  }
}

function messageOf(view: RecordView): string {
  const body = view.body();
  return typeof body === "string" ? body : view.envelope().data.message;
}

function textOfPart(value: Value | undefined): string {
  const text = typeof value === "string" ? value : shown(value);
  return textStart(text, KEY_PART_CHARS_MAX);
}

/** Returns a value that is no text in a form that differs for different values, nested ones included. */
function shown(value: Value | undefined): string {
  if (typeof value !== "object" || value === null) return String(value ?? "");
  return JSON.stringify(value, (_, inner: unknown) => {
    if (inner instanceof Map) return [...inner];
    return typeof inner === "bigint" ? String(inner) : inner;
  });
}
