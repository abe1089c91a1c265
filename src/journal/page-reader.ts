import type { StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import type { Hole } from "./journal.ts";
import type { ReadQuery, ReadRow, ReadRows } from "./messages.ts";
import { unpackedLane } from "./packed-lane.ts";
import { DamageError, isDamage, LANES, type Statements } from "./schema.ts";
import { placeOf, type Place, type Step } from "./time-spans.ts";

/** A page of reading ends with the commit that makes it as large as this. */
const PAGE_BYTES = 512 << 10;
const PAGE_ROWS = 256;

/** The smallest sequence from which on all records of a lane are kept. */
export type Floors = Record<EnvelopeType, number>;

/** As SQLite has read it: a damaged row may have values of other types. */
interface Row {
  readonly appended: number;
  readonly crc: number;
  readonly bytes: Uint8Array<ArrayBuffer> | string | number | null;
}

/** What a row's bytes and its place are checked against when they are read. */
export function checksum(bytes: Uint8Array, first: number, last: number, appended: number): number {
  return crc32(bytes, crc32(`${first} ${last} ${appended}`));
}

/** Reads a page of the journal's tables: whole commits, from the one with the query's first record on. */
export class PageReader {
  readonly #statements: Statements;
  readonly #query: ReadQuery;
  readonly #ascending: boolean;
  readonly #types: readonly EnvelopeType[];
  readonly #floors: Floors;
  readonly #newest: number;
  readonly #rows: ReadRow[] = [];
  readonly #gaps: Gap[] = [];
  #bytes = 0;

  constructor(statements: Statements, query: ReadQuery, floors: Floors, newest: number) {
    this.#statements = statements;
    this.#query = query;
    this.#ascending = query.order === "asc";
    this.#types = query.type === undefined ? LANES : [query.type];
    this.#floors = floors;
    this.#newest = newest;
  }

  read(): ReadRows {
    const lanes = this.#types.map(
      (type) =>
        new LaneWalk(this.#statements, type, this.#query, this.#newest, this.#endOfCommit(type)),
    );
    const edge = this.#walk(lanes) ?? (this.#ascending ? this.#newest : 1);
    const [from, to] = this.#ascending ? [this.#query.from, edge] : [edge, this.#query.from];
    for (const lane of lanes) this.#unreadable(lane);
    this.#deleted();
    this.#holes(from, to);
    return { from, to, rows: this.#rows, gaps: this.#gapsWithin(from, to) };
  }

  /** Takes what the page is to have; answers where it ends, undefined for the end of the journal. */
  #walk(lanes: readonly LaneWalk[]): number | undefined {
    let edge: number | undefined;
    for (let lane; (lane = this.#nearest(lanes)); lane.proceed()) {
      const step = lane.step!;
      if ("stoppedAt" in step) return step.stoppedAt;
      const end = this.#ascending ? step.last : step.first;
      if (edge !== undefined && end !== edge && this.#isFull) return edge;
      this.#add(lane.type, step);
      edge = end;
    }
    return undefined;
  }

  /** Downwards, the search begins with the end of the commit that holds the query's first record. */
  #endOfCommit(type: EnvelopeType): number {
    const { from } = this.#query;
    if (this.#ascending) return from;
    try {
      const place = placeOf(this.#statements.lanes[type].asc.byIndex.get(from));
      return place !== undefined && place.first <= from ? place.last : from;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return from;
    }
  }

  #nearest(lanes: readonly LaneWalk[]): LaneWalk | undefined {
    let best: LaneWalk | undefined;
    for (const lane of lanes) {
      if (lane.step === undefined) continue;
      if (best === undefined || isNearer(lane.step, best.step!, this.#ascending)) best = lane;
    }
    return best;
  }

  get #isFull(): boolean {
    return this.#bytes >= PAGE_BYTES || this.#rows.length + this.#gaps.length >= PAGE_ROWS;
  }

  /** Adds a row, or a gap if it is damaged. */
  #add(type: EnvelopeType, { first, last }: Place): void {
    const row = this.#row(type, last);
    const bytes = row && laneOf(row, first, last);
    if (bytes === undefined) {
      this.#gaps.push({ from: first, to: last, type, reason: "damaged" });
      return;
    }
    this.#bytes += bytes.length;
    const appendedAtMs = row!.appended;
    this.#rows.push({ type, firstSequence: first, lastSequence: last, appendedAtMs, bytes });
  }

  #row(type: EnvelopeType, last: number): Row | undefined {
    try {
      return this.#statements.lanes[type].row.get(last) as Row | undefined;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return undefined;
    }
  }

  /** Nobody can say how far the damage goes. */
  #unreadable({ isBroken, position, type }: LaneWalk): void {
    if (!isBroken) return;
    const [from, to] = this.#ascending ? [position, this.#newest] : [1, position];
    this.#gaps.push({ from, to, type, reason: "damaged" });
  }

  #deleted(): void {
    for (const type of this.#types) {
      this.#gaps.push({ from: 1, to: this.#floors[type] - 1, type, reason: "retention" });
    }
  }

  #holes(from: number, to: number): void {
    const holes = this.#statements.holesIn.all(from, to) as unknown as Hole[];
    for (const { first, last, reason } of holes) this.#gaps.push({ from: first, to: last, reason });
  }

  /** As far as they lie in the page's stretch, in the order of their sequences. */
  #gapsWithin(first: number, last: number): Gap[] {
    return this.#gaps
      .map((gap) => ({ ...gap, from: Math.max(gap.from, first), to: Math.min(gap.to, last) }))
      .filter(({ from, to }) => from <= to)
      .sort((one, other) => one.from - other.from);
  }
}

/** What was stored in a row; undefined where it is damaged. */
function laneOf(
  { bytes, appended, crc }: Row,
  first: number,
  last: number,
): Uint8Array<ArrayBuffer> | undefined {
  if (!(bytes instanceof Uint8Array)) return undefined;
  if (checksum(bytes, first, last, appended) !== crc) return undefined;
  try {
    return unpackedLane(bytes);
  } catch {
    return undefined;
  }
}

/** Rows before stops: a page that ends at a stop has all that lies before it. */
function isNearer(one: Step, other: Step, ascending: boolean): boolean {
  const [place, otherPlace] = [one, other].map((step) =>
    "stoppedAt" in step ? step.stoppedAt : step.last,
  ) as [number, number];
  if (place === otherPlace) return "stoppedAt" in other && !("stoppedAt" in one);
  return ascending ? place < otherPlace : place > otherPlace;
}

/** The commits that one lane has records of and that the query may want, one after the other. */
class LaneWalk {
  readonly type: EnvelopeType;
  /** Undefined at the end. */
  step: Step | undefined;
  /** Where the next one is looked for. */
  position: number;
  /** The index cannot be read from `position` on. */
  isBroken = false;
  readonly #ascending: boolean;
  readonly #newest: number;
  readonly #nearest: Statements["lanes"][EnvelopeType]["asc"];
  #steps: Iterator<Step>;
  #isTimed: boolean;

  constructor(
    statements: Statements,
    type: EnvelopeType,
    { order, sinceMs, untilMs }: ReadQuery,
    newest: number,
    position: number,
  ) {
    const since = sinceMs ?? Number.MIN_SAFE_INTEGER;
    const until = untilMs ?? Number.MAX_SAFE_INTEGER;
    const { spans, asc, desc } = statements.lanes[type];
    this.type = type;
    this.position = position;
    this.#ascending = order === "asc";
    this.#newest = newest;
    this.#nearest = this.#ascending ? asc : desc;
    this.#isTimed = sinceMs !== undefined || untilMs !== undefined;
    if (!this.#isTimed) this.#steps = this.#all();
    else if (this.#ascending) this.#steps = spans.upwards(position, since, until);
    else this.#steps = spans.downwards(position, since, until);
    this.proceed();
  }

  proceed(): void {
    try {
      const step = this.#steps.next().value as Step | undefined;
      if (step !== undefined && "last" in step && step.last > this.#newest) {
        throw new DamageError("a commit behind the newest");
      }
      this.#come(step);
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (!this.#isTimed) return this.#break();
      // To look at all commits takes longer, and finds those that are wanted, too.
      this.#isTimed = false;
      this.#steps = this.#all();
      this.proceed();
    }
  }

  #come(step: Step | undefined): void {
    this.step = step;
    if (step === undefined || "stoppedAt" in step) return;
    this.position = this.#ascending ? step.last + 1 : step.first - 1;
  }

  #break(): void {
    this.isBroken = true;
    this.step = undefined;
  }

  *#all(): Generator<Step> {
    const { byIndex, byTable } = this.#nearest;
    for (;;) {
      const [indexed, listed] = [this.#found(byIndex), this.#found(byTable)];
      if (indexed === "damaged" && listed === "damaged") throw new DamageError("no way to go on");
      const places = [indexed, listed].filter((place) => typeof place === "object");
      if (places.length === 0) return;
      yield places.reduce((one, other) => this.#nearer(one, other));
    }
  }

  #found(nearest: StatementSync): Place | undefined | "damaged" {
    try {
      const place = placeOf(nearest.get(this.position));
      return place === undefined || this.#isAhead(place) ? place : "damaged";
    } catch (error) {
      if (!isDamage(error)) throw error;
      return "damaged";
    }
  }

  #isAhead({ last }: Place): boolean {
    return this.#ascending ? this.position <= last && last <= this.#newest : last <= this.position;
  }

  /** What one of them lacks is damaged there; the larger range of two that begin elsewhere is on the safe side. */
  #nearer(one: Place, other: Place): Place {
    if (one.last === other.last) return one.first < other.first ? one : other;
    return one.last < other.last === this.#ascending ? one : other;
  }
}
