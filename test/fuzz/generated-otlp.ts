import type { JsonRequest } from "../encode/generated-request.ts";
import { lengthOf, type Random } from "./random.ts";

/** Names with a meaning for the gateway, and some that may collide with others. */
const KEYS = [
  ...["level", "message", "id", "type", "extra_level", "extra_id", "timestamp", "event_type"],
  ...["trace_id", "span_id", "service", "logger", "name", "label", "a", "b", "é", "__proto__"],
  ...["seq", "hash", "event", "1", "", "constructor", "log.record.uid", "extra_extra_level", "err"],
  ...["extra_seq", "event_name", "event.name", "severity_text", "logger.name", "exception.type"],
];
const CODE_KEYS = [
  ...["code.file.path", "code.filepath", "code.function.name", "code.function", "code.namespace"],
  ...["code.stacktrace", "code.", "code.line.number", "code.lineno"],
];
const LOGGERS = [
  ...["", "orchestrator.server", "orchestrator.server", "orchestrator.audit"],
  ...["orchestrator.audit.child", "é", "@opentelemetry/instrumentation-pino"],
  ...["@opentelemetry/winston-transport", "unknown", "syslog"],
];
const SEVERITIES = [0, 1, 5, 9, 9, 9, 12, 13, 17, 21, 24, 99];
const SEVERITY_TEXTS = [
  ...[
    "INFO",
    "info",
    "WARN",
    "Fatal",
    "ERROR+4",
    "ınfo",
    "",
    "CRITICAL",
    "Trace",
    " err ",
    "ERROR3",
  ],
  ...["Level 35", "50", "3", "W", "emerg"],
];
const EVENT_NAMES = ["", "instance.spawn", "event src/main.rs:78"];
const INTEGERS = [
  ...["0", "1", "-1", "127", "128", "2147483648", "9007199254740991", "9007199254740992"],
  ...["-9007199254740993", "9223372036854775807", "-9223372036854775808"],
];
const DOUBLES = [0, -0, 0.5, 1, 1e21, 2 ** 53, -1e-7, 5e-324, 1.7976931348623157e308, "NaN"];

/** Building blocks of strings: plain ones, and some that are special in JSON, UTF-8 or line-based files. */
const PIECES = [
  ...["a", "lorem ipsum ", 'say "hi"\n', '"', "\\", "\n", "\u0000", "\u001b[31m", "é", "€", "😀"],
  ...["\u2028", "\u007f", "\u0085", "</script>", "{}", ",", '","hash":"'],
];

/** One value in this many is nested deeper than the gateway shows. */
const DEEP_EVERY = 400;
const DEPTHS = [60, 63, 64, 65, 99, 100, 101, 110];

/** One list of attributes in this many is too long for a linear search. */
const MANY_EVERY = 800;

/** One request in this many begins with a record whose frame needs, or almost needs, a 64-bit length. */
const LARGE_FIRST_EVERY = 50;

/** Returns a request that both protobuf and JSON can represent: strings are well-formed, and each record has a time. */
export function otlpRequest(random: Random): JsonRequest {
  if (random.once(LARGE_FIRST_EVERY)) return largeFirst(random);
  const models = Array.from({ length: random.between(1, 3) }, () => logRecord(random));
  return {
    resourceLogs: random.list(2, () => ({
      ...(random.once(2) && { resource: { attributes: resourceAttributes(random) } }),
      scopeLogs: random.list(3, () => ({
        ...(!random.once(8) && { scope: scope(random) }),
        logRecords: random.list(5, () => recordLike(random, models)),
      })),
    })),
  } as unknown as JsonRequest;
}

type Json = Record<string, unknown>;

/** Returns records that repeat the attributes, the level and the second of a large record before them. */
function largeFirst(random: Random): JsonRequest {
  const seconds = SECOND + random.below(3);
  const large = { ...logRecord(random), timeUnixNano: `${seconds}000000001` };
  const piece = random.pick(PIECES);
  const length = Math.floor((66_500 - random.below(1500)) / (JSON.stringify(piece).length - 2));
  const texts = { body: { stringValue: piece.repeat(length) } };
  const alike = Array.from({ length: random.between(1, 4) }, (_, index) => ({
    ...large,
    timeUnixNano: `${seconds}00000000${2 + index}`,
    body: { stringValue: text(random) },
  }));
  const logRecords = [{ ...large, ...texts }, ...alike];
  return {
    resourceLogs: [{ scopeLogs: [{ scope: scope(random), logRecords }] }],
  } as unknown as JsonRequest;
}

/** Returns a new record, or one with parts of others: the encoder has a separate path for repeated parts. */
function recordLike(random: Random, models: readonly Json[]): Json {
  if (random.once(4)) return logRecord(random);
  const record = { ...random.pick(models) };
  if (random.once(3)) return record;
  const changed = random.pick(models);
  for (const field of ["body", "attributes", "severityNumber", "timeUnixNano", "traceId"]) {
    if (random.once(2) && changed[field] !== undefined) record[field] = changed[field];
  }
  return record;
}

function logRecord(random: Random): Json {
  const record: Json = { observedTimeUnixNano: time(random) };
  if (!random.once(5)) record["timeUnixNano"] = random.once(6) ? "0" : time(random);
  if (!random.once(4)) record["severityNumber"] = random.pick(SEVERITIES);
  if (random.once(2)) record["severityText"] = severityText(random);
  if (!random.once(8))
    record["body"] = random.once(3) ? value(random) : { stringValue: text(random) };
  if (random.once(8)) record["eventName"] = random.pick(EVENT_NAMES);
  if (!random.once(4)) record["attributes"] = attributes(random);
  if (random.once(8)) record["droppedAttributesCount"] = random.below(4);
  if (random.once(4)) record["flags"] = random.pick([0, 1, 3, 0x101]);
  if (random.once(3)) record["traceId"] = id(random, 16);
  if (random.once(3)) record["spanId"] = id(random, 8);
  return record;
}

function severityText(random: Random): string {
  return random.once(6) ? text(random) : random.pick(SEVERITY_TEXTS);
}

function scope(random: Random): Json {
  return {
    ...(!random.once(6) && { name: random.once(20) ? text(random) : random.pick(LOGGERS) }),
    ...(random.once(4) && { version: text(random) }),
    attributes: random.once(3) ? attributes(random) : [],
  };
}

function resourceAttributes(random: Random): Json[] {
  const service = {
    key: "service.name",
    value: { stringValue: random.pick(["orchestrator", "", "é"]) },
  };
  return [...(random.once(2) ? [service] : []), ...(random.once(2) ? attributes(random) : [])];
}

function attributes(random: Random): Json[] {
  if (random.once(MANY_EVERY)) {
    const length = random.pick([250, 1000, 5000]);
    return Array.from({ length }, (_, index) => ({ key: `k${index}`, value: { intValue: "1" } }));
  }
  return random.list(7, () => (random.once(5) ? codeAttribute(random) : attribute(random)));
}

function attribute(random: Random): Json {
  const key = random.once(3) ? text(random) : random.pick(KEYS);
  return random.once(12) ? { key } : { key, value: value(random) };
}

function codeAttribute(random: Random): Json {
  const key = random.pick(CODE_KEYS);
  if (random.once(4)) return { key, value: value(random) };
  if (key.startsWith("code.line"))
    return { key, value: { intValue: String(random.between(-3, 900)) } };
  const texts = ["/app/server.py", "C:\\app\\main.go", ".env", "a.b.c", "x::y::run", ":::", ""];
  return { key, value: { stringValue: random.pick(texts) } };
}

function value(random: Random, depth = 0): Json {
  if (depth === 0 && random.once(DEEP_EVERY)) return nested(random, random.pick(DEPTHS));
  switch (random.below(depth > 3 ? 7 : 9)) {
    case 0:
    case 1:
      return { stringValue: text(random) };
    case 2:
      return { intValue: random.once(2) ? random.pick(INTEGERS) : String(random.word()) };
    case 3:
      return { boolValue: random.once(2) };
    case 4:
      return { doubleValue: random.once(2) ? random.pick(DOUBLES) : random.word() / 1000 };
    case 5:
      return { bytesValue: random.bytes(Math.min(lengthOf(random), 70_000)).toString("base64") };
    case 6:
      return {};
    case 7:
      return { arrayValue: { values: random.list(4, () => value(random, depth + 1)) } };
    default:
      return {
        kvlistValue: {
          values: random.list(4, () => ({
            key: random.pick(KEYS),
            ...(!random.once(6) && { value: value(random, depth + 1) }),
          })),
        },
      };
  }
}

function nested(random: Random, levels: number): Json {
  let result: Json = { stringValue: "innermost" };
  for (let level = 0; level < levels; level++) {
    result = random.once(2)
      ? { arrayValue: { values: [result] } }
      : { kvlistValue: { values: [{ key: "k", value: result }] } };
  }
  return result;
}

/** Returns a well-formed string. */
function text(random: Random): string {
  const length = lengthOf(random);
  if (length === 0) return "";
  const first = random.pick(PIECES);
  const piece = random.once(2) ? first + random.pick(PIECES) : first;
  const whole = piece.repeat(Math.ceil(length / piece.length)).slice(0, length);
  return whole.isWellFormed() ? whole : `${whole.slice(0, -1)}?`;
}

const SECOND = 1_760_347_644;

/** Returns a time. Most are close together, so that their order matters; none is 0, which would mean now. */
function time(random: Random): string {
  if (random.once(12))
    return random.pick(["1", "999", "253402300800000000000", "18446744073709551615"]).slice(0, 19);
  return `${SECOND + random.below(3)}${String(random.below(1e9)).padStart(9, "0")}`;
}

function id(random: Random, length: number): string {
  return random.once(6)
    ? random.pick(["", "00".repeat(length), "ab"])
    : random.bytes(length).toString("hex");
}
