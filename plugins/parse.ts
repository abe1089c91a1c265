/** Turns messages that are JSON or logfmt into attributes before records are stored. */

import {
  defineProcessor,
  lineParser,
  parseFilter,
  z,
  type Filter,
  type LineKeys,
  type LineParser,
  type LogRecord,
  type ParsedLine,
  type Processor,
  type ProcessorHost,
  type RecordView,
  type Value,
  type Verdict,
} from "tailgate/plugin";
import { filterText } from "./filter/filter-text.ts";
import { mergeFields, type MergeOptions, type Original } from "./parse/message-fields.ts";

const keys = z.array(z.string().min(1)).min(1).optional();

const options = z.strictObject({
  format: z
    .enum(["auto", "json", "logfmt"])
    .default("auto")
    .describe("The messages to parse: JSON objects, logfmt, or both with `auto`."),
  filter: filterText
    .optional()
    .describe("The records to parse; all others stay as they are. Default: all records."),
  keep_message: z
    .boolean()
    .default(false)
    .describe("Whether the message stays as it is beside the attributes."),
  overwrite: z
    .boolean()
    .default(false)
    .describe(
      "Whether the message's time, level, logger and fields replace what the record has. If not, a field that differs gets the prefix `message.`.",
    ),
  time_keys: keys.describe(
    "The fields of JSON and logfmt with the time. Default: those of the usual libraries.",
  ),
  level_keys: keys.describe("The fields with the level, likewise."),
  logger_keys: keys.describe("The fields with the logger's name, likewise."),
  message_keys: keys.describe("The fields with the message, likewise."),
  time_zone: z
    .string()
    .default("local")
    .refine(isTimeZone, "expected local, UTC, an offset such as +02:00, or a name of the IANA")
    .describe(
      "The zone of times without one: `local`, `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`.",
    ),
});

type Options = z.output<typeof options>;

export default defineProcessor({
  name: "parse",
  description: "Turns messages that are JSON or logfmt into attributes before records are stored.",
  options,
  open: (given, host) => new MessageParser(given, host),
});

function isTimeZone(timeZone: string): boolean {
  try {
    lineParser({ timeZone });
    return true;
  } catch {
    return false;
  }
}

/** Messages with more characters or values are not parsed: parsing one takes milliseconds, during which nothing else runs. */
const MESSAGE_CHARS_MAX = 256 << 10;
const VALUES_MAX = 10_000;

/** A message and what it says. */
interface ParsedMessage extends Original {
  readonly text: string;
  readonly line: ParsedLine;
}

class MessageParser implements Processor {
  readonly #parser: LineParser;
  readonly #format: Options["format"];
  readonly #filter: Filter;
  readonly #merge: MergeOptions;
  readonly #count: (count: number, labels: { readonly result: string }) => void;
  /** Of the record that was inspected last. */
  #parsed: ParsedMessage | undefined;

  constructor(given: Options, { metrics }: ProcessorHost) {
    this.#parser = lineParser({
      format: given.format,
      keys: keysOf(given),
      timeZone: given.time_zone,
    });
    this.#format = given.format;
    this.#filter = parseFilter({ q: given.filter });
    this.#merge = { overwrite: given.overwrite, keepMessage: given.keep_message };
    this.#count = metrics.counter(
      "messages",
      "Messages that are JSON or logfmt, by result: `json` and `logfmt` were parsed, those that are `too_large` are left as they are.",
    );
    for (const result of ["json", "logfmt", "too_large"]) this.#count(0, { result });
  }

  inspect(view: RecordView): Verdict {
    this.#parsed = undefined;
    const text = view.body();
    if (typeof text !== "string" || !mayHaveFields(text, this.#format)) return "pass";
    if (!this.#filter.matches(view, 0)) return "pass";
    const line = text.length > MESSAGE_CHARS_MAX ? "too_large" : this.#parse(text);
    if (line === undefined) return "pass";
    this.#count(1, { result: line === "too_large" ? line : line.format });
    if (line === "too_large") return "pass";
    const [isAudit, level, logger] = [view.type() === "audit_log", view.level(), view.logger()];
    this.#parsed = { text, line, isAudit, level, logger };
    return "process";
  }

  #parse(text: string): ParsedLine | "too_large" | undefined {
    const line = this.#parser.parseFields(text);
    if (line === undefined) return undefined;
    return countValues(line.attributes, VALUES_MAX) > VALUES_MAX ? "too_large" : line;
  }

  process(record: LogRecord): LogRecord {
    const { line, ...original } = this.#parsed!;
    this.#parsed = undefined;
    mergeFields(line, record, original, this.#merge);
    return record;
  }
}

function keysOf({
  time_keys: time,
  level_keys: level,
  logger_keys: logger,
  message_keys: message,
}: Options): Partial<LineKeys> {
  return {
    ...(time && { time }),
    ...(level && { level }),
    ...(logger && { logger }),
    ...(message && { message }),
  };
}

const SPACE = 0x20;
const EQUALS = 0x3d;
const OPEN_BRACE = 0x7b;

/** Whether a message may have the format. Looks at its first word only, except for logfmt, which may start with bare keys. */
function mayHaveFields(text: string, format: Options["format"]): boolean {
  let at = 0;
  while (at < text.length && text.charCodeAt(at) <= SPACE) at++;
  if (text.charCodeAt(at) === OPEN_BRACE) return format !== "logfmt";
  if (format !== "auto") return format === "logfmt" && text.includes("=");
  while (text.charCodeAt(at) > SPACE && text.charCodeAt(at) !== EQUALS) at++;
  return text.charCodeAt(at) === EQUALS;
}

/** Returns the number of values in a value, itself included; any number above `max` if there are more. */
function countValues(value: Value, max: number): number {
  let count = 1;
  const inner = value instanceof Map ? value.values() : Array.isArray(value) ? value : [];
  for (const one of inner) {
    count += countValues(one, max - count);
    if (count > max) break;
  }
  return count;
}
