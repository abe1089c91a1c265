/** Exceptions as attributes, as in the semantic conventions ("Exceptions in logs"), with their causes. */

import { textOf } from "../wire/errors.ts";
import type { Value } from "../plugin/index.ts";
import type { NamedValues } from "./attributes.ts";
import { readCauses, plainValue, readable } from "./plain-value.ts";

/** The maximum number of characters that causes add to a stack trace. */
const CAUSES_CHARS_MAX = 64 << 10;

type Causes = readonly (readonly [string, Value])[];

/** Returns the attributes of an Error that a caller passed as the attribute `exception`. */
export function errorColumns(error: Error): NamedValues {
  const causes = readCauses(error);
  return toColumns(causes, [
    ["exception.type", textOf(readable(error, "code") || readable(error, "name"))],
    ["exception.message", plainValue(readable(error, "message"))],
    ["exception.stacktrace", withCauses(plainValue(readable(error, "stack")), causes)],
  ]);
}

/** Returns the attributes of a record's `exception`: those that the SDK sets, and the causes, which it leaves out. */
export function exceptionColumns(exception: unknown): NamedValues {
  const isObject = typeof exception === "object" && exception !== null;
  const causes = isObject ? readCauses(exception) : [];
  const read = (key: string): string =>
    isObject ? readScalar(readable(exception, key)) : key === "message" ? textOf(exception) : "";
  const fields = [
    ["exception.type", read("code") || read("name")],
    ["exception.message", read("message")],
    ["exception.stacktrace", withCauses(read("stack"), causes)],
  ] as const;
  return toColumns(
    causes,
    fields.filter(([, value]) => value !== ""),
  );
}

function readScalar(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** Causes have the same form as within an Error that is an attribute. */
function toColumns(causes: Causes, fields: readonly (readonly [string, unknown])[]): NamedValues {
  const all = [...fields, ...causes.map(([name, value]) => [`exception.${name}`, value] as const)];
  return { keys: all.map(([key]) => key), values: all.map(([, value]) => value) };
}

/** Appends the stack traces of the causes: most tools show nothing else of an exception. */
function withCauses<Stack>(stack: Stack, causes: Causes): Stack | string {
  if (typeof stack !== "string" || causes.length === 0) return stack;
  const text = formatCauses(causes);
  if (text.length <= CAUSES_CHARS_MAX) return stack + text;
  return `${stack}${text.slice(0, CAUSES_CHARS_MAX)}\n[more causes]`;
}

/** Formats each cause on lines of its own, as Java does. */
function formatCauses(causes: Causes): string {
  return causes.map(([name, value]) => formatCause(name, value)).join("");
}

function formatCause(name: string, value: Value): string {
  if (name !== "errors" || !Array.isArray(value)) {
    return `\n${LABELS[name] ?? ""}${formatException(value)}`;
  }
  const texts = value.map(
    (one, index) => `\nError ${index + 1} of ${value.length}: ${formatException(one)}`,
  );
  return texts.join("").replaceAll("\n", "\n    ");
}

const LABELS: Readonly<Record<string, string>> = {
  cause: "Caused by: ",
  error: "Thrown: ",
  suppressed: "Suppressed: ",
};

function formatException(value: Value): string {
  if (typeof value === "string") return value;
  if (!(value instanceof Map)) return formatJson(value);
  const [stack, name, message] = ["stack", "name", "message"].map((key) => value.get(key));
  const isException = typeof stack === "string" || typeof message === "string";
  if (!isException) return formatJson(value);
  const own =
    typeof stack === "string" && stack !== "" ? stack : `${textOf(name)}: ${textOf(message)}`;
  const causes = ["errors", "error", "suppressed", "cause"]
    .filter((key) => value.get(key) !== undefined && value.get(key) !== null)
    .map((key) => [key, value.get(key)!] as const);
  return own + formatCauses(causes);
}

function formatJson(value: Value): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (inner instanceof Map) return Object.fromEntries(inner) as unknown;
    return typeof inner === "bigint" ? String(inner) : inner;
  });
}
