import { truncate } from "node:fs/promises";
import type { Host, HostJournal } from "tailgate/plugin";
import { endOfFile } from "./file-end.ts";

/** What ties a line to the event in the journal. */
interface Seal {
  readonly seq: number;
  readonly hash: string;
}

/**
 * The sequence of the newest event that the audit files have; undefined where their last line has none, or is not of
 * this journal: where that was deleted, say, and sequences have begun again. The end of a line that a crash has torn is
 * cut off where the journal has the event. `paths`: the files that are not empty, the newest first.
 */
export async function lastEvent(paths: readonly string[], host: Host): Promise<number | undefined> {
  const { journal } = host;
  const seal = await lastSeal(paths);
  await cutTornLine(paths[0], seal?.seq ?? 0, journal);
  if (seal === undefined) return undefined;
  if (await isOf(journal, seal)) return seal.seq;
  host.log.warning(
    `The newest audit event in the files, with seq ${seal.seq}, is not in the journal: the files go on where the journal says.`,
  );
  return undefined;
}

async function lastSeal(paths: readonly string[]): Promise<Seal | undefined> {
  for (const path of paths) {
    const { lastLine } = await endOfFile(path);
    if (lastLine !== undefined) return sealOf(lastLine);
  }
  return undefined;
}

/** Lines of events that were not in a durable journal have none. */
function sealOf(line: Buffer): Seal | undefined {
  try {
    const { seq, hash } = JSON.parse(line.toString()) as Partial<Seal>;
    return Number.isSafeInteger(seq) && typeof hash === "string" ? { seq: seq!, hash } : undefined;
  } catch {
    return undefined;
  }
}

async function isOf(journal: HostJournal, { seq, hash }: Seal): Promise<boolean> {
  const { records } = await journal.read({ from: seq, type: "audit_log" });
  return records?.sequence(0) === seq && records.hash(0) === hash;
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
