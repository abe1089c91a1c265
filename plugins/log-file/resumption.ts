import { constants, type Stats } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LEVELS, type Host, type HostJournal } from "tailgate/plugin";
import type { LineFile } from "./line-file.ts";
import type { Place } from "./place.ts";
import { WrittenLines } from "./written-lines.ts";

const LINE_END = Buffer.from("\n");

/**
 * The sequence of the newest system log whose line is in the file or in one that a rotation has moved away. The lines
 * behind the place are compared with the journal, byte for byte. A line that a crash has torn is cut off: the journal
 * has it. Where the files have become others than they were left, no record is left out.
 */
export async function lastWritten(file: LineFile, place: Place, host: Host): Promise<number> {
  const paths = await pathsWith(file.path, place, host.journal);
  if (paths === undefined) {
    if (place.isEnd) return place.sequence;
    const why = `The file in which the last lines were is not there any more, or has become shorter`;
    return goOnBehind(place.sequence, file, why, host);
  }
  const lines = await WrittenLines.open(paths, place.offset);
  try {
    const sequence = await follow(lines, place, host.journal);
    await lines.persist();
    if (lines.isAtEnd()) return sequence;
    if (lines.isInNewestFile && (await lines.isTorn())) {
      await file.cutTo(lines.position);
      return sequence;
    }
    const why = `There are lines behind that of sequence ${sequence} that are not the journal's`;
    return goOnBehind(sequence, file, why, host);
  } finally {
    await lines.close();
  }
}

function goOnBehind(sequence: number, { path }: LineFile, why: string, host: Host): number {
  const { durable } = host.journal;
  if (durable > sequence) {
    host.log.warning(
      `${why}. ${path} is completed from the journal, sequences ${sequence + 1} to ${durable}; some of these lines may exist already.`,
    );
  }
  return sequence;
}

/** Passes over the lines of the records behind the place, as far as they are there; answers the last one's sequence. */
async function follow(lines: WrittenLines, place: Place, journal: HostJournal): Promise<number> {
  const lowest = LEVELS.indexOf(place.level);
  let last = place.sequence;
  for (let from = last + 1; !lines.isAtEnd();) {
    const { to, records } = await journal.read({ from, type: "system_log" });
    if (to < from) break;
    from = to + 1;
    for (let index = 0; index < (records?.length ?? 0); index++) {
      if (LEVELS.indexOf(records!.level(index)) < lowest) continue;
      if (!(await lines.take(records!.data(index)))) return last;
      last = records!.sequence(index);
    }
  }
  return last;
}

interface FoundFile {
  readonly path: string;
  /** 0 for the file itself, 1 for `.1`. */
  readonly backup: number;
  readonly stats: Stats;
}

/**
 * The file with the place and the newer ones of its rotation, the oldest first; undefined if the place is in none. A
 * copy of the file has another inode, perhaps that of another file: then the line before the place tells it.
 */
async function pathsWith(
  path: string,
  place: Place,
  journal: HostJournal,
): Promise<string[] | undefined> {
  const files = (await filesOf(path)).sort((one, other) => other.backup - one.backup);
  const long = files.filter(({ stats }) => stats.size >= place.offset);
  const line = await lineBefore(place, journal);
  const isSame = ({ stats }: FoundFile): boolean =>
    stats.ino === place.inode && stats.dev === place.device;
  const likely: FoundFile[] = [];
  const unlikely: FoundFile[] = [];
  for (const file of long) {
    const older = files[files.indexOf(file) - 1];
    const isLikely = line && (await follows(file, older, line, place.offset));
    if (isLikely !== undefined) (isLikely ? likely : unlikely).push(file);
  }
  const same = long.find(isSame);
  // Many lines may be alike: another file counts only if this one cannot be it.
  const placed = same && !unlikely.includes(same) ? same : (likely[0] ?? same);
  return placed && files.slice(files.indexOf(placed)).map((one) => one.path);
}

/**
 * Whether the line ends at that offset of the file; at its beginning, whether it ends the older file, and undefined if
 * that is gone.
 */
async function follows(
  file: FoundFile,
  older: FoundFile | undefined,
  line: Buffer,
  offset: number,
): Promise<boolean | undefined> {
  if (offset > 0) return endsAt(file.path, offset, line);
  return older && endsAt(older.path, older.stats.size, line);
}

async function endsAt(path: string, end: number, line: Buffer): Promise<boolean> {
  if (line.length > end) return false;
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const bytes = Buffer.alloc(line.length);
  await handle.read(bytes, 0, bytes.length, end - bytes.length);
  return bytes.equals(line);
}

async function filesOf(path: string): Promise<FoundFile[]> {
  const directory = dirname(path);
  const found: FoundFile[] = [];
  for (const name of await readdir(directory)) {
    const backup = backupOf(name, basename(path));
    if (backup === undefined) continue;
    const stats = await lstat(join(directory, name)).catch(() => undefined);
    if (stats?.isFile()) found.push({ path: join(directory, name), backup, stats });
  }
  return found;
}

/** The line of the newest record up to the place, with its line feed; undefined if that cannot be read. */
async function lineBefore(place: Place, journal: HostJournal): Promise<Buffer | undefined> {
  const lowest = LEVELS.indexOf(place.level);
  for (let from = place.sequence; from > 0;) {
    const page = await journal.read({ from, order: "desc", type: "system_log" });
    const { records, gaps } = page;
    if (page.to < page.from || gaps.length > 0) return undefined;
    for (let index = (records?.length ?? 0) - 1; index >= 0; index--) {
      if (LEVELS.indexOf(records!.level(index)) < lowest) continue;
      return Buffer.concat([records!.data(index), LINE_END]);
    }
    from = page.from - 1;
  }
  return undefined;
}

/** 0 for the file itself, 1 for `.1`; undefined for names of others. */
function backupOf(name: string, base: string): number | undefined {
  if (name === base) return 0;
  if (!name.startsWith(`${base}.`)) return undefined;
  const suffix = name.slice(base.length + 1);
  return /^[1-9]\d{0,3}$/.test(suffix) ? Number(suffix) : undefined;
}
