import { checkpointOf, type Checkpoint } from "./checkpoint.ts";

/**
 * The checkpoint in a line of another store: a line of `checkpoints.jsonl`, an envelope, a line of an audit file, an
 * OTLP export in JSON, or whatever has the members somewhere inside.
 */
export function checkpointsIn(line: string): Checkpoint[] {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return [];
  }
  return [...found(value)];
}

/** An OTLP export has about twenty levels. A forged line can have as many as it likes. */
const LEVELS_MAX = 100;

function* found(value: unknown, level = 0): Generator<Checkpoint> {
  if (typeof value !== "object" || value === null || level > LEVELS_MAX) return;
  const checkpoint = checkpointOf(value) ?? checkpointOf(plainMembers(value));
  if (checkpoint !== undefined) yield checkpoint;
  else for (const inner of Object.values(value)) yield* found(inner, level + 1);
}

/** A list of OTLP's KeyValue as the object that it means. */
function plainMembers(value: object): object | undefined {
  if (!Array.isArray(value)) return undefined;
  return Object.fromEntries(
    value.flatMap((member: unknown) => {
      const { key, value: any } = (member ?? {}) as { key?: unknown; value?: object };
      return typeof key === "string" && any ? [[key, Object.values(any)[0]] as const] : [];
    }),
  );
}
