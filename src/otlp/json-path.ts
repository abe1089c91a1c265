import type { TailgateError } from "../wire/errors.ts";
import { undecodable, WrongValue } from "./findings.ts";

/** The place in a JSON document that is being read, such as `resourceLogs[0].scopeLogs[1].scope`. */
export class JsonPath {
  readonly #steps: (string | number)[] = [];

  /** Goes to a member, by its name, or to an element, by its index. */
  enter(step: string | number): void {
    this.#steps.push(step);
  }

  leave(): void {
    this.#steps.pop();
  }

  /** Goes to a place from the document's root. */
  goTo(...steps: readonly (string | number)[]): void {
    this.#steps.splice(0, Infinity, ...steps);
  }

  get depth(): number {
    return this.#steps.length;
  }

  /** Goes back to a place of that depth. */
  backTo(depth: number): void {
    this.#steps.length = depth;
  }

  /** The error for a value that is wrong there. */
  wrongValue(why: string): WrongValue {
    return new WrongValue(this.toString() || "its root", why);
  }

  /** The error for a request that is wrong there as a whole. */
  wrong(why: string): TailgateError {
    return undecodable(this.toString() || "its root", why);
  }

  toString(): string {
    return this.#steps
      .map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`))
      .join("")
      .slice(1);
  }
}
