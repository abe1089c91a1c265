import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { checkpointLine, parseCheckpointLine, type Checkpoint } from "./checkpoint.ts";

/** The directory of the audit trail, within the log directory. */
export const AUDIT_DIRECTORY = "audit";

export const CHECKPOINTS_NAME = "checkpoints.jsonl";

const APPEND_FLAGS =
  constants.O_WRONLY |
  constants.O_CREAT |
  constants.O_APPEND |
  constants.O_NOFOLLOW |
  constants.O_NONBLOCK;
export const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const NEW_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** All checkpoints of the newest days are retained; of each earlier day the last one, which signs its last event. */
const COMPLETE_DAYS = 2;

/**
 * The file `audit/checkpoints.jsonl`. It is opened for each line, so that it can be moved or deleted at any time without
 * losing the next one. Call `compact` at startup and when a day is over, and `append` in between.
 */
export class CheckpointFile {
  readonly #directory: string;
  readonly #path: string;

  constructor(logDir: string) {
    this.#directory = join(logDir, AUDIT_DIRECTORY);
    this.#path = join(this.#directory, CHECKPOINTS_NAME);
  }

  /** Resolves when the line and its directory entry are durable. */
  async append(checkpoint: Checkpoint): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: DIRECTORY_MODE });
    await using handle = await open(this.#path, APPEND_FLAGS, FILE_MODE);
    const { size } = await handle.stat();
    try {
      await handle.writeFile(`${checkpointLine(checkpoint)}\n`);
      await handle.datasync();
    } catch (error) {
      // A partial line would look as if someone had changed it.
      await handle.truncate(size).catch(() => {});
      throw error;
    }
    await this.#syncDirectory();
  }

  /** Like `append`, for when the process exits. */
  appendSync(checkpoint: Checkpoint): void {
    mkdirSync(this.#directory, { recursive: true, mode: DIRECTORY_MODE });
    const file = openSync(this.#path, APPEND_FLAGS, FILE_MODE);
    try {
      writeSync(file, `${checkpointLine(checkpoint)}\n`);
      fdatasyncSync(file);
    } finally {
      closeSync(file);
    }
    const directory = openSync(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
    fsyncSync(directory);
    closeSync(directory);
  }

  /** Returns the newest checkpoint; undefined if there is none, or if the file cannot be read. */
  newestSync(): Checkpoint | undefined {
    try {
      const text = readFileSync(this.#path, { encoding: "utf8", flag: READ_FLAGS as never });
      const lines = text.split("\n").slice(0, -1);
      return lines.map(parseCheckpointLine).findLast((checkpoint) => checkpoint !== undefined);
    } catch {
      return undefined;
    }
  }

  /**
   * Deletes lines that are no longer needed, and a partial line that a crash has left. Retains lines that are not
   * checkpoints. Returns the remaining checkpoints, the oldest first.
   */
  async compact(): Promise<Checkpoint[]> {
    const text = await this.#read();
    const lines = retainedLines(text.split("\n").slice(0, -1));
    const compacted = lines.map((line) => `${line}\n`).join("");
    if (compacted !== text) await this.#replace(compacted);
    return lines.map(parseCheckpointLine).filter((checkpoint) => checkpoint !== undefined);
  }

  async #read(): Promise<string> {
    try {
      await using handle = await open(this.#path, READ_FLAGS);
      return await handle.readFile("utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
      throw error;
    }
  }

  async #replace(text: string): Promise<void> {
    const temporary = `${this.#path}.new`;
    await rm(temporary, { force: true });
    {
      await using handle = await open(temporary, NEW_FLAGS, FILE_MODE);
      await handle.writeFile(text);
      await handle.sync();
    }
    await rename(temporary, this.#path);
    await this.#syncDirectory();
  }

  async #syncDirectory(): Promise<void> {
    await using directory = await open(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
    await directory.sync();
  }
}

function retainedLines(lines: readonly string[]): string[] {
  const days = lines.map((line) => parseCheckpointLine(line)?.day);
  const lastIndexes = new Map(days.map((day, index) => [day, index]));
  const known = [...lastIndexes.keys()].filter((day) => day !== undefined);
  const complete = new Set(known.slice(-COMPLETE_DAYS));
  return lines.filter((_, index) => {
    const day = days[index];
    return day === undefined || lastIndexes.get(day) === index || complete.has(day);
  });
}
