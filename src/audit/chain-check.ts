import { NO_HASH } from "../envelope/audit-line.ts";
import { anchorText, type Anchor } from "./anchor.ts";
import { counted, placeText, type Finding } from "./finding.ts";
import { hashAfter, isLegacyLine, isUnsealedEvent, keptLine, sealOf, type Seal } from "./seal.ts";
import type { Place, TrailLine } from "./trail.ts";

/** A line that has its place in the chain. */
export interface Link extends Seal {
  readonly place: Place;
}

/** How the trail's first line is tied to what was before; `unknown`: nothing here says what that was. */
export type Start = "beginning" | "checkpoint" | "unknown";

/** Lines that stood in the files before the chain began: another program wrote them. */
export interface Legacy {
  readonly first: Place;
  last: Place;
  lines: number;
  /** The first such line of each day's file. */
  readonly days: Map<string, Place>;
}

/** A line that does not follow the one before. */
export interface Break {
  readonly line: TrailLine;
  /** Undefined where it does not end as a line of a chain does. */
  readonly seal: Seal | undefined;
  readonly previous: Link | undefined;
  /** The trail's first line, where only that stands before, and another one may belong there. */
  readonly doubtful: TrailLine | undefined;
  /** How many events there have been before this line, where that is known. */
  readonly countBefore: number | undefined;
}

/**
 * Follows the chain from line to line, and compares it with the checkpoints. The first thing that does not hold ends
 * it: what comes behind says nothing any more.
 */
export class ChainCheck {
  readonly #anchors: readonly Anchor[];
  #nextAnchor = 0;
  #legacy: Legacy | undefined;
  #first: TrailLine | undefined;
  #start: Start | undefined;
  #previous: Link | undefined;
  #lines = 0;
  /** Those of the file of the newest one. */
  #linesOfFile = 0;
  #fileOfSeveralDays: string | undefined;
  /** How many events there have been before the trail's first line. */
  #countBefore: number | undefined;
  #held = 0;
  #proven: (Link & { readonly anchor: Anchor; readonly lines: number }) | undefined;
  /** The days of the lines after the newest one that a checkpoint covers. */
  readonly #uncoveredDays = new Set<string>();
  #break: Break | undefined;
  #finding: Finding | undefined;
  readonly #unsealed: { place: Place; lines: number }[] = [];

  /** `anchors`: in the order of their sequences. */
  constructor(anchors: readonly Anchor[]) {
    this.#anchors = anchors;
  }

  get start(): Start | undefined {
    return this.#start;
  }

  get first(): Place | undefined {
    return this.#first;
  }

  get firstSeq(): number | undefined {
    return this.#first && sealOf(this.#first)?.seq;
  }

  get last(): Link | undefined {
    return this.#previous;
  }

  get legacy(): Legacy | undefined {
    return this.#legacy;
  }

  /** The number of days' files that have lines which no checkpoint covers. */
  get uncoveredDays(): number {
    return this.#uncoveredDays.size;
  }

  /** Events that came before the first line; undefined if unknown. */
  get countBefore(): number | undefined {
    return this.#countBefore;
  }

  /** Lines of the chain that were found right. */
  get lines(): number {
    return this.#lines;
  }

  /** Checkpoints that were compared with their line. */
  get held(): number {
    return this.#held;
  }

  /** The newest line that a checkpoint vouches for. */
  get proven(): (Link & { readonly anchor: Anchor; readonly lines: number }) | undefined {
    return this.#proven;
  }

  /** The first line, where it is not the beginning of all: another one may belong there. */
  get doubtful(): TrailLine | undefined {
    return this.#start === "beginning" ? undefined : this.#first;
  }

  get break(): Break | undefined {
    return this.#break;
  }

  /** Whether something that does not hold has ended the check before the trail's end. */
  get isEnded(): boolean {
    return this.#break !== undefined || this.#finding !== undefined;
  }

  /** Events without a seal, and what does not agree with a checkpoint. */
  get findings(): Finding[] {
    const unsealed = this.#unsealed.map(({ place, lines }) => ({
      place: placeText(place),
      text: `${counted(lines, "line")} from here on ${lines === 1 ? "has" : "have"} no seq and no hash: a gateway whose journal is in memory wrote ${lines === 1 ? "it" : "them"}, or somebody has added ${lines === 1 ? "it" : "them"}. Nothing vouches for ${lines === 1 ? "it" : "them"}.`,
    }));
    return this.#finding === undefined ? unsealed : [...unsealed, this.#finding];
  }

  /** Checkpoints of events that are newer than the last line. */
  get ahead(): readonly Anchor[] {
    const last = this.#previous?.seq ?? 0;
    return this.#anchors.slice(this.#nextAnchor).filter(({ checkpoint }) => checkpoint.seq > last);
  }

  /** Answers false where there is no point in going on. */
  take(line: TrailLine): boolean {
    const seal = sealOf(line);
    if (seal === undefined && this.#addOutsider(line)) return true;
    const isTied = seal !== undefined && this.#isTied(line, seal);
    if (!isTied) {
      this.#break = this.#breakAt(line, seal);
      return false;
    }
    this.#lines++;
    this.#linesOfFile = this.#previous?.place.file === line.file ? this.#linesOfFile + 1 : 1;
    this.#uncoveredDays.add(line.day);
    this.#finding = this.#compare(line, seal);
    this.#previous = { ...seal, place: { file: line.file, line: line.line } };
    return this.#finding === undefined;
  }

  /** Returns false for a line that should have a seal. */
  #addOutsider(line: TrailLine): boolean {
    if (this.#previous === undefined && isLegacyLine(line)) this.#addLegacy(line);
    else if (isUnsealedEvent(line)) this.#addUnsealed(line);
    else return false;
    return true;
  }

  #addLegacy({ file, line, day }: TrailLine): void {
    const place = { file, line };
    this.#legacy ??= { first: place, last: place, lines: 0, days: new Map() };
    this.#legacy.last = place;
    this.#legacy.lines++;
    if (!this.#legacy.days.has(day)) this.#legacy.days.set(day, place);
  }

  #addUnsealed({ file, line }: TrailLine): void {
    const run = this.#unsealed.at(-1);
    const isSameRun = run?.place.file === file && run.place.line + run.lines === line;
    if (isSameRun) run.lines++;
    else this.#unsealed.push({ place: { file, line }, lines: 1 });
  }

  #isTied(line: TrailLine, seal: Seal): boolean {
    if (this.#previous === undefined) return this.#begin(line, seal);
    return seal.seq > this.#previous.seq && hashAfter(this.#previous.hash, line) === seal.hash;
  }

  /** Older days may have been deleted: then a checkpoint tells what was before the first line. */
  #begin(line: TrailLine, seal: Seal): true {
    this.#first = keptLine(line);
    const before = anchorBefore(this.#anchors, seal.seq);
    if (hashAfter(NO_HASH, line) === seal.hash) {
      this.#start = "beginning";
      this.#countBefore = 0;
    } else if (before && hashAfter(before.checkpoint.head, line) === seal.hash) {
      this.#start = "checkpoint";
      this.#countBefore = before.checkpoint.count;
    } else {
      this.#start = "unknown";
    }
    return true;
  }

  #breakAt(line: TrailLine, seal: Seal | undefined): Break {
    return {
      line: keptLine(line),
      seal,
      previous: this.#previous,
      doubtful: this.#lines === 1 ? this.doubtful : undefined,
      countBefore: this.#countBefore === undefined ? undefined : this.#countBefore + this.#lines,
    };
  }

  #compare(line: TrailLine, seal: Seal): Finding | undefined {
    for (; this.#nextAnchor < this.#anchors.length; this.#nextAnchor++) {
      const anchor = this.#anchors[this.#nextAnchor]!;
      if (anchor.checkpoint.seq > seal.seq) return undefined;
      const finding =
        anchor.checkpoint.seq < seal.seq
          ? this.#missing(anchor, line)
          : this.#signed(anchor, line, seal);
      if (finding !== undefined) return finding;
    }
    return undefined;
  }

  /** Before the first line, events of days that were deleted may be missing, and no others. */
  #missing(anchor: Anchor, line: TrailLine): Finding | undefined {
    const { day, seq } = anchor.checkpoint;
    if (this.#lines > 1) {
      return this.#remade(line, `event ${seq}, of which ${anchorText(anchor)} speaks, is missing`);
    }
    const replaced = this.#legacy?.days.get(day);
    if (replaced !== undefined) {
      const text = `the lines of this file have no seq and no hash, and ${anchorText(anchor)} signs event ${seq} in it: someone replaced or changed them.`;
      return { place: placeText(replaced), text };
    }
    if (day < line.day) return undefined;
    return {
      place: placeText(line),
      text: `lines before this one were removed: ${anchorText(anchor)} speaks of event ${seq}, which should stand in audit_${day}.jsonl.`,
    };
  }

  #signed(anchor: Anchor, line: TrailLine, { seq, hash }: Seal): Finding | undefined {
    const { checkpoint } = anchor;
    if (checkpoint.head !== hash) {
      return this.#remade(
        line,
        `event ${seq} is not the one that ${anchorText(anchor)} has signed`,
      );
    }
    const before = checkpoint.count - this.#lines;
    this.#countBefore ??= before;
    const finding = this.#miscounted(anchor, line, before) ?? this.#misfiled(anchor, line);
    if (finding !== undefined) return finding;
    this.#held++;
    this.#uncoveredDays.clear();
    const place = { file: line.file, line: line.line };
    this.#proven = { seq, hash, place, anchor, lines: this.#lines };
    return undefined;
  }

  #miscounted(anchor: Anchor, line: TrailLine, before: number): Finding | undefined {
    const { checkpoint } = anchor;
    const first = placeText(this.#first!);
    if (before === 0 && this.#start === "unknown") {
      const text = `this line was changed: by ${anchorText(anchor)} it is the very first event, and its hash is not that of a first event.`;
      return { place: first, text };
    }
    if (before !== this.#countBefore) {
      const count = this.#countBefore! + this.#lines;
      return this.#remade(
        line,
        `${anchorText(anchor)} counts ${checkpoint.count} events up to here, and there are ${count}`,
      );
    }
    return undefined;
  }

  /**
   * A file has the events of the day that its name says: no more, no fewer, no others. Lines of another program that
   * came first may have given it the name of a later day: such programs name files by the local date.
   */
  #misfiled(anchor: Anchor, line: TrailLine): Finding | undefined {
    const { day, lines, seq } = anchor.checkpoint;
    // Where damage to the journal has made the number of lines unknown, the day may be a former one.
    if (lines === 0) return undefined;
    if (day < line.day && this.#legacy?.last.file === line.file) {
      this.#fileOfSeveralDays = line.file;
      return undefined;
    }
    if (day !== line.day) {
      const text = `${anchorText(anchor)} signs this event as one of audit_${day}.jsonl: the file was renamed, or lines were moved to another file.`;
      return { place: placeText(line), text };
    }
    if (lines === this.#linesOfFile || this.#fileOfSeveralDays === line.file) return undefined;
    const difference = lines - this.#linesOfFile;
    const what =
      difference > 0
        ? `${counted(difference, "line")} before this one ${difference === 1 ? "was" : "were"} removed`
        : `${counted(-difference, "line")} too many ${difference === -1 ? "is" : "are"} in front`;
    const text = `${what}: by ${anchorText(anchor)} the file of that day has ${counted(lines, "line")} up to event ${seq}.`;
    const isFirstFile = line.file === this.#first!.file;
    return { place: isFirstFile ? placeText(this.#first!) : `${line.file}:1`, text };
  }

  #remade(line: TrailLine, why: string): Finding {
    const from = this.#proven;
    const since =
      from === undefined
        ? `from ${placeText(this.#first!)} on`
        : `behind ${placeText(from.place)}, for which a checkpoint vouches,`;
    const text = `${why}. The hashes fit together, so somebody has changed, removed or added lines ${since} and made all hashes anew.`;
    return { place: placeText(line), text };
  }
}

/** The checkpoint of the newest event before that one. */
export function anchorBefore(anchors: readonly Anchor[], seq: number): Anchor | undefined {
  return anchors.findLast(({ checkpoint }) => checkpoint.seq < seq);
}
