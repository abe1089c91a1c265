/** Where the key files are, whether other users could replace them, and how they are written. */

import { randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { lstat, open, realpath, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { userConfigFile } from "../runtime/config-dir.ts";

const DEFAULT_NAME = "audit-key.pem";

/** Returns the default path of the private key; undefined for a user without a home directory. */
export function defaultKeyFile(env: NodeJS.ProcessEnv): string | undefined {
  return userConfigFile(env, DEFAULT_NAME);
}

/** Returns the path of the public key of a private one: `audit-key.pub.pem` for `audit-key.pem`. */
export function publicKeyFile(keyFile: string): string {
  return `${keyFile.replace(/\.pem$/, "")}.pub.pem`;
}

/** Writes a synced temporary file beside `path` and returns its path. */
export async function writeTemporary(path: string, text: string, mode: number): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    await using handle = await open(temporary, flags, mode);
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return temporary;
}

const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_ALL = 0o002;

/** In a directory with this bit, users can rename and delete only their own files. */
const STICKY = 0o1000;

const ROOT_UID = 0;

/**
 * Returns in which directory other users could replace the key or the public keys beside it, and why; undefined if they
 * cannot. The parent directories must not allow them to replace the key's directory: there, a sticky bit is sufficient,
 * and write access for the user's own group is acceptable. `owner`: the user who may write, besides root.
 */
export async function findKeyThreat(
  keyFile: string,
  owner = process.getuid?.(),
): Promise<string | undefined> {
  if (owner === undefined) return undefined;
  const directory = resolve(dirname(keyFile));
  const real = await realpath(directory).catch(() => undefined);
  const all = [...withAncestors(directory), ...withAncestors(await nearestRealPath(directory))];
  for (const one of new Set(all)) {
    const stats = await lstat(one).catch(() => undefined);
    const holdsKey = one === directory || one === real;
    const why = stats && (ownerThreat(stats, holdsKey, owner) ?? modeThreat(stats, holdsKey));
    if (why !== undefined) return `${one}, which ${why}`;
  }
  return undefined;
}

function ownerThreat(stats: Stats, holdsKey: boolean, owner: number): string | undefined {
  const { uid } = stats;
  if (!holdsKey && !stats.isSymbolicLink()) return undefined;
  if (uid === owner || uid === ROOT_UID) return undefined;
  return `belongs to another user (uid ${uid})`;
}

function modeThreat(stats: Stats, holdsKey: boolean): string | undefined {
  if (stats.isSymbolicLink() || (!holdsKey && stats.mode & STICKY)) return undefined;
  const isOwnGroup = !holdsKey && stats.gid === process.getgid!();
  const unwanted = isOwnGroup ? WRITABLE_BY_ALL : WRITABLE_BY_GROUP | WRITABLE_BY_ALL;
  if ((stats.mode & unwanted) === 0) return undefined;
  const mode = (stats.mode & 0o7777).toString(8).padStart(4, "0");
  return `other users can write (mode ${mode})`;
}

function withAncestors(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [path] : [path, ...withAncestors(parent)];
}

/** Returns the real path of the directory, or of its nearest ancestor that exists. */
export async function nearestRealPath(path: string): Promise<string> {
  const found = await realpath(path).catch(() => undefined);
  const parent = dirname(path);
  return found ?? (parent === path ? path : nearestRealPath(parent));
}

/** Returns the real path that the directory has or, if it does not exist yet, will have. */
export async function futureRealPath(path: string): Promise<string> {
  const found = await realpath(path).catch(() => undefined);
  const parent = dirname(path);
  if (found !== undefined || parent === path) return found ?? path;
  return join(await futureRealPath(parent), basename(path));
}
