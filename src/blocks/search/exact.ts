/** Evaluates filters on envelopes. */

import type { RecordBatch } from "../../batch/record-batch.ts";
import { compileNode } from "../../filter/compile.ts";
import type { FilterNode } from "../../wire/query/ast.ts";

export interface ExactFilter {
  readonly isMatch: (batch: RecordBatch, index: number) => boolean;
  /** The envelopes of all matches contain one of these texts; undefined if that is not known. */
  readonly required: readonly string[] | undefined;
}

export function exactFilter(node: FilterNode): ExactFilter {
  const { matches, required } = compileNode(node);
  if (required === undefined) return { isMatch: matches, required };
  const isMatch: ExactFilter["isMatch"] = (batch, index) =>
    batch.mayHaveText(index, required) && matches(batch, index);
  return { isMatch, required };
}
