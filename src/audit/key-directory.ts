/** Whether the directory of the keys is one in which other users could replace them. */

import type { Stats } from "node:fs";
import { lstat, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_ALL = 0o002;

/** In a directory with this bit, users can rename and delete only files of their own. */
const STICKY = 0o1000;

const ROOT_UID = 0;

/**
 * Returns in which directory other users could replace a key, or the public keys beside it, and why; undefined if they
 * cannot. The directories above its own must not let them replace that one: there a sticky bit is enough, and a group
 * that is the user's own one is fine. `owner`: the user who may write, besides root.
 */
export async function threatTo(
  keyFile: string,
  owner = process.getuid?.(),
): Promise<string | undefined> {
  if (owner === undefined) return undefined;
  const directory = resolve(dirname(keyFile));
  const real = await realpath(directory).catch(() => undefined);
  const all = [...ancestorsOf(directory), ...ancestorsOf(await nearestRealPath(directory))];
  for (const one of new Set(all)) {
    const stats = await lstat(one).catch(() => undefined);
    const isOfKey = one === directory || one === real;
    const why = stats && (ownerThreat(stats, isOfKey, owner) ?? modeThreat(stats, isOfKey));
    if (why !== undefined) return `${one}, which ${why}`;
  }
  return undefined;
}

function ownerThreat(stats: Stats, isOfKey: boolean, owner: number): string | undefined {
  const { uid } = stats;
  if (!isOfKey && !stats.isSymbolicLink()) return undefined;
  if (uid === owner || uid === ROOT_UID) return undefined;
  return `belongs to another user (uid ${uid})`;
}

function modeThreat(stats: Stats, isOfKey: boolean): string | undefined {
  if (stats.isSymbolicLink() || (!isOfKey && stats.mode & STICKY)) return undefined;
  const isOfOwnGroup = !isOfKey && stats.gid === process.getgid!();
  const unwanted = isOfOwnGroup ? WRITABLE_BY_ALL : WRITABLE_BY_GROUP | WRITABLE_BY_ALL;
  if ((stats.mode & unwanted) === 0) return undefined;
  const mode = (stats.mode & 0o7777).toString(8).padStart(4, "0");
  return `other users can write (mode ${mode})`;
}

function ancestorsOf(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [path] : [path, ...ancestorsOf(parent)];
}

/** The real path of the directory or, where it is not there, of the nearest one above that is. */
export async function nearestRealPath(path: string): Promise<string> {
  const found = await realpath(path).catch(() => undefined);
  const parent = dirname(path);
  return found ?? (parent === path ? path : nearestRealPath(parent));
}

/** The real path that the directory has or, if it is not there yet, will have. */
export async function futureRealPath(path: string): Promise<string> {
  const found = await realpath(path).catch(() => undefined);
  const parent = dirname(path);
  if (found !== undefined || parent === path) return found ?? path;
  return join(await futureRealPath(parent), basename(path));
}
