import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { LEVELS, type HostJournal } from "tailgate/plugin";
import type { Place } from "./place.ts";

/** Far more than is written between two syncs; beyond it, it is not worth the memory. */
const BYTES_MAX = 64 << 20;

/**
 * Writes the lines between two places of a file once more, over themselves, as the journal has them. After a sync that
 * failed they may be missing on the disk, and the kernel takes them for written: another sync would report success
 * without them (fsync(2), EIO). Answers false where the file has something else there, which is left as it is, and where
 * not all could be written.
 */
export async function writeLinesAgain(
  path: string,
  from: Place,
  to: Place,
  journal: HostJournal,
): Promise<boolean> {
  const bytes = to.offset - from.offset;
  if (from.device !== to.device || from.inode !== to.inode || bytes > BYTES_MAX) return false;
  const lines = await linesBetween(from, to, journal);
  if (lines.length !== bytes) return false;
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const { dev, ino, size } = await handle.stat();
    if (dev !== to.device || ino !== to.inode || size < to.offset) return false;
    const { bytesWritten } = await handle.write(lines, 0, bytes, from.offset);
    return bytesWritten === bytes;
  } finally {
    await handle.close();
  }
}

/** The lines of the records behind a place up to another, those below the place's level left out. */
async function linesBetween(from: Place, to: Place, journal: HostJournal): Promise<Buffer> {
  const lowest = LEVELS.indexOf(to.level);
  const parts: Uint8Array[] = [];
  for (let next = from.sequence + 1; next <= to.sequence;) {
    const page = await journal.read({ from: next, type: "system_log" });
    if (page.to < next) break;
    next = page.to + 1;
    for (let index = 0; index < (page.records?.length ?? 0); index++) {
      if (page.records!.sequence(index) > to.sequence) break;
      if (LEVELS.indexOf(page.records!.level(index)) < lowest) continue;
      // A copy: the bytes are in memory that the journal uses again.
      parts.push(Buffer.from(page.records!.data(index)), LINE_END);
    }
  }
  return Buffer.concat(parts);
}

const LINE_END = Buffer.from("\n");
