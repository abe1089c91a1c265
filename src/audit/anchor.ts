import type { Checkpoint } from "./checkpoint.ts";

/** A checkpoint whose signature holds, and where it was found. */
export interface Anchor {
  readonly checkpoint: Checkpoint;
  /** File and line: `checkpoints.jsonl:3`. */
  readonly source: string;
}

/** For messages. */
export function anchorText({ checkpoint, source }: Anchor): string {
  return `the checkpoint of ${checkpoint.time} (${source})`;
}
