import { randomBytes } from "node:crypto";

/** Of so many characters, which take half as many bytes at least however they are compressed. */
export function denseText(length: number): string {
  return randomBytes(Math.ceil(length / 2))
    .toString("hex")
    .slice(0, length);
}
