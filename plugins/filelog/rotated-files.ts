import type { BigIntStats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { inodeOf } from "./position.ts";

/** A file with a name that programs give to rotated files. */
export interface RotatedFile {
  readonly path: string;
  readonly inode: string;
  readonly stats: BigIntStats;
  /** When it was created, in milliseconds since 1970; 0 if the file system does not tell. */
  readonly bornMs: number;
}

/** Numbers and dates: `.1`, `-20251013`, `.2025-10-13_09:27`. */
const ROTATED = /^[.-]\d[\d.\-_:T]*$/;

/** Clocks of file systems are up to a tick behind. */
const CLOCK_SLACK_MS = 100;

/** Whether a name is that of a rotated file: `app.log.1`, `app.log-20251013` or `app-20251013.log` of `app.log`. */
export function isRotatedNameOf(name: string, original: string): boolean {
  if (name.startsWith(original)) return ROTATED.test(name.slice(original.length));
  const dot = original.lastIndexOf(".");
  if (dot <= 0 || !name.startsWith(original.slice(0, dot))) return false;
  const extension = original.slice(dot);
  return (
    name.length > original.length &&
    name.endsWith(extension) &&
    ROTATED.test(name.slice(dot, name.length - extension.length))
  );
}

/** A directory in which files are renamed again and again is searched so often. */
const SEARCHES_MAX = 5;

/** Returns the rotated files beside a path, the oldest first. */
export async function rotatedFiles(path: string): Promise<RotatedFile[]> {
  let files = await listFiles(path);
  // A file that is renamed during a search may not be found by it.
  for (let searches = 1; searches < SEARCHES_MAX; searches++) {
    const again = await listFiles(path);
    const isStable = namesOf(files) === namesOf(again);
    files = again;
    if (isStable) break;
  }
  return files;
}

function namesOf(files: readonly RotatedFile[]): string {
  return files.map(({ path, inode }) => `${inode} ${path}`).join();
}

async function listFiles(path: string): Promise<RotatedFile[]> {
  const directory = dirname(path);
  const names = await readdir(directory);
  const rotated = names.filter((name) => isRotatedNameOf(name, basename(path)));
  const files = await Promise.all(rotated.map((name) => rotatedFile(join(directory, name))));
  return files.filter((file) => file !== undefined).sort(byAge);
}

const NUMBER = /\.(\d{1,9})$/;

/** Orders rotated files from old to new: `.2` is older than `.1`; other names do not tell, but the time of creation does. */
function byAge(one: RotatedFile, other: RotatedFile): number {
  const number = NUMBER.exec(one.path)?.[1];
  const otherNumber = NUMBER.exec(other.path)?.[1];
  const hasNumbers = number !== undefined && otherNumber !== undefined;
  return hasNumbers ? Number(otherNumber) - Number(number) : one.bornMs - other.bornMs;
}

async function rotatedFile(path: string): Promise<RotatedFile | undefined> {
  try {
    const stats = await stat(path, { bigint: true });
    if (!stats.isFile()) return undefined;
    const bornMs = Number(stats.birthtimeMs) + CLOCK_SLACK_MS;
    return { path, inode: inodeOf(stats), stats, bornMs };
  } catch {
    // It was deleted or renamed in the meantime.
    return undefined;
  }
}
