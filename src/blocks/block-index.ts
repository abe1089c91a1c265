import type { BlockDirectory, BlockView } from "./block-view.ts";

/** What searches need to know about a block: its directory, and the parts of its filter. */
export interface BlockIndex {
  readonly directory: BlockDirectory;
  readonly filter: readonly Uint8Array[];
}

/** Makes the index of a block that was just encoded; `counts` has what is known of it. */
export function indexOfBlock(_block: BlockView, counts: BlockDirectory): BlockIndex {
  return { directory: counts, filter: [] };
}
