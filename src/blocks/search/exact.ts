/** Evaluates filters on envelopes. */

import type { RecordBatch } from "../../batch/record-batch.ts";
import { compileNode } from "../../filter/compile.ts";
import type { FilterNode } from "../../wire/query/ast.ts";

export type ExactFilter = (batch: RecordBatch, index: number) => boolean;

export function exactFilter(node: FilterNode): ExactFilter {
  const { matches } = compileNode(node);
  return matches;
}
