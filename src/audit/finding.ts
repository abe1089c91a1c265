import type { Place } from "./trail.ts";

/** Something that does not hold. */
export interface Finding {
  /** File and line, as far as there is one. */
  readonly place: string;
  readonly text: string;
}

export function placeText({ file, line }: Place): string {
  return `${file}:${line}`;
}

/** "1 line", "2 lines". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
