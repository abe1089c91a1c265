import { truncate } from "node:fs/promises";
import type { Gap, Host, HostJournal } from "tailgate/plugin";
import { endOfFile, linesFromEnd } from "./file-end.ts";

/** What ties a line to the event in the journal. */
interface Seal {
  readonly seq: number;
  readonly hash: string;
}

/** What ends the line of an event that a durable journal has. */
const SEAL = /,"seq":(\d{1,16}),"hash":"([0-9a-f]{64})"\}$/;
const SEAL_BYTES_MAX = 7 + 16 + 9 + 64 + 2;

/** The newest events of the files: of all, and of those that are in the journal. */
interface Newest {
  readonly last?: Seal;
  readonly known?: Seal;
}

/**
 * Returns the sequence of the newest event that the audit files and the journal have; undefined if there is none, for
 * example because the journal was deleted and sequences began again. Lines without a seal are passed over, such as those of a
 * gateway whose journal is in memory, or of another program; so are events that an older copy of the journal lacks. A
 * line that a crash has torn is removed if the journal has the event. `paths`: the files that are not empty,
 * the newest first.
 */
export async function lastEvent(paths: readonly string[], host: Host): Promise<number | undefined> {
  const { journal, log } = host;
  const { last, known } = await newestSeals(paths, journal);
  await cutTornLine(paths[0], (known ?? last)?.seq ?? 0, journal);
  if (last !== undefined && last !== known) {
    log.warning(
      known === undefined
        ? `The newest audit event in the files, with seq ${last.seq}, is not in the journal: the files go on where the journal says.`
        : `The audit files have events up to seq ${last.seq}, and the journal ends with ${journal.durable}: it is an older copy, or has lost the others. New events follow seq ${known.seq} in the chain.`,
    );
  }
  return known?.seq;
}

/** An event whose record cannot be read any more is known if the one before it in the files is. */
async function newestSeals(paths: readonly string[], journal: HostJournal): Promise<Newest> {
  const { durable } = journal;
  let last: Seal | undefined;
  let unreadable: Seal | undefined;
  let gap: Gap | undefined;
  for await (const seal of sealsFromEnd(paths)) {
    last ??= seal;
    if (durable === 0) break;
    if (seal.seq > durable || covers(gap, seal)) continue;
    const { records, gaps } = await journal.read({
      from: seal.seq,
      order: "desc",
      type: "audit_log",
    });
    const index = (records?.length ?? 0) - 1;
    if (index >= 0 && records!.sequence(index) === seal.seq) {
      return records!.hash(index) === seal.hash ? { last, known: unreadable ?? seal } : { last };
    }
    gap = gaps.find((one) => covers(one, seal));
    if (gap === undefined) break;
    unreadable ??= seal;
  }
  if (last === undefined) return {};
  return unreadable === undefined ? { last } : { last, known: unreadable };
}

function covers(gap: Gap | undefined, { seq }: Seal): boolean {
  return gap !== undefined && gap.from <= seq && seq <= gap.to;
}

async function* sealsFromEnd(paths: readonly string[]): AsyncGenerator<Seal> {
  for (const path of paths) {
    for await (const line of linesFromEnd(path)) {
      const seal = sealOf(line);
      if (seal !== undefined) yield seal;
    }
  }
}

function sealOf(line: Buffer): Seal | undefined {
  const tail = line.toString("latin1", Math.max(0, line.length - SEAL_BYTES_MAX));
  const match = SEAL.exec(tail);
  return match === null ? undefined : { seq: Number(match[1]), hash: match[2]! };
}

/** Only the beginning of the line that comes next is cut off; anything else stays, on a line of its own. */
async function cutTornLine(
  path: string | undefined,
  sequence: number,
  journal: HostJournal,
): Promise<void> {
  if (path === undefined) return;
  const { torn, wholeBytes } = await endOfFile(path);
  if (torn.length === 0) return;
  const line = await nextLine(journal, sequence + 1);
  if (line?.subarray(0, torn.length).equals(torn)) await truncate(path, wholeBytes);
}

async function nextLine(journal: HostJournal, sequence: number): Promise<Buffer | undefined> {
  for (let from = sequence; ;) {
    const { to, records } = await journal.read({ from, type: "audit_log" });
    if (records !== undefined) return Buffer.from(records.auditLine(0));
    if (to < from) return undefined;
    from = to + 1;
  }
}
