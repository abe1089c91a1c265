import { closestMatch } from "leven";
import { TailgateError } from "../wire/errors.ts";
import { isSecretKey, mask } from "./secrets.ts";

/** The keys that lead from the top of the configuration to a value. */
export type ConfigPath = readonly PropertyKey[];

const VALUE_CHARS_MAX = 60;

/** Collects everything that is wrong with a configuration, so that one run shows all of it. */
export class Problems {
  /** The first problem of each place, one line each; further ones there are usually its consequences. */
  readonly #lines = new Map<string, string>();
  readonly #errors: TailgateError[] = [];

  add(place: string, text: string): void {
    if (!this.#lines.has(place)) this.#lines.set(place, `${place}: ${text}`);
  }

  /** Adds a problem with an error code of its own, such as a missing plugin. Its message names the place. */
  addError(place: string, error: TailgateError): void {
    if (this.#lines.has(place)) return;
    this.#lines.set(place, error.message);
    this.#errors.push(error);
  }

  /**
   * @throws TailgateError CONFIG_INVALID with one line per problem; the error that was added if it is the only problem.
   */
  throwIfAny(source: string): void {
    const count = this.#lines.size;
    if (count === 0) return;
    if (count === 1 && this.#errors.length === 1) throw this.#errors[0]!;
    const lines = [...this.#lines.values()].map((line) => `  ${line}\n`);
    throw new TailgateError(
      "CONFIG_INVALID",
      `${source} has ${count === 1 ? "a problem" : `${count} problems`}:\n${lines.join("")}`,
    );
  }
}

/** Formats a path as `exporters.webhook/audit.urls[0]`. */
export function formatPath(path: ConfigPath): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${formatKey(String(key))}`))
    .join("")
    .replace(/^\./, "");
}

function formatKey(key: string): string {
  return /^[\w/-]+$/.test(key) ? key : JSON.stringify(key);
}

/** Returns the end of a problem's text that shows the value, such as `; found 70000`. Secrets are not shown. */
export function describeFound(path: ConfigPath, value: unknown): string {
  if (value === undefined) return "; it is missing";
  if (path.some((key) => isSecretKey(String(key)))) return "; the value is not shown";
  const text = formatValue(mask(value));
  const short = text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX)}...` : text;
  return `; found ${short}`;
}

function formatValue(value: unknown): string {
  // YAML has NaN and Infinity, JSON does not.
  return typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
}

/** Returns `; did you mean "max_bytes"?`, or "" if no known word is close: one typo for every four letters. */
export function suggest(word: string, known: readonly string[]): string {
  const match = closestMatch(word, known, { maxDistance: 1 + Math.floor(word.length / 4) });
  return match === undefined ? "" : `; did you mean ${JSON.stringify(match)}?`;
}
