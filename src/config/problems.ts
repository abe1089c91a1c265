import { TailgateError } from "../wire/errors.ts";
import { isSecretKey, mask } from "./secrets.ts";
import { closestMatch } from "leven";

/** Where a problem is: the keys from the top of the configuration. */
export type Path = readonly PropertyKey[];

const SHOWN_CHARACTERS_MAX = 60;

/** Gathers all that is wrong with a configuration, so that one run shows it. */
export class Problems {
  /** One line for each place: what else is wrong there follows from it. */
  readonly #lines = new Map<string, string>();
  readonly #errors: TailgateError[] = [];

  add(place: string, text: string): void {
    if (!this.#lines.has(place)) this.#lines.set(place, `${place}: ${text}`);
  }

  /** A problem with a code of its own, such as a plugin that is not there. Its message names the place. */
  addError(place: string, error: TailgateError): void {
    if (this.#lines.has(place)) return;
    this.#lines.set(place, error.message);
    this.#errors.push(error);
  }

  /**
   * @throws TailgateError CONFIG_INVALID with one line a problem; the error itself where one with a code of its own
   * is all there is.
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

/** `exporters.webhook/audit.urls[0]` */
export function formatPath(path: Path): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${keyText(String(key))}`))
    .join("")
    .replace(/^\./, "");
}

function keyText(key: string): string {
  return /^[\w/-]+$/.test(key) ? key : JSON.stringify(key);
}

/** `; found 70000`, without what must not be shown. */
export function found(path: Path, value: unknown): string {
  if (value === undefined) return "; it is missing";
  if (path.some((key) => isSecretKey(String(key)))) return "; the value is not shown";
  const text = jsonText(mask(value));
  const short =
    text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}...` : text;
  return `; found ${short}`;
}

function jsonText(value: unknown): string {
  // JSON has no NaN and Infinity, YAML does.
  return typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
}

/** `; did you mean "max_bytes"?`, or "" where nothing known is near. One slip for each four letters is near. */
export function suggestion(word: string, known: readonly string[]): string {
  const match = closestMatch(word, known, { maxDistance: 1 + Math.floor(word.length / 4) });
  return match === undefined ? "" : `; did you mean ${JSON.stringify(match)}?`;
}
