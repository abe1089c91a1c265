import {
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  statfsSync,
  statSync,
  writeFileSync,
  type Stats,
} from "node:fs";
import { access, lstat, mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";

/** The prefixes of the journal's files: journal.db, journal.lock and so on, and history.db with its log. */
const JOURNAL_PREFIXES = ["journal.", "history.db"];

/** Whether a name in the log directory is that of a file of the journal. */
export function isJournalFile(name: string): boolean {
  return JOURNAL_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/**
 * Returns the real path of a log directory that systemd has made for the service: with `DynamicUser=yes` its path is a
 * symbolic link into a directory that only root can change. Any other path is returned as it is.
 */
export function followServiceLink(
  path: string,
  { LOGS_DIRECTORY = "" }: NodeJS.ProcessEnv,
): string {
  if (!LOGS_DIRECTORY.split(":").includes(path)) return path;
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/**
 * Ensures that the log directory exists and is safe to write to: owned by this user, not a symbolic link, not writable by
 * everyone. Creates it with mode 0700.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export async function prepareLogDir(path: string): Promise<void> {
  await makeDirectory(path).catch((error: unknown) => throwUncreatable(path, error));
  await checkSafe(path, await lstat(path));
}

/**
 * Like {@link prepareLogDir}, but creates nothing: a missing directory must be one that can be created.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export async function checkLogDir(path: string): Promise<void> {
  await checkCreatable(path).catch((error: unknown) => throwUncreatable(path, error));
  const stats = await lstat(path).catch(() => undefined);
  if (stats !== undefined) await checkSafe(path, stats);
}

/**
 * Checks that a directory exists or can be created.
 * @throws Error
 */
export async function checkCreatable(path: string): Promise<void> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT" || dirname(path) === path) throw error;
    return undefined;
  });
  if (stats !== undefined && !stats.isDirectory()) {
    throw new Error(`EEXIST: ${path} exists and is not a directory`);
  }
  if (stats !== undefined) return;
  const parent = dirname(path);
  await checkCreatable(parent);
  if (await exists(path)) throw new Error(`${path} is a dangling symbolic link`);
  if (await exists(parent)) await access(parent, constants.W_OK | constants.X_OK);
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function checkSafe(path: string, stats: Stats): Promise<void> {
  rejectUnsafe(path, stats);
  await access(path, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw unusable(path, "cannot be written", error);
  });
}

/**
 * Recreates the log directory if it was removed, as safe as {@link prepareLogDir} makes it.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export function restoreLogDir(path: string): void {
  let failure: unknown;
  try {
    makeDirectorySync(path);
  } catch (error) {
    failure = error;
  }
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) {
    throw unusable(path, `was removed and cannot be created (${textOf(failure)})`, failure);
  }
  rejectUnsafe(path, stats);
}

function rejectUnsafe(path: string, stats: Stats): void {
  if (stats.isSymbolicLink()) throw unusable(path, "is a symbolic link");
  if (!stats.isDirectory()) throw unusable(path, "is not a directory");
  const isOthers = process.getuid !== undefined && stats.uid !== process.getuid();
  if (isOthers) throw unusable(path, "belongs to another user");
  if (stats.mode & 0o002) throw unusable(path, "is writable by all users");
}

/**
 * Checks that a folder in the log directory is a directory, or does not exist.
 * @throws TailgateError LOG_DIR_UNUSABLE
 */
export async function checkFolder(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined || stats.isDirectory()) return;
  const text = `${path} is not a directory, so nothing could be written to it. Move it away.`;
  throw new TailgateError("LOG_DIR_UNUSABLE", text);
}

/** Returns the size of the journal's files in bytes; undefined if it cannot be read. */
export function readJournalBytes(logDir: string): number | undefined {
  try {
    let bytes = 0;
    for (const name of readdirSync(logDir)) {
      if (!isJournalFile(name)) continue;
      bytes += statSync(join(logDir, name), { throwIfNoEntry: false })?.size ?? 0;
    }
    return bytes;
  } catch {
    return undefined;
  }
}

/** Returns the disk space that is available to this user in bytes; undefined if it cannot be read. */
export function readFreeBytes(path: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** The magic numbers of file systems in memory on Linux (statfs(2)). */
const IN_MEMORY = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
]);

/** Systems clear /tmp at boot or after some days. */
const DEFAULT_LOG_DIR = "/tmp/madrox_logs";

/** Returns a notice about a log directory that a reboot clears, if it is one. `type` is that of its file system. */
export function volatileNotice(logDir: string, type: number): string | undefined {
  const memory = IN_MEMORY.get(type);
  const isDefault = logDir === DEFAULT_LOG_DIR;
  if (memory === undefined && !isDefault) return undefined;
  const where = memory === undefined ? "under /tmp" : `in memory (${memory})`;
  return `The log directory ${logDir} is ${where} and does not survive a reboot. To keep the logs, set log_dir to a directory on a disk.`;
}

/** Creates the directory and its missing parents. (Node's own `recursive` option never returns under /proc.) */
async function makeDirectory(path: string): Promise<void> {
  const failure = await tryMkdir(path);
  if (failure?.code !== "ENOENT") return throwUnlessDirectory(failure, path);
  const parent = dirname(path);
  if (parent === path) throw failure;
  await makeDirectory(parent);
  await throwUnlessDirectory(await tryMkdir(path), path);
}

/**
 * Creates the directory and its missing parents, unless it exists. (Node's own `recursive` option never returns in a
 * directory that was removed, such as the volume of a container.)
 */
function makeDirectorySync(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path) throw error;
    makeDirectorySync(parent);
    mkdirSync(path, { mode: 0o700 });
  }
}

async function tryMkdir(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return mkdir(path, { mode: 0o700 }).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );
}

async function throwUnlessDirectory(
  failure: NodeJS.ErrnoException | undefined,
  path: string,
): Promise<void> {
  if (failure && !(await stat(path).catch(() => undefined))?.isDirectory()) throw failure;
}

function throwUncreatable(path: string, error: unknown): never {
  throw unusable(path, `cannot be created (${textOf(error)})`, error);
}

function unusable(path: string, why: string, cause?: unknown): TailgateError {
  return new TailgateError("LOG_DIR_UNUSABLE", `The log directory ${path} ${why}.`, { cause });
}

const OVERWRITE_FLAGS =
  constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/** Writes a file with mode 0600; follows no link in its place. */
export function overwriteFile(path: string, content: string | Uint8Array, isSynced: boolean): void {
  const file = openSync(path, OVERWRITE_FLAGS, 0o600);
  try {
    writeFileSync(file, content);
    if (isSynced) fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
