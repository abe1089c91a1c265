import { LEVELS, rankOfName, type LevelRank } from "../../wire/envelope.ts";
import { ascii } from "../json-writer.ts";
import { rankOfText, type SeverityNumbering } from "../severity.ts";

/** The texts that most records without a number have, recognized without making strings of them. */
const COMMON = [...LEVELS, "WARN", "FATAL"].map((name) => ({
  bytes: ascii(name),
  rank: rankOfName(name)!,
}));

/** Makes lower-case letters upper-case; what it makes of other bytes is no letter. */
const UPPER_CASE = 0xdf;

/** Returns the level that a piece of bytes stands for, as {@link rankOfText} does. */
export function rankOfBytes(
  bytes: Uint8Array,
  start: number,
  end: number,
  numbering: SeverityNumbering | undefined,
): LevelRank | undefined {
  for (const common of COMMON) {
    if (isSameName(bytes, start, end, common.bytes)) return common.rank;
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
  return rankOfText(text, numbering);
}

function isSameName(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  if (end - start !== name.length) return false;
  for (let index = 0; index < name.length; index++) {
    if ((bytes[start + index]! & UPPER_CASE) !== name[index]) return false;
  }
  return true;
}
