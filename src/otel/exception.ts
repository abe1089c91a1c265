/** An exception as the semantic conventions have it ("Exceptions in logs"), with what is behind it. */

import { textOf } from "../wire/errors.ts";
import type { Value } from "../plugin/index.ts";
import type { Columns } from "./attributes.ts";
import { causesOf, plainValue, readable } from "./plain-value.ts";

/** What the causes may add to a stack trace, in characters. */
const CAUSES_CHARS_MAX = 64 << 10;

const CUT_TEXT = "\n[more causes]";

const INDENT = "    ";

type Causes = readonly (readonly [string, Value])[];

/** The fields of an Error that a caller has given as `exception`. */
export function errorColumns(error: Error): Columns {
  const causes = causesOf(error);
  return columnsOf(causes, [
    ["exception.type", textOf(readable(error, "code") || readable(error, "name"))],
    ["exception.message", plainValue(readable(error, "message"))],
    ["exception.stacktrace", withCauses(plainValue(readable(error, "stack")), causes)],
  ]);
}

/** The fields of what a record has as its `exception`: what the SDK makes of it, and the causes, which the SDK leaves out. */
export function exceptionColumns(exception: unknown): Columns {
  const isObject = typeof exception === "object" && exception !== null;
  const causes = isObject ? causesOf(exception) : [];
  const read = (key: string): string =>
    isObject ? scalarText(readable(exception, key)) : key === "message" ? textOf(exception) : "";
  const fields = [
    ["exception.type", read("code") || read("name")],
    ["exception.message", read("message")],
    ["exception.stacktrace", withCauses(read("stack"), causes)],
  ] as const;
  return columnsOf(
    causes,
    fields.filter(([, value]) => value !== ""),
  );
}

function scalarText(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** The causes are in the form that they have within an Error which is an attribute. */
function columnsOf(causes: Causes, fields: readonly (readonly [string, unknown])[]): Columns {
  const all = [...fields, ...causes.map(([name, value]) => [`exception.${name}`, value] as const)];
  return { keys: all.map(([key]) => key), values: all.map(([, value]) => value) };
}

/** The stack trace with those of the causes: most of what shows exceptions shows nothing else of them. */
function withCauses<Stack>(stack: Stack, causes: Causes): Stack | string {
  if (typeof stack !== "string" || causes.length === 0) return stack;
  const text = causesText(causes);
  return (
    stack + (text.length > CAUSES_CHARS_MAX ? text.slice(0, CAUSES_CHARS_MAX) + CUT_TEXT : text)
  );
}

/** Each on lines of its own, as Java has them. */
function causesText(causes: Causes): string {
  return causes.map(([name, value]) => causeText(name, value)).join("");
}

function causeText(name: string, value: Value): string {
  if (name !== "errors" || !Array.isArray(value)) {
    return `\n${LABELS[name] ?? ""}${exceptionText(value)}`;
  }
  const texts = value.map(
    (one, index) => `\nError ${index + 1} of ${value.length}: ${exceptionText(one)}`,
  );
  return texts.join("").replaceAll("\n", `\n${INDENT}`);
}

const LABELS: Readonly<Record<string, string>> = {
  cause: "Caused by: ",
  error: "Thrown: ",
  suppressed: "Suppressed: ",
};

/** Of a snapshot. */
function exceptionText(value: Value): string {
  if (typeof value === "string") return value;
  if (!(value instanceof Map)) return jsonText(value);
  const [stack, name, message] = ["stack", "name", "message"].map((key) => value.get(key));
  const isException = typeof stack === "string" || typeof message === "string";
  if (!isException) return jsonText(value);
  const own =
    typeof stack === "string" && stack !== "" ? stack : `${textOf(name)}: ${textOf(message)}`;
  const causes = ["errors", "error", "suppressed", "cause"]
    .filter((key) => value.get(key) !== undefined && value.get(key) !== null)
    .map((key) => [key, value.get(key)!] as const);
  return own + causesText(causes);
}

function jsonText(value: Value): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (inner instanceof Map) return Object.fromEntries(inner) as unknown;
    return typeof inner === "bigint" ? String(inner) : inner;
  });
}
