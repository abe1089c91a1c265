/** What the fields of JSON and logfmt mean. Each library has its own names. */

import type { Value, ValueMap } from "../plugin/record.ts";
import type { LineFormat, ParsedLine } from "./parsed-line.ts";
import { parseSeverity } from "./severity.ts";
import { parseTime, type TimeZone } from "./time.ts";

/**
 * The names of fields by their meaning; the first that a line has, with a value that fits, counts. Dots lead into nested
 * objects, unless there is a field with the whole name.
 */
export interface LineKeys {
  /** When it happened. */
  readonly time: readonly string[];
  /** The level, by its name or by a number of pino, bunyan or syslog. */
  readonly level: readonly string[];
  /** The logger's name. */
  readonly logger: readonly string[];
  /** The message. */
  readonly message: readonly string[];
}

/**
 * The names that pino, bunyan, winston, structlog, zap, zerolog, slog, logrus, loguru, python-json-logger, logback, Serilog
 * and the Elastic Common Schema use.
 */
export const DEFAULT_KEYS: LineKeys = {
  time: ["timestamp", "@timestamp", "time", "ts", "asctime", "datetime", "@t"],
  level: ["level", "severity", "levelname", "log.level", "lvl", "loglevel", "@l"],
  logger: ["logger", "logger_name", "log.logger", "logger.name"],
  message: ["message", "msg", "event", "@m", "@mt"],
};

const TRACE_ID_KEYS = ["trace_id", "traceId", "traceID", "trace.id"];
const SPAN_ID_KEYS = ["span_id", "spanId", "spanID", "span.id"];

const TRACE_ID = /^[\da-f]{32}$/i;
const SPAN_ID = /^[\da-f]{16}$/i;

/** Returns what the fields of a line say. `fields` becomes the attributes. */
export function lineOfFields(
  format: LineFormat,
  fields: ValueMap,
  keys: LineKeys,
  zone: TimeZone,
): ParsedLine {
  unwrapLoguru(fields);
  const named = namesLogger(fields) ? [...keys.logger, "name"] : keys.logger;
  const timestamp = take(fields, keys.time, (value) => parseTime(value, zone));
  const severity = take(fields, keys.level, parseSeverity);
  const logger = take(fields, named, nonEmptyText);
  const body = take(fields, keys.message, (value) => value) ?? null;
  const traceId = take(fields, TRACE_ID_KEYS, (value) => idOf(value, TRACE_ID));
  const spanId = take(fields, SPAN_ID_KEYS, (value) => idOf(value, SPAN_ID));
  return {
    format,
    body,
    attributes: withConventions(fields),
    timestamp,
    severity,
    logger,
    traceId,
    spanId,
  };
}

function nonEmptyText(value: Value): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function idOf(value: Value, form: RegExp): string | undefined {
  return typeof value === "string" && form.test(value) ? value.toLowerCase() : undefined;
}

/** Whether `name` is the logger's: with pino, bunyan and python-json-logger it is, elsewhere it is any field. */
function namesLogger(fields: ValueMap): boolean {
  return typeof fields.get("level") === "number" || fields.has("levelname");
}

/** Removes and returns the first of the fields that `read` accepts. */
function take<Result>(
  fields: ValueMap,
  keys: readonly string[],
  read: (value: Value) => Result | undefined,
): Result | undefined {
  for (const key of keys) {
    const found = findField(fields, key);
    const result = found === undefined ? undefined : read(found.value);
    if (result === undefined) continue;
    found!.remove();
    return result;
  }
  return undefined;
}

interface Field {
  readonly value: Value;
  remove(): void;
}

function findField(fields: ValueMap, path: string): Field | undefined {
  const value = fields.get(path);
  if (value !== undefined) return { value, remove: () => fields.delete(path) };
  for (let dot = path.indexOf("."); dot >= 0; dot = path.indexOf(".", dot + 1)) {
    const inner = fields.get(path.slice(0, dot));
    const found = inner instanceof Map ? findField(inner, path.slice(dot + 1)) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Loguru's `serialize` puts everything into `record`, and the line as text beside it. */
function unwrapLoguru(fields: ValueMap): void {
  const record = fields.get("record");
  if (!(record instanceof Map) || typeof fields.get("text") !== "string") return;
  const text = fields.get("text") as string;
  const field = (path: string): Value | undefined => findField(record, path)?.value;
  fields.clear();
  setDefined(fields, "timestamp", field("time.timestamp"));
  setDefined(fields, "level", field("level.name"));
  setDefined(fields, "logger", field("name"));
  setDefined(fields, "message", field("message"));
  setDefined(fields, "code.file.path", field("file.path"));
  setDefined(fields, "code.function.name", field("function"));
  setDefined(fields, "code.line.number", field("line"));
  setDefined(fields, "process.pid", field("process.id"));
  setDefined(fields, "thread.id", field("thread.id"));
  setDefined(fields, "thread.name", field("thread.name"));
  if (record.get("exception") instanceof Map) {
    setDefined(fields, "exception.type", field("exception.type"));
    setDefined(fields, "exception.message", field("exception.value"));
    fields.set("exception.stacktrace", text);
  }
  const extra = record.get("extra");
  if (!(extra instanceof Map)) return;
  for (const [key, value] of extra) if (!fields.has(key)) fields.set(key, value);
}

function setDefined(fields: ValueMap, key: string, value: Value | undefined): void {
  if (value !== undefined && value !== null) fields.set(key, value);
}

/** `server/main.go:42`, of zap and zerolog. */
const CALLER = /^(.{1,1000}):(\d{1,7})$/;

/** Fields that are texts with a stack trace, by library: winston, structlog, python-json-logger, logback. */
const STACK_KEYS = new Set(["stack", "exception", "exc_info", "stack_trace"]);

/** Fields that are objects with an exception: of pino and bunyan, and of others. */
const ERROR_KEYS = new Set(["err", "error", "exception"]);

/** Fields of a call site, and their names in the conventions. `filename` is structlog's, and has no path. */
const CALL_SITE_KEYS: readonly (readonly [string, string])[] = [
  ["pathname", "code.file.path"],
  ["filename", "code.file.path"],
  ["funcName", "code.function.name"],
  ["func_name", "code.function.name"],
  ["lineno", "code.line.number"],
];

/** Renames call sites and exceptions to the names of OpenTelemetry's conventions, which the gateway knows. */
function withConventions(fields: ValueMap): ValueMap {
  const renamed: ValueMap = new Map();
  for (const [key, value] of fields) {
    if (!setConvention(renamed, key, value, fields)) renamed.set(key, value);
  }
  return renamed;
}

/** Sets what a field stands for; false if it is a field like any other. */
function setConvention(to: ValueMap, key: string, value: Value, fields: ValueMap): boolean {
  if (typeof value === "string" && STACK_KEYS.has(key) && isStack(value)) {
    return setNew(to, fields, "exception.stacktrace", value);
  }
  if (value instanceof Map && ERROR_KEYS.has(key)) return setException(to, key, value, fields);
  if (key === "caller" && typeof value === "string") return setCaller(to, fields, value);
  if (key === "source" && value instanceof Map) return setSource(to, fields, value);
  if (key === "stacktrace" && typeof value === "string" && fields.has("caller")) {
    return setNew(to, fields, "code.stacktrace", value);
  }
  if (isOwnCallSite(fields)) {
    if (key === "module") return setNew(to, fields, "code.namespace", value);
    if (key === "function") return setNew(to, fields, "code.function.name", value);
    if (key === "line") return setNew(to, fields, "code.line.number", value);
  }
  const convention = fields.has("lineno")
    ? CALL_SITE_KEYS.find(([name]) => name === key)?.[1]
    : undefined;
  return convention !== undefined && setNew(to, fields, convention, value);
}

/** Sets an attribute that the line does not have itself; false if it has. */
function setNew(to: ValueMap, fields: ValueMap, name: string, value: Value): boolean {
  if (fields.has(name) || to.has(name)) return false;
  to.set(name, value);
  return true;
}

function isStack(text: string): boolean {
  return text.includes("\n");
}

/** The call site as Tailgate's own files have it, and those of its predecessor. */
function isOwnCallSite(fields: ValueMap): boolean {
  return (
    typeof fields.get("line") === "number" &&
    typeof fields.get("module") === "string" &&
    typeof fields.get("function") === "string"
  );
}

/** The members of an exception that the conventions have names for; bunyan's type is its name. */
const EXCEPTION_KEYS = new Set(["type", "name", "message", "stack"]);

/** `{ type or name, message, stack }`; whatever else it holds stays under the field's name. */
function setException(to: ValueMap, key: string, error: ValueMap, fields: ValueMap): boolean {
  const [message, stack] = [error.get("message"), error.get("stack")];
  if (typeof stack !== "string" || typeof message !== "string") return false;
  if (!setNew(to, fields, "exception.stacktrace", stack)) return false;
  const type = error.get("type") ?? error.get("name");
  if (typeof type === "string") setNew(to, fields, "exception.type", type);
  setNew(to, fields, "exception.message", message);
  const others = new Map([...error].filter(([name]) => !EXCEPTION_KEYS.has(name)));
  if (others.size > 0) to.set(key, others);
  return true;
}

function setCaller(to: ValueMap, fields: ValueMap, caller: string): boolean {
  const match = CALLER.exec(caller);
  if (match === null || !setNew(to, fields, "code.file.path", match[1]!)) return false;
  setNew(to, fields, "code.line.number", Number(match[2]));
  return true;
}

/** `{ function, file, line }`, of slog. */
function setSource(to: ValueMap, fields: ValueMap, source: ValueMap): boolean {
  const [file, line, name] = [source.get("file"), source.get("line"), source.get("function")];
  if (typeof file !== "string" || typeof line !== "number") return false;
  if (!setNew(to, fields, "code.file.path", file)) return false;
  if (typeof name === "string") setNew(to, fields, "code.function.name", name);
  setNew(to, fields, "code.line.number", line);
  return true;
}
