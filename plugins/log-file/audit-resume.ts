import { truncate } from "node:fs/promises";
import type { Gap, Host, HostJournal } from "tailgate/plugin";
import { endOfFile, linesFromEnd } from "./file-end.ts";

/** The end of an audit line, which identifies the event in the journal. */
interface LineSeal {
  readonly seq: number;
  readonly hash: string;
}

/** Ends the line of each event from a durable journal. */
const SEAL = /,"seq":(\d{1,16}),"hash":"([0-9a-f]{64})"\}$/;
const SEAL_BYTES_MAX = 7 + 16 + 9 + 64 + 2;

/** The newest event in the files, and the newest of those that are also in the journal. */
interface NewestSeals {
  readonly last?: LineSeal;
  readonly known?: LineSeal;
}

/**
 * Returns the sequence of the newest event that is in both the audit files and the journal; undefined if there is none,
 * for example because the journal was deleted and sequences started again. Skips lines without a seal, such as those of
 * another program or of a gateway whose journal is in memory, and events that an older copy of the journal lacks.
 * Removes a line torn by a crash if the journal has the event. `paths`: the files that are not empty, the newest first.
 */
export async function findLastEvent(
  paths: readonly string[],
  host: Host,
): Promise<number | undefined> {
  const { journal, log } = host;
  const { last, known } = await findNewestSeals(paths, journal);
  await cutTornLine(paths[0], (known ?? last)?.seq ?? 0, journal);
  if (last !== undefined && last !== known) {
    log.warning(
      known === undefined
        ? `The newest audit event in the files (seq ${last.seq}) is not in the journal. New events are written from the journal's stored cursor.`
        : `The audit files have events up to seq ${last.seq}, but the journal ends with ${journal.durable}: it is an older copy, or has lost events. New events follow seq ${known.seq} in the hash chain.`,
    );
  }
  return known?.seq;
}

/** An event whose record is no longer readable counts as known if the one before it in the files is. */
async function findNewestSeals(
  paths: readonly string[],
  journal: HostJournal,
): Promise<NewestSeals> {
  const { durable } = journal;
  let last: LineSeal | undefined;
  let unreadable: LineSeal | undefined;
  let gap: Gap | undefined;
  for await (const seal of sealsFromEnd(paths)) {
    last ??= seal;
    if (durable === 0) break;
    if (seal.seq > durable || isWithin(gap, seal)) continue;
    const { records, gaps } = await journal.read({
      from: seal.seq,
      order: "desc",
      type: "audit_log",
    });
    const index = (records?.length ?? 0) - 1;
    if (index >= 0 && records!.sequence(index) === seal.seq) {
      return records!.hash(index) === seal.hash ? { last, known: unreadable ?? seal } : { last };
    }
    gap = gaps.find((one) => isWithin(one, seal));
    if (gap === undefined) break;
    unreadable ??= seal;
  }
  if (last === undefined) return {};
  return unreadable === undefined ? { last } : { last, known: unreadable };
}

function isWithin(gap: Gap | undefined, { seq }: LineSeal): boolean {
  return gap !== undefined && gap.from <= seq && seq <= gap.to;
}

async function* sealsFromEnd(paths: readonly string[]): AsyncGenerator<LineSeal> {
  for (const path of paths) {
    for await (const line of linesFromEnd(path)) {
      const seal = parseSeal(line);
      if (seal !== undefined) yield seal;
    }
  }
}

function parseSeal(line: Buffer): LineSeal | undefined {
  const tail = line.toString("latin1", Math.max(0, line.length - SEAL_BYTES_MAX));
  const match = SEAL.exec(tail);
  return match === null ? undefined : { seq: Number(match[1]), hash: match[2]! };
}

/** Removes a torn line only if it is the beginning of the next one. Anything else remains, as a line of its own. */
async function cutTornLine(
  path: string | undefined,
  sequence: number,
  journal: HostJournal,
): Promise<void> {
  if (path === undefined) return;
  const { torn, completeBytes } = await endOfFile(path);
  if (torn.length === 0) return;
  const line = await readNextLine(journal, sequence + 1);
  if (line?.subarray(0, torn.length).equals(torn)) await truncate(path, completeBytes);
}

async function readNextLine(journal: HostJournal, sequence: number): Promise<Buffer | undefined> {
  for (let from = sequence; ;) {
    const { to, records } = await journal.read({ from, type: "audit_log" });
    if (records !== undefined) return Buffer.from(records.auditLine(0));
    if (to < from) return undefined;
    from = to + 1;
  }
}
