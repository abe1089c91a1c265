import type { StatementSync } from "node:sqlite";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import type { SequenceGap } from "./journal.ts";
import {
  checksum,
  DamageError,
  decompressBlock,
  isDamage,
  TYPES,
  type Statements,
} from "./schema.ts";
import { readRange, type BlockRange, type Step } from "./time-index.ts";

/** A page ends with the commit that makes it as large as this. */
const PAGE_BYTES = 512 << 10;
const PAGE_ROWS = 256;

export interface PageQuery {
  readonly from: number;
  readonly order: "asc" | "desc";
  readonly type: EnvelopeType | undefined;
  readonly sinceMs: number | undefined;
  readonly untilMs: number | undefined;
}

/** A block that was read. */
export interface BlockRow {
  readonly type: EnvelopeType;
  /** The first and the last sequence of its commit. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly appendedAtMs: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface StoredPage {
  /** The range of sequences that was read; empty with `to = from - 1`. */
  readonly from: number;
  readonly to: number;
  readonly blocks: readonly BlockRow[];
  readonly gaps: readonly Gap[];
}

/** The smallest sequence from which on all records of a type are retained. */
export type Floors = Record<EnvelopeType, number>;

/** A row as SQLite has read it: if it is damaged, its values may have other types. */
interface RawRow {
  readonly appended: number;
  readonly crc: number;
  readonly bytes: Uint8Array<ArrayBuffer> | string | number | null;
}

/** Reads a page of the journal's tables: whole commits, starting with that of the query's first record. */
export class StoredPageReader {
  readonly #statements: Statements;
  readonly #query: PageQuery;
  readonly #ascending: boolean;
  readonly #types: readonly EnvelopeType[];
  readonly #floors: Floors;
  readonly #newest: number;
  readonly #blocks: BlockRow[] = [];
  readonly #gaps: Gap[] = [];
  #bytes = 0;
  /** Whether an index could not be read: the page then does not tell which records there are. */
  isBroken = false;

  constructor(statements: Statements, query: PageQuery, floors: Floors, newest: number) {
    this.#statements = statements;
    this.#query = query;
    this.#ascending = query.order === "asc";
    this.#types = query.type === undefined ? TYPES : [query.type];
    this.#floors = floors;
    this.#newest = newest;
  }

  read(): StoredPage {
    const walks = this.#types.map(
      (type) =>
        new BlockWalk(this.#statements, type, this.#query, this.#newest, this.#endOfCommit(type)),
    );
    const edge = this.#walk(walks) ?? (this.#ascending ? this.#newest : 1);
    const [from, to] = this.#ascending ? [this.#query.from, edge] : [edge, this.#query.from];
    for (const walk of walks) this.#addUnreadable(walk);
    for (const type of this.#types) {
      this.#gaps.push({ from: 1, to: this.#floors[type] - 1, type, reason: "retention" });
    }
    const known = this.#statements.gapsIn.all(from, to) as unknown as SequenceGap[];
    for (const { first, last, reason } of known) this.#gaps.push({ from: first, to: last, reason });
    return { from, to, blocks: this.#blocks, gaps: this.#gapsWithin(from, to) };
  }

  /** Reads the blocks of the page. Returns the sequence at which it ends, undefined for the end of the journal. */
  #walk(walks: readonly BlockWalk[]): number | undefined {
    let edge: number | undefined;
    for (let walk; (walk = this.#nearest(walks)); walk.proceed()) {
      const step = walk.step!;
      if ("stoppedAt" in step) return step.stoppedAt;
      const end = this.#ascending ? step.last : step.first;
      if (edge !== undefined && end !== edge && this.#isFull) return edge;
      this.#add(walk.type, step);
      edge = end;
    }
    return undefined;
  }

  /** Downwards, the search begins with the end of the commit that holds the query's first record. */
  #endOfCommit(type: EnvelopeType): number {
    const { from } = this.#query;
    if (this.#ascending) return from;
    try {
      const range = readRange(this.#statements.blocks[type].asc.byIndex.get(from));
      return range !== undefined && range.first <= from ? range.last : from;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return from;
    }
  }

  #nearest(walks: readonly BlockWalk[]): BlockWalk | undefined {
    let best: BlockWalk | undefined;
    for (const walk of walks) {
      if (walk.step === undefined) continue;
      if (best === undefined || isNearer(walk.step, best.step!, this.#ascending)) best = walk;
    }
    return best;
  }

  get #isFull(): boolean {
    return this.#bytes >= PAGE_BYTES || this.#blocks.length + this.#gaps.length >= PAGE_ROWS;
  }

  /** Adds a block, or a gap if it is damaged. */
  #add(type: EnvelopeType, { first, last }: BlockRange): void {
    const row = this.#row(type, last);
    const bytes = row && blockOf(row, first, last);
    if (bytes === undefined) {
      this.#gaps.push({ from: first, to: last, type, reason: "damaged" });
      return;
    }
    this.#bytes += bytes.length;
    const appendedAtMs = row!.appended;
    this.#blocks.push({ type, firstSequence: first, lastSequence: last, appendedAtMs, bytes });
  }

  #row(type: EnvelopeType, last: number): RawRow | undefined {
    try {
      return this.#statements.blocks[type].row.get(last) as RawRow | undefined;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return undefined;
    }
  }

  /** Adds a gap to the end of the journal: it is unknown how far the damage reaches. */
  #addUnreadable({ isBroken, position, type }: BlockWalk): void {
    if (!isBroken) return;
    this.isBroken = true;
    const [from, to] = this.#ascending ? [position, this.#newest] : [1, position];
    this.#gaps.push({ from, to, type, reason: "damaged" });
  }

  /** Returns the parts of the gaps within a range, in the order of their sequences. */
  #gapsWithin(first: number, last: number): Gap[] {
    return this.#gaps
      .map((gap) => ({ ...gap, from: Math.max(gap.from, first), to: Math.min(gap.to, last) }))
      .filter(({ from, to }) => from <= to)
      .sort((one, other) => one.from - other.from);
  }
}

/** Returns the block of a row; undefined if it is damaged. */
function blockOf(
  { bytes, appended, crc }: RawRow,
  first: number,
  last: number,
): Uint8Array<ArrayBuffer> | undefined {
  if (!(bytes instanceof Uint8Array)) return undefined;
  if (checksum(bytes, first, last, appended) !== crc) return undefined;
  try {
    return decompressBlock(bytes);
  } catch {
    return undefined;
  }
}

/** Blocks come before stops: a page that ends at a stop has everything before it. */
function isNearer(one: Step, other: Step, ascending: boolean): boolean {
  const [position, otherPosition] = [one, other].map((step) =>
    "stoppedAt" in step ? step.stoppedAt : step.last,
  ) as [number, number];
  if (position === otherPosition) return "stoppedAt" in other && !("stoppedAt" in one);
  return ascending ? position < otherPosition : position > otherPosition;
}

/** Goes through the blocks of one type that the query may want, one after the other. */
class BlockWalk {
  readonly type: EnvelopeType;
  /** Undefined at the end. */
  step: Step | undefined;
  /** Where the search for the next block starts. */
  position: number;
  /** True if the index cannot be read from `position` on. */
  isBroken = false;
  readonly #ascending: boolean;
  readonly #newest: number;
  readonly #nearest: Statements["blocks"][EnvelopeType]["asc"];
  #steps: Iterator<Step>;
  #isTimed: boolean;

  constructor(
    statements: Statements,
    type: EnvelopeType,
    { order, sinceMs, untilMs }: PageQuery,
    newest: number,
    position: number,
  ) {
    const since = sinceMs ?? Number.MIN_SAFE_INTEGER;
    const until = untilMs ?? Number.MAX_SAFE_INTEGER;
    const { timeIndex, asc, desc } = statements.blocks[type];
    this.type = type;
    this.position = position;
    this.#ascending = order === "asc";
    this.#newest = newest;
    this.#nearest = this.#ascending ? asc : desc;
    this.#isTimed = sinceMs !== undefined || untilMs !== undefined;
    if (!this.#isTimed) this.#steps = this.#all();
    else if (this.#ascending) this.#steps = timeIndex.upwards(position, since, until);
    else this.#steps = timeIndex.downwards(position, since, until);
    this.proceed();
  }

  proceed(): void {
    try {
      const step = this.#steps.next().value as Step | undefined;
      if (step !== undefined && "last" in step && step.last > this.#newest) {
        throw new DamageError("a commit after the newest");
      }
      this.step = step;
      if (step === undefined || "stoppedAt" in step) return;
      this.position = this.#ascending ? step.last + 1 : step.first - 1;
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.step = undefined;
      this.isBroken = !this.#isTimed;
      if (this.isBroken) return;
      // Going through all blocks takes longer and finds the wanted ones, too.
      this.#isTimed = false;
      this.#steps = this.#all();
      this.proceed();
    }
  }

  *#all(): Generator<Step> {
    const { byIndex, byTable } = this.#nearest;
    for (;;) {
      const found = [this.#find(byIndex), this.#find(byTable)];
      if (found.every((range) => range === "damaged")) throw new DamageError("no readable index");
      const ranges = found.filter((range) => typeof range === "object");
      if (ranges.length === 0) return;
      yield ranges.reduce((one, other) => this.#nearer(one, other));
    }
  }

  #find(nearest: StatementSync): BlockRange | undefined | "damaged" {
    try {
      const range = readRange(nearest.get(this.position));
      return range === undefined || this.#isAhead(range) ? range : "damaged";
    } catch (error) {
      if (!isDamage(error)) throw error;
      return "damaged";
    }
  }

  #isAhead({ last }: BlockRange): boolean {
    return this.#ascending ? this.position <= last && last <= this.#newest : last <= this.position;
  }

  /**
   * Chooses between what the index and the table say: an entry that only one of them has is missing from the other for
   * damage. If they differ in where a block begins, the larger range is on the safe side.
   */
  #nearer(one: BlockRange, other: BlockRange): BlockRange {
    if (one.last === other.last) return one.first < other.first ? one : other;
    return one.last < other.last === this.#ascending ? one : other;
  }
}
