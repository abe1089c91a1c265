import { NO_HASH } from "../envelope/audit-line.ts";
import { anchorBefore, describeAnchor, type Anchor } from "./anchors.ts";
import {
  chainHash,
  copyLine,
  counted,
  formatPosition,
  isLegacyLine,
  isUnlinkedEvent,
  parseLink,
  type ChainLink,
  type LinePosition,
  type TrailFinding,
  type TrailLine,
} from "./trail.ts";

/** A link of the chain, with its position in the trail. */
export interface LocatedLink extends ChainLink {
  readonly position: LinePosition;
}

/** What the trail's first line follows: nothing, an event that a checkpoint signs, or something unknown. */
export type ChainStart = "beginning" | "checkpoint" | "unknown";

/** Lines of another program, from before the chain began. */
export interface LegacyLines {
  readonly first: LinePosition;
  last: LinePosition;
  lines: number;
  /** The first such line of each day's file. */
  readonly days: Map<string, LinePosition>;
}

/** A line that does not follow the previous one. */
export interface ChainBreak {
  readonly line: TrailLine;
  /** Undefined if the line does not end with a link. */
  readonly link: ChainLink | undefined;
  readonly previous: LocatedLink | undefined;
  /** The trail's first line, if it is the only one before the break and no checkpoint vouches for it. */
  readonly unprovenFirst: TrailLine | undefined;
  /** The number of events before this line, if known. */
  readonly countBefore: number | undefined;
}

/** The newest line that matches a checkpoint. */
export interface ProvenLink extends LocatedLink {
  readonly anchor: Anchor;
  /** The number of lines up to and including this one. */
  readonly lines: number;
}

/**
 * Follows the hash chain from line to line and compares it with the anchors. It ends at the first failure: the lines
 * after that prove nothing.
 */
export class HashChain {
  readonly #anchors: readonly Anchor[];
  #nextAnchor = 0;
  legacy: LegacyLines | undefined;
  first: TrailLine | undefined;
  start: ChainStart | undefined;
  last: LocatedLink | undefined;
  /** The number of lines that were found to be correct. */
  lines = 0;
  /** The number of lines in the current file. */
  #linesOfFile = 0;
  #fileOfSeveralDays: string | undefined;
  /** The number of events before the trail's first line; undefined if unknown. */
  countBefore: number | undefined;
  /** The number of anchors that match their line. */
  comparedAnchors = 0;
  proven: ProvenLink | undefined;
  /** The days of the lines after the newest one that a checkpoint covers. */
  readonly #uncoveredDays = new Set<string>();
  break: ChainBreak | undefined;
  #finding: TrailFinding | undefined;
  /** Runs of adjacent lines without a link. */
  readonly #unlinked: { position: LinePosition; lines: number }[] = [];

  /** `anchors`: in sequence order. */
  constructor(anchors: readonly Anchor[]) {
    this.#anchors = anchors;
  }

  get firstSeq(): number | undefined {
    return this.first && parseLink(this.first)?.seq;
  }

  /** The number of days' files that contain lines after the newest checkpoint. */
  get uncoveredDays(): number {
    return this.#uncoveredDays.size;
  }

  /** The first line, unless it is the very first event: it may have replaced another one. */
  get unprovenFirst(): TrailLine | undefined {
    return this.start === "beginning" ? undefined : this.first;
  }

  /** Whether a failure has ended the verification before the end of the trail. */
  get isEnded(): boolean {
    return this.break !== undefined || this.#finding !== undefined;
  }

  /** Events without a link, and a mismatch with a checkpoint. */
  get findings(): TrailFinding[] {
    const unlinked = this.#unlinked.map(({ position, lines }) => ({
      position: formatPosition(position),
      text: `${counted(lines, "line")} from here on ${lines === 1 ? "has" : "have"} no seq and no hash: written by a gateway whose journal is in memory, or added by someone else. Nothing vouches for ${lines === 1 ? "it" : "them"}.`,
    }));
    return this.#finding === undefined ? unlinked : [...unlinked, this.#finding];
  }

  /** The checkpoints of events that are newer than the last line. */
  get ahead(): readonly Anchor[] {
    const last = this.last?.seq ?? 0;
    return this.#anchors.slice(this.#nextAnchor).filter(({ checkpoint }) => checkpoint.seq > last);
  }

  /** Verifies the next line. Returns false if the verification has ended. */
  verify(line: TrailLine): boolean {
    const link = parseLink(line);
    if (link === undefined && this.#addUnchained(line)) return true;
    if (link === undefined || !this.#follows(line, link)) {
      this.break = this.#breakAt(line, link);
      return false;
    }
    this.lines++;
    this.#linesOfFile = this.last?.position.file === line.file ? this.#linesOfFile + 1 : 1;
    this.#uncoveredDays.add(line.day);
    this.#finding = this.#compareAnchors(line, link);
    this.last = { ...link, position: { file: line.file, line: line.line } };
    return this.#finding === undefined;
  }

  /** Returns false for a line that should have a link. */
  #addUnchained(line: TrailLine): boolean {
    if (this.last === undefined && isLegacyLine(line)) this.#addLegacy(line);
    else if (isUnlinkedEvent(line)) this.#addUnlinked(line);
    else return false;
    return true;
  }

  #addLegacy({ file, line, day }: TrailLine): void {
    const position = { file, line };
    this.legacy ??= { first: position, last: position, lines: 0, days: new Map() };
    this.legacy.last = position;
    this.legacy.lines++;
    if (!this.legacy.days.has(day)) this.legacy.days.set(day, position);
  }

  #addUnlinked({ file, line }: TrailLine): void {
    const run = this.#unlinked.at(-1);
    const isSameRun = run?.position.file === file && run.position.line + run.lines === line;
    if (isSameRun) run.lines++;
    else this.#unlinked.push({ position: { file, line }, lines: 1 });
  }

  #follows(line: TrailLine, link: ChainLink): boolean {
    if (this.last === undefined) {
      this.#begin(line, link);
      return true;
    }
    return link.seq > this.last.seq && chainHash(this.last.hash, line) === link.hash;
  }

  /** Files of older days may have been deleted: then a checkpoint tells what came before the first line. */
  #begin(line: TrailLine, link: ChainLink): void {
    this.first = copyLine(line);
    const before = anchorBefore(this.#anchors, link.seq);
    if (chainHash(NO_HASH, line) === link.hash) {
      this.start = "beginning";
      this.countBefore = 0;
    } else if (before && chainHash(before.checkpoint.head, line) === link.hash) {
      this.start = "checkpoint";
      this.countBefore = before.checkpoint.count;
    } else {
      this.start = "unknown";
    }
  }

  #breakAt(line: TrailLine, link: ChainLink | undefined): ChainBreak {
    return {
      line: copyLine(line),
      link,
      previous: this.last,
      unprovenFirst: this.lines === 1 ? this.unprovenFirst : undefined,
      countBefore: this.countBefore === undefined ? undefined : this.countBefore + this.lines,
    };
  }

  #compareAnchors(line: TrailLine, link: ChainLink): TrailFinding | undefined {
    for (; this.#nextAnchor < this.#anchors.length; this.#nextAnchor++) {
      const anchor = this.#anchors[this.#nextAnchor]!;
      if (anchor.checkpoint.seq > link.seq) return undefined;
      const finding =
        anchor.checkpoint.seq < link.seq
          ? this.#missing(anchor, line)
          : this.#signed(anchor, line, link);
      if (finding !== undefined) return finding;
    }
    return undefined;
  }

  /** Before the first line, only events of deleted days may be missing. */
  #missing(anchor: Anchor, line: TrailLine): TrailFinding | undefined {
    const { day, seq } = anchor.checkpoint;
    if (this.lines > 1) {
      return this.#rehashed(
        line,
        `event ${seq}, which ${describeAnchor(anchor)} signs, is missing`,
      );
    }
    const replaced = this.legacy?.days.get(day);
    if (replaced !== undefined) {
      const text = `the lines of this file have no seq and no hash, and ${describeAnchor(anchor)} signs event ${seq} in it: someone replaced or changed them.`;
      return { position: formatPosition(replaced), text };
    }
    if (day < line.day) return undefined;
    return {
      position: formatPosition(line),
      text: `lines before this one were removed: ${describeAnchor(anchor)} signs event ${seq}, which should be in audit_${day}.jsonl.`,
    };
  }

  #signed(anchor: Anchor, line: TrailLine, { seq, hash }: ChainLink): TrailFinding | undefined {
    const { checkpoint } = anchor;
    if (checkpoint.head !== hash) {
      return this.#rehashed(
        line,
        `event ${seq} is not the one that ${describeAnchor(anchor)} has signed`,
      );
    }
    const before = checkpoint.count - this.lines;
    this.countBefore ??= before;
    const finding = this.#miscounted(anchor, line, before) ?? this.#misfiled(anchor, line);
    if (finding !== undefined) return finding;
    this.comparedAnchors++;
    this.#uncoveredDays.clear();
    const position = { file: line.file, line: line.line };
    this.proven = { seq, hash, position, anchor, lines: this.lines };
    return undefined;
  }

  #miscounted(anchor: Anchor, line: TrailLine, before: number): TrailFinding | undefined {
    const { checkpoint } = anchor;
    const first = formatPosition(this.first!);
    if (before === 0 && this.start === "unknown") {
      const text = `this line was changed: according to ${describeAnchor(anchor)} it is the very first event, but its hash is not that of a first event.`;
      return { position: first, text };
    }
    if (before !== this.countBefore) {
      const count = this.countBefore! + this.lines;
      return this.#rehashed(
        line,
        `${describeAnchor(anchor)} counts ${checkpoint.count} events up to here, but there are ${count}`,
      );
    }
    return undefined;
  }

  /**
   * A file contains exactly the events of the day in its name. Exception: if another program wrote to it first, it may be
   * named after a later day, because such programs use the local date.
   */
  #misfiled(anchor: Anchor, line: TrailLine): TrailFinding | undefined {
    const { day, lines, seq } = anchor.checkpoint;
    // The number of lines is unknown after damage to the journal; the day may then be an earlier one.
    if (lines === 0) return undefined;
    if (day < line.day && this.legacy?.last.file === line.file) {
      this.#fileOfSeveralDays = line.file;
      return undefined;
    }
    if (day !== line.day) {
      const text = `${describeAnchor(anchor)} signs this event as one of audit_${day}.jsonl: the file was renamed, or lines were moved to another file.`;
      return { position: formatPosition(line), text };
    }
    if (lines === this.#linesOfFile || this.#fileOfSeveralDays === line.file) return undefined;
    const difference = lines - this.#linesOfFile;
    const what =
      difference > 0
        ? `${counted(difference, "line")} before this one ${difference === 1 ? "was" : "were"} removed`
        : `there ${difference === -1 ? "is" : "are"} ${counted(-difference, "line")} too many at the beginning`;
    const text = `${what}: according to ${describeAnchor(anchor)} the file of that day has ${counted(lines, "line")} up to event ${seq}.`;
    const isFirstFile = line.file === this.first!.file;
    return { position: isFirstFile ? formatPosition(this.first!) : `${line.file}:1`, text };
  }

  #rehashed(line: TrailLine, why: string): TrailFinding {
    const from = this.proven;
    const since =
      from === undefined
        ? `from ${formatPosition(this.first!)} on`
        : `after ${formatPosition(from.position)}, which a checkpoint signs,`;
    const text = `${why}. The hashes are consistent, so someone has changed, removed or added lines ${since} and recomputed all hashes.`;
    return { position: formatPosition(line), text };
  }
}
