import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
} from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { NO_HASH } from "../envelope/audit-line.ts";
import type { ChainState } from "./journal.ts";

const DIRECTORY = "audit";
const FILE_NAME = /^audit_\d{8}\.jsonl$/;
const CHECKPOINTS = "checkpoints.jsonl";

const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const LINE_FEED = 0x0a;
const SEAL = /,"seq":(\d{1,16}),"hash":"([0-9a-f]{64})"\}$/;
const HASH_MEMBER = ',"hash":';

/** What lies farther back was written long before the journal was damaged. */
const READ_BYTES_MAX = 64 << 20;

/** Most last lines are found in so much. */
const LAST_LINE_BYTES = 256 << 10;

/** The state of the chain before the first event. */
export const NO_EVENTS: ChainState = { count: 0, seq: 0, head: NO_HASH };

interface Line {
  readonly seq: number;
  readonly hash: string;
  /** The line up to its hash. */
  readonly text: string;
}

/** How the audit files end. */
export interface FilesEnd {
  /** The sequence of the last event; 0 where there is none. */
  readonly seq: number;
  /**
   * The chain after it, counted from the newest of the known states that the files contain, or from the very first
   * event. Undefined where the files have none of them.
   */
  readonly chain: ChainState | undefined;
  /** Whether the files contain a known state: they are of the same journal. */
  readonly isLinked: boolean;
}

/** The sequence of the last event in the audit files of that log directory; 0 where there is none. */
export function newestInFiles(logDir: string): number {
  return sealedLines(logDir, LAST_LINE_BYTES).next().value?.seq ?? 0;
}

/** Reads the audit files of that log directory from their end to a state of the chain that is `known`. */
export function auditFilesEnd(logDir: string, known: readonly ChainState[]): FilesEnd {
  const counts = new Map(
    known.filter(({ count }) => count > 0).map((state) => [state.head, state]),
  );
  const after: Line[] = [];
  for (const line of sealedLines(logDir, READ_BYTES_MAX)) {
    after.push(line);
    const state = counts.get(line.hash);
    if (state?.seq === line.seq) return ending(after, state);
  }
  return ending(after, undefined);
}

/** `lines`: the newest first; `oldest`: the state after the last one of them, where it is known. */
function ending(lines: readonly Line[], oldest: ChainState | undefined): FilesEnd {
  const seq = lines[0]?.seq ?? 0;
  const upwards = lines.toReversed();
  if (oldest !== undefined) {
    return { seq, chain: followed(oldest, upwards.slice(1)), isLinked: true };
  }
  const isWhole = upwards[0] !== undefined && hashOf(NO_HASH, upwards[0]) === upwards[0].hash;
  return { seq, chain: isWhole ? followed(NO_EVENTS, upwards) : undefined, isLinked: false };
}

/** The states that the trail's checkpoints speak of. */
export function checkpointsIn(logDir: string): ChainState[] {
  try {
    const text = readFileSync(join(logDir, DIRECTORY, CHECKPOINTS), {
      encoding: "utf8",
      flag: FLAGS,
    });
    return text.split("\n").flatMap((line) => stateOf(line) ?? []);
  } catch {
    return [];
  }
}

function stateOf(line: string): ChainState | undefined {
  try {
    const { count, seq, head } = JSON.parse(line) as Partial<ChainState>;
    const isState =
      Number.isSafeInteger(count) && Number.isSafeInteger(seq) && typeof head === "string";
    return isState ? { count: count!, seq: seq!, head } : undefined;
  } catch {
    return undefined;
  }
}

/** Up to the last line that follows the one before. */
function followed(start: ChainState, lines: readonly Line[]): ChainState {
  let { count, seq, head } = start;
  for (const line of lines) {
    if (line.seq <= seq || hashOf(head, line) !== line.hash) break;
    count++;
    ({ seq, hash: head } = line);
  }
  return { count, seq, head };
}

function hashOf(before: string, { text }: Line): string {
  return createHash("sha256").update(before).update(text).digest("hex");
}

/** The lines that end as those of a chain do, the newest first. Files that cannot be read tell nothing. */
function* sealedLines(logDir: string, bytesMax: number): Generator<Line, undefined> {
  const directory = join(logDir, DIRECTORY);
  let left = bytesMax;
  for (const name of fileNames(directory)) {
    const bytes = endOf(join(directory, name), left);
    left -= bytes.length;
    yield* linesOf(bytes);
    if (left <= 0) return;
  }
}

/** The newest day first. */
function fileNames(directory: string): string[] {
  try {
    const names = readdirSync(directory).filter((name) => FILE_NAME.test(name));
    return names.sort().toReversed();
  } catch {
    return [];
  }
}

function endOf(path: string, bytesMax: number): Buffer {
  try {
    const file = openSync(path, FLAGS);
    try {
      const stats = fstatSync(file);
      const length = stats.isFile() ? Math.min(stats.size, bytesMax) : 0;
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(file, bytes, 0, length, stats.size - length));
    } finally {
      closeSync(file);
    }
  } catch {
    return Buffer.alloc(0);
  }
}

function* linesOf(bytes: Buffer): Generator<Line> {
  let end = bytes.lastIndexOf(LINE_FEED);
  while (end > 0) {
    const start = bytes.lastIndexOf(LINE_FEED, end - 1) + 1;
    const line = lineOf(bytes.toString("utf8", start, end));
    if (line !== undefined) yield line;
    end = start - 1;
  }
}

function lineOf(line: string): Line | undefined {
  const [, seq, hash] = SEAL.exec(line) ?? [];
  if (hash === undefined) return undefined;
  return { seq: Number(seq), hash, text: line.slice(0, line.lastIndexOf(HASH_MEMBER)) };
}
