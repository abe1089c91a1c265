import { LEVELS, rankOfName, type LevelRank } from "../envelope.ts";
import { ascii } from "./json-writer.ts";
import { rankOf, rankOfNumber } from "./severity.ts";

/** The texts that nearly all records have, told apart without making strings of them. */
const COMMON = [...LEVELS, "WARN", "FATAL"].map((name) => ({
  bytes: ascii(name),
  rank: rankOfName(name)!,
}));

/** Makes lower-case letters upper-case; what it makes of other bytes is no letter. */
const UPPER_CASE = 0xdf;

/** The level of a record whose severity text is that piece of bytes, as {@link rankOf} has it. */
export function rankOfBytes(
  severityNumber: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): LevelRank {
  if (start === end) return rankOfNumber(severityNumber);
  for (const common of COMMON) {
    if (isSameName(bytes, start, end, common.bytes)) return common.rank;
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
  return rankOf(severityNumber, text);
}

function isSameName(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  if (end - start !== name.length) return false;
  for (let index = 0; index < name.length; index++) {
    if ((bytes[start + index]! & UPPER_CASE) !== name[index]) return false;
  }
  return true;
}
