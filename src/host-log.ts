import { textOf } from "./errors.ts";
import type { HostLogger } from "./plugin.ts";
import { printable } from "./printable.ts";

/** Writes one of the gateway's own lines. */
export type WriteLine = (line: string) => void;

/** The gateway's own lines, in the console's form, under `tailgate.<name>`; not through OpenTelemetry. */
export function hostLogger(name: string, write: WriteLine): HostLogger {
  const line = (level: string, message: string): void => {
    const time = new Date().toISOString().slice(0, 19).replace("T", " ");
    write(`${time} - ${name} - ${level} - ${printable(message)}`);
  };
  return {
    info: (message) => line("INFO", message),
    warning: (message) => line("WARNING", message),
    error: (message, cause) =>
      line("ERROR", cause === undefined ? message : `${message} ${textOf(cause)}`),
  };
}

/** A stderr that is gone must not end the process. */
export function writeToStderr(line: string): void {
  try {
    process.stderr.write(`${line}\n`, () => {});
  } catch {
    // There is nobody left to tell.
  }
}
