import { StoredRecords } from "../batch/stored-records.ts";
import { BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, DamagedChunkError } from "../blocks/block-view.ts";
import { BlockEncoder } from "../blocks/block-encoder.ts";
import { decodeDirectory } from "../blocks/columns/layout.ts";
import { ScratchMemory } from "../blocks/columns/scratch-memory.ts";
import { openBlock } from "../blocks/merged-block.ts";
import type { EncodedBlock } from "../blocks/encoded-block.ts";
import type { BlockRange } from "./block-range.ts";
import { envelopeRules, rulesOf, rulesText } from "../envelope/rules.ts";
import type { Gap } from "../plugin/index.ts";
import { ENVELOPE_TYPES, type EnvelopeType } from "../wire/envelope.ts";
import type { HistoryDatabase } from "./database.ts";
import type { BlockRow } from "./rows.ts";

/** Records of one type of a commit, as the journal has stored them. */
export interface FreshBlock {
  readonly type: EnvelopeType;
  /** The range of their commit. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly appendedAtMs: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Consecutive commits, in the order of their sequences, and what is missing among them. */
export interface FreshPage {
  readonly from: number;
  readonly to: number;
  readonly blocks: readonly FreshBlock[];
  readonly gaps: readonly Gap[];
}

/** Records of one type that were stored without an index. */
export interface UnindexedRange extends BlockRange {
  readonly records: number;
}

/** A smaller block is rewritten together with later records of its day; rewriting a larger one costs more than it saves. */
const SMALL_RECORDS = Math.floor((BLOCK_RECORDS_MAX * 2) / 3);

const DAY_MS = 86_400_000;

/** The rules that are tried for envelopes that were stored without any. */
const RULES = envelopeRules();
const DEFAULT = rulesText(RULES);

/** The records of a type that wait for their block to be complete. */
interface Pending {
  commits: Piece[];
  records: number;
  bytes: number;
  /** Undefined as long as no record needs them. */
  rules: string | undefined;
  /** How many records complete the block. */
  capacity: number;
}

/** Makes blocks of the records that it is given, and stores them. */
export class Merge {
  readonly #database: HistoryDatabase;
  #pending = nothing();
  /** The day of what is pending. */
  #day = 0;
  #gaps: Gap[] = [];
  #unindexed: UnindexedRange[] = [];
  readonly #memory = new ScratchMemory();
  /** The sequence up to which records were given. */
  #position: number;

  constructor(database: HistoryDatabase) {
    this.#database = database;
    this.#position = database.rows.merged;
  }

  /** Forgets what is pending: it will be given again. */
  reset(): void {
    this.#pending = nothing();
    this.#gaps = [];
    this.#position = this.#database.rows.merged;
  }

  /** Returns the ranges of the records that were stored without an index since the last call, because one could not be made. */
  takeUnindexed(): readonly UnindexedRange[] {
    return this.#unindexed.splice(0);
  }

  /** Adds what comes after all that was added before, and stores blocks that are complete. */
  add(page: FreshPage): void {
    if (page.from !== this.#position + 1) this.reset();
    const { merged } = this.#database.rows;
    // What expired was not read; the journal knows what it did not store.
    const gaps = page.gaps.filter(({ type, reason }) => type !== undefined && reason === "damaged");
    const commits = Map.groupBy(page.blocks, ({ lastSequence }) => lastSequence);
    for (const [last, blocks] of commits) {
      const records = blocks.map((block) => this.#read(block, merged, gaps));
      const day = Math.floor(blocks[0]!.appendedAtMs / DAY_MS);
      if (this.#mustCloseBefore(records, day)) this.#store();
      this.#day = day;
      for (const commit of records) this.#append(commit);
      this.#position = last;
      if (this.#isFull) this.#store();
    }
    this.#gaps.push(...gaps);
    this.#position = page.to;
  }

  /** Stores what is pending. */
  flush(): void {
    if (this.#position > this.#database.rows.merged) this.#store();
  }

  /** Frees memory, until it is needed again. */
  freeMemory(): void {
    this.#memory.free();
  }

  #read(block: FreshBlock, merged: number, gaps: Gap[]): Commit {
    const { type, firstSequence, lastSequence } = block;
    try {
      const records = new StoredRecords(block, RULES);
      let first = 0;
      while (first < records.length && records.sequence(first) <= merged) first++;
      const rules = records.needsRules ? rulesText(records.rules) : undefined;
      return { type, rules, piece: { records, first, end: records.length } };
    } catch {
      const from = Math.max(firstSequence, merged + 1);
      gaps.push({ from, to: lastSequence, type, reason: "damaged" });
      return { type, rules: undefined, piece: undefined };
    }
  }

  #mustCloseBefore(commits: readonly Commit[], day: number): boolean {
    if (this.#isEmpty) return false;
    if (day !== this.#day) return true;
    return commits.some(({ type, rules, piece }) => {
      const pending = this.#pending[type];
      if (pending.records === 0) return false;
      if (rules !== undefined && rules !== (pending.rules ?? rules)) return true;
      return pending.records + lengthOf(piece) > pending.capacity;
    });
  }

  get #isEmpty(): boolean {
    return ENVELOPE_TYPES.every((type) => this.#pending[type].records === 0);
  }

  get #isFull(): boolean {
    return ENVELOPE_TYPES.some((type) => {
      const { records, bytes, capacity } = this.#pending[type];
      return records >= capacity || bytes >= BLOCK_BYTES_MAX;
    });
  }

  #append({ type, rules, piece }: Commit): void {
    const pending = this.#pending[type];
    pending.rules ??= rules;
    if (piece === undefined || lengthOf(piece) === 0) return;
    if (pending.records === 0) {
      const small = this.#smallBefore(type, Infinity, pending.rules);
      pending.capacity = BLOCK_RECORDS_MAX - (small?.records ?? 0);
    }
    pending.commits.push(piece);
    pending.records += lengthOf(piece);
    pending.bytes += piece.records.byteLength;
  }

  /** Returns the newest block of a type before that sequence, if it is small and of the pending records' day. */
  #smallBefore(type: EnvelopeType, sequence: number, rules = DEFAULT): BlockRow | undefined {
    const { rows } = this.#database;
    const place = rows.nearest(type, Math.min(sequence - 1, rows.merged), "desc");
    if (place === undefined) return undefined;
    try {
      const row = rows.block(place.id);
      const isOfDay = Math.floor(row.appendedMin / DAY_MS) === this.#day;
      const isSmall = isOfDay && row.rules === rules && row.records <= SMALL_RECORDS;
      // What was stored without an index would prevent that of the others.
      return isSmall && isIndexed(row) ? row : undefined;
    } catch (error) {
      if (!(error instanceof DamagedChunkError)) throw error;
      return undefined;
    }
  }

  /** Stores the pending records, with those of small blocks before them. */
  #store(): void {
    const replaced: number[] = [];
    const unindexed: UnindexedRange[] = [];
    const blocks = ENVELOPE_TYPES.flatMap((type) => {
      const { rules = DEFAULT } = this.#pending[type];
      const pieces = this.#withSmallBefore(type, replaced);
      const encoded = encodeSafely(type, rules, pieces, this.#memory);
      unindexed.push(...encoded.unindexed);
      return encoded.blocks.map((block) => ({ type, block }));
    });
    const merged = this.#position;
    this.#database.commit({ blocks, replaced, gaps: this.#gaps, merged });
    this.#unindexed.push(...unindexed);
    this.#database.checkpoint("PASSIVE");
    this.#pending = nothing();
    this.#gaps = [];
  }

  /** Returns what is pending of a type, with the records of small blocks before. */
  #withSmallBefore(type: EnvelopeType, replaced: number[]): readonly Piece[] {
    const { commits, records, bytes, rules } = this.#pending[type];
    const pieces = [...commits];
    let length = records;
    let total = bytes;
    for (let before = Infinity; length > 0;) {
      const small = this.#smallBefore(type, before, rules);
      if (small === undefined || small.records > 2 * length) break;
      if (length + small.records > BLOCK_RECORDS_MAX) break;
      const earlier = this.#recordsOf(small);
      if (earlier === undefined) break;
      length += small.records;
      total += earlier.byteLength;
      if (total > BLOCK_BYTES_MAX) break;
      pieces.unshift({ records: earlier, first: 0, end: earlier.length });
      replaced.push(small.id);
      before = small.from;
    }
    return pieces;
  }

  /** Returns the records of a block; undefined if it is damaged in part. */
  #recordsOf(row: BlockRow): StoredRecords | undefined {
    const { id, records: length, from, to, rules, directory } = row;
    try {
      const view = openBlock(row, directory, (index) => this.#database.rows.chunk(id, index));
      const block = view.read(Array.from({ length }, (_, index) => index));
      const records = new StoredRecords(block, rulesOf(rules));
      const isWhole =
        records.length === length &&
        records.sequence(0) === from &&
        records.sequence(length - 1) === to;
      return isWhole ? records : undefined;
    } catch {
      return undefined;
    }
  }
}

function nothing(): Record<EnvelopeType, Pending> {
  const empty = { records: 0, bytes: 0, rules: undefined, capacity: BLOCK_RECORDS_MAX };
  return { system_log: { ...empty, commits: [] }, audit_log: { ...empty, commits: [] } };
}

/** Whether a directory tells of fields or of texts. */
function isIndexed({ directory }: BlockRow): boolean {
  const { fields, isFiltered } = decodeDirectory(directory).directory;
  return fields !== undefined || isFiltered;
}

/** Encoded blocks, and the ranges of those that have no index. */
interface Encoded {
  readonly blocks: readonly EncodedBlock[];
  readonly unindexed: readonly UnindexedRange[];
}

/**
 * Encodes records. Those that cannot be encoded get blocks of their own, in which they are stored as they are: otherwise they
 * would keep all later ones from being merged.
 */
function encodeSafely(
  type: EnvelopeType,
  rules: string,
  pieces: readonly Piece[],
  memory: ScratchMemory,
): Encoded {
  try {
    return { blocks: encodeBlocks(type, rules, pieces, memory), unindexed: [] };
  } catch {
    const blocks: EncodedBlock[] = [];
    const unindexed: UnindexedRange[] = [];
    for (const { part, isSound } of apart(type, rules, pieces, memory)) {
      const encoded = encodeBlocks(type, rules, part, memory, { isPlain: !isSound });
      blocks.push(...encoded);
      if (isSound) continue;
      for (const { firstSequence: from, lastSequence: to, length: records } of encoded) {
        unindexed.push({ from, to, records });
      }
    }
    return { blocks, unindexed };
  }
}

/** Beyond this many attempts to find out which records cannot be encoded, all others of their part count as such. */
const ATTEMPTS_MAX = 256;

/** Divides records, by trying, into parts that can be encoded and parts that cannot. */
function apart(
  type: EnvelopeType,
  rules: string,
  pieces: readonly Piece[],
  memory: ScratchMemory,
): { readonly part: readonly Piece[]; readonly isSound: boolean }[] {
  let attempts = 0;
  const canEncode = (part: readonly Piece[]): boolean => {
    attempts++;
    try {
      encodeBlocks(type, rules, part, memory);
      return true;
    } catch {
      return false;
    }
  };
  const parts: { part: Piece[]; isSound: boolean }[] = [];
  const add = (part: readonly Piece[], isSound: boolean): void => {
    const last = parts.at(-1);
    if (last?.isSound === isSound) last.part = joined([...last.part, ...part]);
    else parts.push({ part: [...part], isSound });
  };
  const divide = (part: readonly Piece[]): void => {
    const count = part.reduce((sum, piece) => sum + lengthOf(piece), 0);
    if (attempts < ATTEMPTS_MAX && canEncode(part)) add(part, true);
    else if (count === 1 || attempts >= ATTEMPTS_MAX) add(part, false);
    else {
      const [before, after] = halves(part, count >> 1);
      divide(before);
      divide(after);
    }
  };
  divide(pieces);
  // Parts that can be encoded one by one are not put together if that fails.
  return parts.map(({ part, isSound }) => ({ part, isSound: isSound && canEncode(part) }));
}

/** Returns the first `count` records and the others. */
function halves(pieces: readonly Piece[], count: number): [Piece[], Piece[]] {
  const before: Piece[] = [];
  const after: Piece[] = [];
  let left = count;
  for (const piece of pieces) {
    const { records, first, end } = piece;
    const middle = Math.min(end, first + left);
    left -= middle - first;
    if (middle > first) before.push({ records, first, end: middle });
    if (middle < end) after.push({ records, first: middle, end });
  }
  return [before, after];
}

/** Puts pieces together that were divided. */
function joined(pieces: readonly Piece[]): Piece[] {
  const result: Piece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (last?.records === piece.records && last.end === piece.first) {
      result[result.length - 1] = { ...last, end: piece.end };
    } else result.push(piece);
  }
  return result;
}

/** Encodes records: as one block, unless they are of a commit that is larger. */
function encodeBlocks(
  type: EnvelopeType,
  rules: string,
  pieces: readonly Piece[],
  memory: ScratchMemory,
  { isPlain = false } = {},
): EncodedBlock[] {
  const total = pieces.reduce((sum, { records }) => sum + records.bytes.length, 0);
  const bytes = Math.min(total, BLOCK_BYTES_MAX);
  const newEncoder = (): BlockEncoder => {
    memory.reset();
    return new BlockEncoder(type, rules, { memory, bytes, isPlain });
  };
  const blocks: EncodedBlock[] = [];
  let encoder: BlockEncoder | undefined;
  for (const { records, first, end } of pieces) {
    for (let next = first; next < end;) {
      encoder ??= newEncoder();
      next = encoder.add(records, next, end);
      if (!encoder.isFull) continue;
      blocks.push(encoder.finish());
      encoder = undefined;
    }
  }
  if (encoder !== undefined) blocks.push(encoder.finish());
  return blocks;
}

/** Records of a commit, or of a block, from the one with the index `first` up to `end`. */
interface Piece {
  readonly records: StoredRecords;
  readonly first: number;
  readonly end: number;
}

function lengthOf(piece: Piece | undefined): number {
  return piece === undefined ? 0 : piece.end - piece.first;
}

/** Records of one type of a commit, and the rules that make the envelopes that they do not have. */
interface Commit {
  readonly type: EnvelopeType;
  readonly rules: string | undefined;
  /** Undefined if they cannot be read. */
  readonly piece: Piece | undefined;
}
