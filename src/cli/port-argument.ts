import { InvalidArgumentError } from "commander";

const PORT_MAX = 65_535;

/** Reads a port of the command line. */
export function portArgument(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > PORT_MAX) {
    throw new InvalidArgumentError(`Expected an integer from 0 to ${PORT_MAX}.`);
  }
  return port;
}
