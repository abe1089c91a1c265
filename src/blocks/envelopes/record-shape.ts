/** The parts of a shape (columns/ops.ts) that envelopes depend on. */

import { RECORD, type Op, type OpKind } from "../columns/ops.ts";

/** An operation, and the index of its value among those of a record; -1 without one. */
export interface Part {
  readonly op: Op;
  readonly slot: number;
}

/** A body or an attribute: one operation, or a list or a map with all that is in it. */
export interface ShapedValue {
  readonly kind: OpKind;
  readonly parts: readonly Part[];
}

export interface RecordShape {
  /** Undefined without a body. */
  readonly body: ShapedValue | undefined;
  /** The attributes in their order, each once. */
  readonly keys: readonly string[];
  readonly values: readonly ShapedValue[];
  /** The other fields by their tags. */
  readonly fields: ReadonlyMap<number, Part>;
}

export function recordShape(ops: readonly Op[]): RecordShape {
  let body: ShapedValue | undefined;
  const keys: string[] = [];
  const values: ShapedValue[] = [];
  const fields = new Map<number, Part>();
  let slot = 0;
  for (let next = 0; next < ops.length;) {
    const parts: Part[] = [];
    for (let nesting = 0; parts.length === 0 || nesting > 0; next++) {
      const op = ops[next]!;
      parts.push({ op, slot: op.column < 0 ? -1 : slot++ });
      if (op.kind === "list" || op.kind === "map") nesting++;
      else if (op.kind === "close") nesting--;
    }
    const { op } = parts[0]!;
    if (op.tag === RECORD.body) body = { kind: op.kind, parts };
    else if (op.tag === RECORD.attributes) {
      keys.push(op.key!);
      values.push({ kind: op.kind, parts });
    } else fields.set(op.tag, parts[0]!);
  }
  return { body, keys, values, fields };
}
