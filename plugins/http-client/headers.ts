import { validateHeaderName, validateHeaderValue } from "node:http";
import type { Setting } from "./setting.ts";

/** Returns the option `headers` if each name and each value is valid. */
export function checkHeaderOption(
  headers: Readonly<Record<string, string>>,
): Setting<typeof headers> {
  const source = "option headers";
  for (const [index, [name, value]] of Object.entries(headers).entries()) {
    checkHeaderName(name, `${source}: header ${index + 1}`);
    checkHeaderValue(name, value, source);
  }
  return { value: headers, source };
}

/** The error does not show the name, which may be part of a value. */
export function checkHeaderName(name: string, position: string): void {
  check(() => validateHeaderName(name), `${position} does not start with a valid header name`);
}

export function checkHeaderValue(name: string, value: string, position: string): void {
  const text = `${position} (${name}) has a value with characters that are not allowed in headers`;
  check(() => validateHeaderValue(name, value), text);
}

function check(validate: () => void, text: string): void {
  try {
    validate();
  } catch {
    throw new Error(text);
  }
}

/** Header names are case-insensitive; the last one of a name wins. */
export function mergeHeaders(
  all: readonly Readonly<Record<string, string>>[],
): Record<string, string> {
  const merged = new Map<string, [string, string]>();
  for (const [name, value] of all.flatMap(Object.entries<string>)) {
    merged.set(name.toLowerCase(), [name, value]);
  }
  return Object.fromEntries(merged.values());
}

/** Returns whether a text can be a token in a header. */
export function isToken(text: string): boolean {
  return /^[!-~]+$/.test(text);
}
