import type { ChainState } from "../journal/journal.ts";

/** The state of the hash chain after an event. */
export interface ChainSnapshot extends ChainState {
  /** The UTC day of the file that holds the event: `20261124`. */
  readonly day: string;
  /** The number of events in that file, up to and including this one; 0 if unknown. */
  readonly lines: number;
}

/** The contents of a checkpoint, which are signed. */
export interface UnsignedCheckpoint extends ChainSnapshot {
  /** When it was signed, ISO 8601 in UTC. */
  readonly time: string;
  /** The journal's epoch at that time. */
  readonly epoch: string;
  /** The id of the public key that verifies it. */
  readonly key: string;
}

/** A signed statement of the state of the hash chain. */
export interface Checkpoint extends UnsignedCheckpoint {
  /** Ed25519 signature of {@link signedText}, in base64. */
  readonly signature: string;
}

const SIGNATURE_BYTES = 64;

/** The members that are strings. None of them contains characters that JSON escapes. */
const STRINGS = {
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  epoch: /^[0-9A-Za-z-]{1,64}$/,
  day: /^\d{8}$/,
  head: /^[0-9a-f]{64}$/,
  key: /^[0-9a-f]{16}$/,
  signature: /^[0-9A-Za-z+/]{86}==$/,
} as const;

const NUMBERS = ["lines", "count", "seq"] as const;

/** Returns the bytes that are signed: the checkpoint's line up to `,"signature":`. */
export function signedText(checkpoint: UnsignedCheckpoint): string {
  const { time, epoch, day, lines, count, seq, head, key } = checkpoint;
  return `{"v":1,"time":"${time}","epoch":"${epoch}","day":"${day}","lines":${lines},"count":${count},"seq":${seq},"head":"${head}","key":"${key}"`;
}

/** Returns the line in `checkpoints.jsonl`, without its line feed. */
export function checkpointLine(checkpoint: Checkpoint): string {
  return `${signedText(checkpoint)},"signature":"${checkpoint.signature}"}`;
}

/** Parses a line of `checkpoints.jsonl`. Returns undefined if any byte differs from what the gateway writes. */
export function parseCheckpointLine(line: string): Checkpoint | undefined {
  const checkpoint = toCheckpoint(parseJson(line));
  return checkpoint !== undefined && checkpointLine(checkpoint) === line ? checkpoint : undefined;
}

/**
 * Returns the checkpoints in a line of another store: a line of `checkpoints.jsonl`, an envelope, a line of an audit
 * file, an OTLP export in JSON, or any other JSON that contains the members of a checkpoint.
 */
export function findCheckpoints(line: string): Checkpoint[] {
  return [...checkpointsWithin(parseJson(line))];
}

/** An OTLP export has about twenty levels; a forged line can have any number. */
const DEPTH_MAX = 100;

function* checkpointsWithin(value: unknown, depth = 0): Generator<Checkpoint> {
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) return;
  const checkpoint = toCheckpoint(value) ?? toCheckpoint(keyValuesToObject(value));
  if (checkpoint !== undefined) yield checkpoint;
  else for (const inner of Object.values(value)) yield* checkpointsWithin(inner, depth + 1);
}

/** Converts a list of OTLP's KeyValue to an object. */
function keyValuesToObject(value: object): object | undefined {
  if (!Array.isArray(value)) return undefined;
  return Object.fromEntries(
    value.flatMap((member: unknown) => {
      const { key, value: any } = (member ?? {}) as { key?: unknown; value?: object };
      return typeof key === "string" && any ? [[key, Object.values(any)[0]] as const] : [];
    }),
  );
}

/** Returns the checkpoint whose members the object has, in any order and possibly among others. */
function toCheckpoint(value: unknown): Checkpoint | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  if (Number(fields["v"]) !== 1) return undefined;
  const found: Record<string, string | number> = {};
  for (const [name, pattern] of Object.entries(STRINGS)) {
    const text = fields[name];
    if (typeof text !== "string" || !pattern.test(text)) return undefined;
    found[name] = text;
  }
  for (const name of NUMBERS) {
    const number = Number(fields[name] ?? Number.NaN);
    if (!Number.isSafeInteger(number) || number < 0) return undefined;
    found[name] = number;
  }
  const checkpoint = found as unknown as Checkpoint;
  return isCanonical(checkpoint.signature) ? checkpoint : undefined;
}

/** The last digit of base64 has unused bits, and one signature must not have two spellings. */
function isCanonical(signature: string): boolean {
  const bytes = Buffer.from(signature, "base64");
  return bytes.length === SIGNATURE_BYTES && bytes.toString("base64") === signature;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
