import { NO_HASH } from "../envelope/audit-line.ts";
import type { Anchor } from "./anchor.ts";
import type { Break } from "./chain-check.ts";
import { anchorBefore } from "./chain-check.ts";
import { counted, placeText, type Finding } from "./finding.ts";
import { hashAfter, sealOf, type Seal } from "./seal.ts";
import type { Place, Trail, TrailLine } from "./trail.ts";

/** What a second reading of the whole trail has found about a line and the one before it. */
interface Evidence {
  /** The line that follows the one before the break. */
  successor?: Place;
  /** The line that the broken one follows. */
  predecessor?: Place;
  /** Another line with the very bytes of the broken one. */
  twin?: Place;
  /** The line behind the break, and whether it follows with the hash that the broken line has, or should have. */
  next?: { readonly seq: number; readonly followsStored: boolean; readonly followsTrue: boolean };
  /** How many lines there are from the break up to the next checkpoint's event. */
  linesToAnchor: number;
}

/** Says why a line does not follow the one before, as far as the rest of the trail tells. */
export function causeOf(found: Break, anchors: readonly Anchor[], newTrail: () => Trail): Finding {
  const { doubtful, line, previous } = found;
  const wrongStart =
    doubtful && (misplaced(doubtful, newTrail()) ?? wrongFirst(found, doubtful, anchors));
  if (wrongStart !== undefined) return wrongStart;
  const anchor = anchors.find(({ checkpoint }) => checkpoint.seq > (previous?.seq ?? 0));
  return { place: placeText(line), text: cause(found, search(found, anchor, newTrail()), anchor) };
}

/** Whether the trail's first line, which a checkpoint does not vouch for, belongs elsewhere. */
export function misplaced(first: TrailLine, trail: Trail): Finding | undefined {
  const place = placeText(first);
  const { hash } = sealOf(first)!;
  let predecessor: Place | undefined;
  for (const line of trail.lines()) {
    const seal = sealOf(line);
    if (seal === undefined || isSamePlace(line, first)) continue;
    if (hasSameBytes(first, line)) {
      return { place, text: `this line was added: it is a copy of ${placeText(line)}.` };
    }
    if (hashAfter(seal.hash, first) === hash) predecessor = { file: line.file, line: line.line };
  }
  if (predecessor === undefined) return undefined;
  return {
    place,
    text: `lines were reordered: this one belongs behind ${placeText(predecessor)}.`,
  };
}

/** Where only the trail's first line stands before the break, that line may be the wrong one. */
function wrongFirst(
  { previous, line, seal }: Break,
  first: TrailLine,
  anchors: readonly Anchor[],
): Finding | undefined {
  if (seal === undefined) return undefined;
  const place = placeText(first);
  if (hashAfter(previous!.hash, line) === seal.hash) {
    return { place, text: "this line was changed: its sequence is not before that of the next." };
  }
  const starts = [NO_HASH, ...anchors.map(({ checkpoint }) => checkpoint.head)];
  if (starts.some((start) => hashAfter(hashAfter(start, first), line) === seal.hash)) {
    return { place, text: "this line was changed: its hash is not that of its contents." };
  }
  const before = anchorBefore(anchors, seal.seq)?.checkpoint.head ?? NO_HASH;
  const isStart = [NO_HASH, before].some((start) => hashAfter(start, line) === seal.hash);
  return isStart ? { place, text: "this line was added: the next one is the first." } : undefined;
}

function cause(found: Break, evidence: Evidence, anchor: Anchor | undefined): string {
  const { seal, previous, line } = found;
  const { successor, predecessor, twin } = evidence;
  if (
    seal !== undefined &&
    previous !== undefined &&
    hashAfter(previous.hash, line) === seal.hash
  ) {
    return "its sequence is not behind that of the line before, and the hashes fit together: lines were added or changed, and somebody has made all hashes anew.";
  }
  if (twin !== undefined) return `this line was added: it is a copy of ${placeText(twin)}.`;
  if (successor !== undefined) {
    const next = `the line that follows the one before it stands at ${placeText(successor)}`;
    return predecessor === undefined
      ? `lines were added here: ${next}.`
      : `lines were reordered: ${next}, and this one belongs behind ${placeText(predecessor)}.`;
  }
  if (seal === undefined) return "this line was changed: it is not whole, or has no seq and hash.";
  if (evidence.next?.followsTrue)
    return "this line was changed: its hash is not that of its contents.";
  if (previous !== undefined && hashAfter(NO_HASH, line) === seal.hash) {
    return "a new chain begins with this line: the journal was lost or replaced, or all from here on is forged.";
  }
  if (seal.seq === (previous?.seq ?? 0) + 1) return "this line was changed.";
  const missing = missingLines(found, evidence, anchor);
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

/** By the next checkpoint; undefined where that does not tell. */
function missingLines(
  { countBefore }: Break,
  { linesToAnchor }: Evidence,
  anchor: Anchor | undefined,
): number | undefined {
  if (anchor === undefined || countBefore === undefined) return undefined;
  return anchor.checkpoint.count - countBefore - linesToAnchor;
}

function search(found: Break, anchor: Anchor | undefined, trail: Trail): Evidence {
  const evidence: Evidence = { linesToAnchor: 0 };
  let isBehind = false;
  for (const line of trail.lines()) {
    if (isSamePlace(line, found.line)) {
      isBehind = true;
      continue;
    }
    const seal = sealOf(line);
    if (isBehind && isUpTo(seal?.seq, anchor)) evidence.linesToAnchor++;
    if (seal === undefined) continue;
    if (isBehind) evidence.next ??= nextOf(found, line, seal);
    compare(found, evidence, line, seal.hash);
  }
  if (countsUpTo(found, evidence, anchor)) evidence.linesToAnchor++;
  return evidence;
}

function isUpTo(seq: number | undefined, anchor: Anchor | undefined): boolean {
  return anchor !== undefined && (seq === undefined || seq <= anchor.checkpoint.seq);
}

/** Whether the broken line is one of those up to the checkpoint; its sequence may be what was changed. */
function countsUpTo({ seal }: Break, { next }: Evidence, anchor: Anchor | undefined): boolean {
  if (isUpTo(seal?.seq, anchor) || seal?.hash === anchor?.checkpoint.head) return true;
  return seal !== undefined && next !== undefined && seal.seq >= next.seq;
}

function nextOf({ seal, previous, line: broken }: Break, line: TrailLine, next: Seal) {
  const follows = (hash: string): boolean => hashAfter(hash, line) === next.hash;
  return {
    seq: next.seq,
    followsStored: seal !== undefined && follows(seal.hash),
    followsTrue:
      seal !== undefined && previous !== undefined && follows(hashAfter(previous.hash, broken)),
  };
}

function compare(found: Break, evidence: Evidence, line: TrailLine, hash: string): void {
  const { seal, previous } = found;
  const place = { file: line.file, line: line.line };
  if (previous !== undefined && hashAfter(previous.hash, line) === hash) {
    evidence.successor ??= place;
  }
  if (seal !== undefined && hashAfter(hash, found.line) === seal.hash) {
    evidence.predecessor ??= place;
  }
  if (hasSameBytes(found.line, line)) evidence.twin ??= place;
}

function isSamePlace(one: Place, other: Place): boolean {
  return one.file === other.file && one.line === other.line;
}

function hasSameBytes(one: TrailLine, other: TrailLine): boolean {
  return one.memory.compare(other.memory, other.start, other.end, one.start, one.end) === 0;
}
