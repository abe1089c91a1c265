import crypto from "node:crypto";
import { HEADROOM_BYTES, type TrailLine } from "./trail.ts";

/** What ends each line of a chain. */
const SEAL = /,"seq":(\d{1,16}),"hash":"([0-9a-f]{64})"\}$/;
const SEAL_BYTES_MAX = 7 + 16 + 9 + 64 + 2;
const HASH_PART_BYTES = 9 + 64 + 2;

/** How a line is tied to the one before. */
export interface Seal {
  readonly seq: number;
  readonly hash: string;
}

/** Undefined where the line does not end as one of a chain does. */
export function sealOf({ memory, start, end, isWhole }: TrailLine): Seal | undefined {
  if (!isWhole) return undefined;
  const tail = memory.toString("latin1", Math.max(start, end - SEAL_BYTES_MAX), end);
  const match = SEAL.exec(tail);
  return match === null ? undefined : { seq: Number(match[1]), hash: match[2]! };
}

/** The hash that a sealed line has where it follows the one with the hash `before`. */
export function hashAfter(before: string, { memory, start, end }: TrailLine): string {
  const from = start - HEADROOM_BYTES;
  memory.write(before, from, "latin1");
  return crypto.hash("sha256", memory.subarray(from, end - HASH_PART_BYTES), "hex");
}

/** A copy that stays valid, such as the scan of the whole trail needs. */
export function keptLine(line: TrailLine): TrailLine {
  const { start, end } = line;
  const memory = Buffer.alloc(HEADROOM_BYTES + end - start);
  line.memory.copy(memory, HEADROOM_BYTES, start, end);
  return { ...line, memory, start: HEADROOM_BYTES, end: memory.length };
}

/** The members that a line of a chain has, in the compact JSON of a gateway; other programs put a space after a colon. */
const CHAIN_MEMBERS = [Buffer.from(',"seq":'), Buffer.from(',"hash":"')];

/** Whether a line without a seal was never part of a chain, as far as its bytes tell. A damaged seal leaves traces. */
export function isLegacyLine(line: TrailLine): boolean {
  const bytes = line.memory.subarray(line.start, line.end);
  return !CHAIN_MEMBERS.some((member) => bytes.includes(member)) || isUnsealedEvent(line);
}

/** Whether the line is an event as a gateway writes it whose journal is in memory, or as older versions did. */
export function isUnsealedEvent({ memory, start, end, isWhole }: TrailLine): boolean {
  if (!isWhole) return false;
  try {
    const event: unknown = JSON.parse(memory.toString("utf8", start, end));
    return typeof event === "object" && event !== null && !("seq" in event) && !("hash" in event);
  } catch {
    return false;
  }
}
