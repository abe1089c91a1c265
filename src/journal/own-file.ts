import { closeSync, constants, fsyncSync, lstatSync, openSync } from "node:fs";
import { dirname } from "node:path";

const CREATE_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Makes an empty file for us alone where there is none. One that is there is not opened: see {@link WriteLock}. Throws
 * where a link or something else that is no file is in the way.
 */
export function makeOwnFile(path: string): void {
  try {
    closeSync(openSync(path, CREATE_FLAGS, 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (!lstatSync(path).isFile())
      throw new Error(`${path} is not a regular file`, { cause: error });
    return;
  }
  // Its name has to outlast a power failure as surely as what will be in it; so has that of a directory that is new.
  syncDirectory(dirname(path));
  syncDirectory(dirname(dirname(path)));
}

/** A directory above that may not be read is older than this process. */
export function syncDirectory(path: string): void {
  let directory: number;
  try {
    directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return;
  }
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
