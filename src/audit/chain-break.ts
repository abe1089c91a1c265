/** Finds the most likely cause of a break in the hash chain. */

import { NO_HASH } from "../envelope/audit-line.ts";
import { anchorBefore, type Anchor } from "./anchors.ts";
import type { ChainBreak } from "./hash-chain.ts";
import {
  chainHash,
  counted,
  formatPosition,
  parseLink,
  trailLines,
  type ChainLink,
  type LinePosition,
  type TrailFinding,
  type TrailLine,
} from "./trail.ts";

/** What a second pass over the whole trail has found out about the broken line and the one before it. */
interface BreakEvidence {
  /** The line that follows the one before the break. */
  successor?: LinePosition;
  /** The line that the broken one follows. */
  predecessor?: LinePosition;
  /** Another line with the same bytes as the broken one. */
  twin?: LinePosition;
  /** The line after the break, and whether it follows the broken line's stored or recomputed hash. */
  next?: {
    readonly seq: number;
    readonly followsStored: boolean;
    readonly followsRecomputed: boolean;
  };
  /** The number of lines from the break up to the event of the next anchor. */
  linesToAnchor: number;
}

/** Explains why a line does not follow the previous one, as far as the rest of the trail allows. */
export function explainBreak(
  found: ChainBreak,
  anchors: readonly Anchor[],
  logDir: string,
): TrailFinding {
  const { unprovenFirst, line, previous } = found;
  const wrongStart =
    unprovenFirst &&
    (explainMisplaced(unprovenFirst, logDir) ?? explainWrongFirst(found, unprovenFirst, anchors));
  if (wrongStart !== undefined) return wrongStart;
  const anchor = anchors.find(({ checkpoint }) => checkpoint.seq > (previous?.seq ?? 0));
  const evidence = gatherEvidence(found, anchor, logDir);
  return { position: formatPosition(line), text: explain(found, evidence, anchor) };
}

/** Returns a finding if the trail's first line, which no checkpoint vouches for, belongs elsewhere. */
export function explainMisplaced(first: TrailLine, logDir: string): TrailFinding | undefined {
  const position = formatPosition(first);
  const { hash } = parseLink(first)!;
  let predecessor: LinePosition | undefined;
  for (const line of trailLines(logDir)) {
    const link = parseLink(line);
    if (link === undefined || isSamePosition(line, first)) continue;
    if (hasSameBytes(first, line)) {
      return { position, text: `this line was added: it is a copy of ${formatPosition(line)}.` };
    }
    if (chainHash(link.hash, first) === hash) predecessor = { file: line.file, line: line.line };
  }
  if (predecessor === undefined) return undefined;
  return {
    position,
    text: `lines were reordered: this one belongs after ${formatPosition(predecessor)}.`,
  };
}

/** If only the trail's first line precedes the break, that line may be the wrong one. */
function explainWrongFirst(
  { previous, line, link }: ChainBreak,
  first: TrailLine,
  anchors: readonly Anchor[],
): TrailFinding | undefined {
  if (link === undefined) return undefined;
  const position = formatPosition(first);
  if (chainHash(previous!.hash, line) === link.hash) {
    return {
      position,
      text: "this line was changed: its sequence is not lower than that of the next line.",
    };
  }
  const starts = [NO_HASH, ...anchors.map(({ checkpoint }) => checkpoint.head)];
  if (starts.some((start) => chainHash(chainHash(start, first), line) === link.hash)) {
    return { position, text: "this line was changed: its hash does not match its contents." };
  }
  const before = anchorBefore(anchors, link.seq)?.checkpoint.head ?? NO_HASH;
  const isStart = [NO_HASH, before].some((start) => chainHash(start, line) === link.hash);
  return isStart
    ? { position, text: "this line was added: the next one is the first." }
    : undefined;
}

function explain(found: ChainBreak, evidence: BreakEvidence, anchor: Anchor | undefined): string {
  const { link, previous, line } = found;
  const { successor, predecessor, twin } = evidence;
  if (
    link !== undefined &&
    previous !== undefined &&
    chainHash(previous.hash, line) === link.hash
  ) {
    return "its sequence is not higher than that of the previous line, but the hashes are consistent: someone has added or changed lines and recomputed all hashes.";
  }
  if (twin !== undefined) return `this line was added: it is a copy of ${formatPosition(twin)}.`;
  if (successor !== undefined) {
    const next = `the line that follows the previous one is ${formatPosition(successor)}`;
    return predecessor === undefined
      ? `lines were added here: ${next}.`
      : `lines were reordered: ${next}, and this one belongs after ${formatPosition(predecessor)}.`;
  }
  if (link === undefined) return "this line was changed: it is incomplete, or has no seq and hash.";
  if (evidence.next?.followsRecomputed) {
    return "this line was changed: its hash does not match its contents.";
  }
  if (previous !== undefined && chainHash(NO_HASH, line) === link.hash) {
    return "a new chain begins with this line: the journal was lost or replaced, or everything from here on is forged.";
  }
  if (link.seq === (previous?.seq ?? 0) + 1) return "this line was changed.";
  const missing = countMissing(found, evidence, anchor);
  if (missing === 0) return "this line was changed.";
  if (missing === undefined) {
    return evidence.next?.followsStored
      ? "this line was changed, or lines before it were removed."
      : "this line was changed or added, or lines before it were removed.";
  }
  return missing > 0
    ? `${counted(missing, "line")} before this one ${missing === 1 ? "was" : "were"} removed.`
    : `${counted(-missing, "line")} ${missing === -1 ? "was" : "were"} added here.`;
}

/** Returns the number of missing lines according to the next anchor; undefined if it does not tell. */
function countMissing(
  { countBefore }: ChainBreak,
  { linesToAnchor }: BreakEvidence,
  anchor: Anchor | undefined,
): number | undefined {
  if (anchor === undefined || countBefore === undefined) return undefined;
  return anchor.checkpoint.count - countBefore - linesToAnchor;
}

function gatherEvidence(
  found: ChainBreak,
  anchor: Anchor | undefined,
  logDir: string,
): BreakEvidence {
  const evidence: BreakEvidence = { linesToAnchor: 0 };
  let isAfterBreak = false;
  for (const line of trailLines(logDir)) {
    if (isSamePosition(line, found.line)) {
      isAfterBreak = true;
      continue;
    }
    const link = parseLink(line);
    if (isAfterBreak && isUpTo(link?.seq, anchor)) evidence.linesToAnchor++;
    if (link === undefined) continue;
    if (isAfterBreak) evidence.next ??= describeNext(found, line, link);
    compare(found, evidence, line, link.hash);
  }
  if (countsUpTo(found, evidence, anchor)) evidence.linesToAnchor++;
  return evidence;
}

function isUpTo(seq: number | undefined, anchor: Anchor | undefined): boolean {
  return anchor !== undefined && (seq === undefined || seq <= anchor.checkpoint.seq);
}

/** Whether the broken line is one of those up to the anchor. Its sequence may be what was changed. */
function countsUpTo(
  { link }: ChainBreak,
  { next }: BreakEvidence,
  anchor: Anchor | undefined,
): boolean {
  if (isUpTo(link?.seq, anchor) || link?.hash === anchor?.checkpoint.head) return true;
  return link !== undefined && next !== undefined && link.seq >= next.seq;
}

function describeNext(
  { link, previous, line: broken }: ChainBreak,
  line: TrailLine,
  next: ChainLink,
) {
  const follows = (hash: string): boolean => chainHash(hash, line) === next.hash;
  return {
    seq: next.seq,
    followsStored: link !== undefined && follows(link.hash),
    followsRecomputed:
      link !== undefined && previous !== undefined && follows(chainHash(previous.hash, broken)),
  };
}

function compare(found: ChainBreak, evidence: BreakEvidence, line: TrailLine, hash: string): void {
  const { link, previous } = found;
  const position = { file: line.file, line: line.line };
  if (previous !== undefined && chainHash(previous.hash, line) === hash) {
    evidence.successor ??= position;
  }
  if (link !== undefined && chainHash(hash, found.line) === link.hash) {
    evidence.predecessor ??= position;
  }
  if (hasSameBytes(found.line, line)) evidence.twin ??= position;
}

function isSamePosition(one: LinePosition, other: LinePosition): boolean {
  return one.file === other.file && one.line === other.line;
}

function hasSameBytes(one: TrailLine, other: TrailLine): boolean {
  return one.memory.compare(other.memory, other.start, other.end, one.start, one.end) === 0;
}
