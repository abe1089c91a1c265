import { constants } from "node:fs";
import { access, lstat, mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { TailgateError, textOf } from "./errors.ts";

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
  const stats = await lstat(path);
  if (stats.isSymbolicLink()) throw unusable(path, "is a symbolic link");
  if (!stats.isDirectory()) throw unusable(path, "is not a directory");
  if (process.getuid && stats.uid !== process.getuid())
    throw unusable(path, "belongs to another user");
  if (stats.mode & WRITABLE_BY_ALL) throw unusable(path, "can be written by every user");
  await access(path, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw unusable(path, "cannot be written", error);
  });
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
