import { lstat, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LEVELS, type Host, type HostJournal } from "tailgate/plugin";
import type { LineFile } from "./line-file.ts";
import type { Place } from "./place.ts";
import { WrittenLines } from "./written-lines.ts";

/**
 * The sequence of the newest system log whose line is in the file or in one that a rotation has moved away. The lines
 * behind the place are compared with the journal, byte for byte. A line that a crash has torn is cut off: the journal
 * has it. Where the files have become others than they were left, no record is left out.
 */
export async function lastWritten(file: LineFile, place: Place, host: Host): Promise<number> {
  const paths = await pathsFrom(file.path, place);
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

/** The file with the place and the newer ones of its rotation; undefined where the place is in none. */
async function pathsFrom(path: string, place: Place): Promise<string[] | undefined> {
  const directory = dirname(path);
  const found: { path: string; backup: number }[] = [];
  let placed = -1;
  for (const name of await readdir(directory)) {
    const backup = backupOf(name, basename(path));
    if (backup === undefined) continue;
    const stats = await lstat(join(directory, name)).catch(() => undefined);
    if (!stats?.isFile()) continue;
    found.push({ path: join(directory, name), backup });
    const isPlaced = stats.ino === place.inode && stats.dev === place.device;
    if (isPlaced && stats.size >= place.offset) placed = backup;
  }
  if (placed < 0) return undefined;
  const newer = found.filter(({ backup }) => backup <= placed);
  return newer.sort((one, other) => other.backup - one.backup).map((one) => one.path);
}

/** 0 for the file itself, 1 for `.1`; undefined for names of others. */
function backupOf(name: string, base: string): number | undefined {
  if (name === base) return 0;
  if (!name.startsWith(`${base}.`)) return undefined;
  const suffix = name.slice(base.length + 1);
  return /^[1-9]\d{0,3}$/.test(suffix) ? Number(suffix) : undefined;
}
