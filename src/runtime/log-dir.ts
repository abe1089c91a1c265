import {
  constants,
  lstatSync,
  mkdirSync,
  readdirSync,
  statfsSync,
  statSync,
  type Stats,
} from "node:fs";
import { access, lstat, mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";

/** The journal's files are journal.db, journal.lock and the like. */
export const JOURNAL_PREFIX = "journal.";

const WRITABLE_BY_ALL = 0o002;

/**
 * Makes sure that the log directory is there and safe to write to: ours, no link, not writable by everybody. It is
 * created with mode 0700.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export async function prepareLogDir(path: string): Promise<void> {
  try {
    await makeDirectory(path);
  } catch (error) {
    throw unusable(path, `cannot be created (${textOf(error)})`, error);
  }
  await refuseUnsafe(path, await lstat(path));
}

/**
 * The same without creating anything: a directory that is not there must be one that can be created.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export async function checkLogDir(path: string): Promise<void> {
  try {
    await checkCreatable(path);
  } catch (error) {
    throw unusable(path, `cannot be created (${textOf(error)})`, error);
  }
  const stats = await lstat(path).catch(() => undefined);
  if (stats !== undefined) await refuseUnsafe(path, stats);
}

/**
 * Checks that a directory is there or can be created.
 * @throws Error
 */
export async function checkCreatable(path: string): Promise<void> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT" || dirname(path) === path) throw error;
    return undefined;
  });
  if (stats !== undefined && !stats.isDirectory()) {
    throw new Error(`EEXIST: ${path} is there and is no directory`);
  }
  if (stats !== undefined) return;
  const parent = dirname(path);
  await checkCreatable(parent);
  if (await isThere(path)) throw new Error(`${path} is a symbolic link to nothing`);
  if (await isThere(parent)) await access(parent, constants.W_OK | constants.X_OK);
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function refuseUnsafe(path: string, stats: Stats): Promise<void> {
  const flaw = flawOf(stats);
  if (flaw !== undefined) throw unusable(path, flaw);
  await access(path, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw unusable(path, "cannot be written", error);
  });
}

/**
 * Creates the log directory again if it was removed; it is as safe as {@link prepareLogDir} makes it.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export function restoreLogDir(path: string): void {
  let failure: unknown;
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    failure = error;
  }
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) {
    throw unusable(path, `was removed and cannot be created (${textOf(failure)})`, failure);
  }
  const flaw = flawOf(stats);
  if (flaw !== undefined) throw unusable(path, flaw);
}

/** Why a directory is not safe; undefined if it is. */
function flawOf(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return "is a symbolic link";
  if (!stats.isDirectory()) return "is not a directory";
  if (process.getuid && stats.uid !== process.getuid()) return "belongs to another user";
  return stats.mode & WRITABLE_BY_ALL ? "can be written by every user" : undefined;
}

/**
 * Makes sure that nothing is in the way of a folder in the log directory.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export async function checkFolder(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined || stats.isDirectory()) return;
  const text = `${path} is not a directory: nothing could be written in it. Move it away.`;
  throw new TailgateError("LOG_DIR_UNUSABLE", text);
}

/** What the journal's files in a log directory hold; undefined if it cannot be read. */
export function readJournalBytes(logDir: string): number | undefined {
  try {
    let bytes = 0;
    for (const name of readdirSync(logDir)) {
      if (!name.startsWith(JOURNAL_PREFIX)) continue;
      bytes += statSync(join(logDir, name), { throwIfNoEntry: false })?.size ?? 0;
    }
    return bytes;
  } catch {
    return undefined;
  }
}

/** What is free for this user on the disk of a directory; undefined if it is not there. */
export function readFreeBytes(path: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** File systems that are in memory, by the number that Linux gives them (statfs(2)). */
const IN_MEMORY = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
]);

/** Systems empty /tmp at a start or after some days. */
const DEFAULT_LOG_DIR = "/tmp/madrox_logs";

/** What to tell of a log directory that a reboot empties; `type` is that of its file system. */
export function volatileNotice(logDir: string, type: number): string | undefined {
  const memory = IN_MEMORY.get(type);
  const isDefault = logDir === DEFAULT_LOG_DIR;
  if (memory === undefined && !isDefault) return undefined;
  const where = memory === undefined ? "under /tmp" : `in memory (${memory})`;
  return `The log directory ${logDir} is ${where} and not kept across reboots. To keep the logs, set log_dir to a directory on a disk.`;
}

/** Creates the directory and what is missing above it. (Node's own `recursive` never ends under /proc.) */
async function makeDirectory(path: string): Promise<void> {
  const failure = await makeOne(path);
  if (failure?.code !== "ENOENT") return throwUnlessThere(failure, path);
  const parent = dirname(path);
  if (parent === path) throw failure;
  await makeDirectory(parent);
  await throwUnlessThere(await makeOne(path), path);
}

async function makeOne(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return mkdir(path, { mode: 0o700 }).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );
}

async function throwUnlessThere(
  failure: NodeJS.ErrnoException | undefined,
  path: string,
): Promise<void> {
  if (failure && !(await stat(path).catch(() => undefined))?.isDirectory()) throw failure;
}

function unusable(path: string, why: string, cause?: unknown): TailgateError {
  return new TailgateError("LOG_DIR_UNUSABLE", `The log directory ${path} ${why}.`, { cause });
}
