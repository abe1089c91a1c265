import type { ChainState } from "../journal/journal.ts";

/** Where the chain of evidence stands, as a checkpoint says it. */
export interface Standing extends ChainState {
  /** The UTC day of the file that the last event is in: `20261124`. */
  readonly day: string;
  /** How many events that file has up to and with this one; 0 where it is unknown. */
  readonly lines: number;
}

/** What is signed. */
export interface Claim extends Standing {
  /** When it was signed, ISO 8601 in UTC. */
  readonly time: string;
  /** The journal's epoch then. */
  readonly epoch: string;
  /** The id of the public key that checks it. */
  readonly key: string;
}

/** A signed statement of how the chain of evidence stood. */
export interface Checkpoint extends Claim {
  /** Ed25519 over {@link signedText}, in base64. */
  readonly signature: string;
}

const SIGNATURE_BYTES = 64;

/** The members that are texts; none of them has characters that JSON escapes. */
const TEXTS = {
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  epoch: /^[0-9A-Za-z-]{1,64}$/,
  day: /^\d{8}$/,
  head: /^[0-9a-f]{64}$/,
  key: /^[0-9a-f]{16}$/,
  signature: /^[0-9A-Za-z+/]{86}==$/,
} as const;

const NUMBERS = ["lines", "count", "seq"] as const;

/** The bytes that are signed: the checkpoint's line up to `,"signature":`. */
export function signedText(claim: Claim): string {
  const { time, epoch, day, lines, count, seq, head, key } = claim;
  return `{"v":1,"time":"${time}","epoch":"${epoch}","day":"${day}","lines":${lines},"count":${count},"seq":${seq},"head":"${head}","key":"${key}"`;
}

/** The line in `checkpoints.jsonl`, without its line feed. */
export function checkpointLine(checkpoint: Checkpoint): string {
  return `${signedText(checkpoint)},"signature":"${checkpoint.signature}"}`;
}

/** The checkpoint that a line is; undefined where a byte of it is not as it was written. */
export function parseCheckpointLine(line: string): Checkpoint | undefined {
  const checkpoint = checkpointOf(parsed(line));
  return checkpoint !== undefined && checkpointLine(checkpoint) === line ? checkpoint : undefined;
}

/** The checkpoint whose members an object has, in any order and among others. */
export function checkpointOf(value: unknown): Checkpoint | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  if (Number(fields["v"]) !== 1) return undefined;
  const found: Record<string, string | number> = {};
  for (const [name, pattern] of Object.entries(TEXTS)) {
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

/** The last digit of base64 has bits that say nothing: two spellings must not be the same signature. */
function isCanonical(signature: string): boolean {
  const bytes = Buffer.from(signature, "base64");
  return bytes.length === SIGNATURE_BYTES && bytes.toString("base64") === signature;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
