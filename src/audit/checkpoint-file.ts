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

/** The folder of the audit trail in the log directory. */
export const AUDIT_DIRECTORY = "audit";

export const CHECKPOINTS_NAME = "checkpoints.jsonl";

const APPEND_FLAGS =
  constants.O_WRONLY |
  constants.O_CREAT |
  constants.O_APPEND |
  constants.O_NOFOLLOW |
  constants.O_NONBLOCK;
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const NEW_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** Of the newest days all checkpoints are kept; of each day before, the last one, which stands behind its last event. */
const WHOLE_DAYS = 2;

/**
 * `audit/checkpoints.jsonl`. It is opened anew for each line: whoever moves or deletes it does not lead the next one
 * into nothing. Its life: `tidy` at the start and when a day is over, `append` in between.
 */
export class CheckpointFile {
  readonly #directory: string;
  readonly #path: string;

  constructor(logDir: string) {
    this.#directory = join(logDir, AUDIT_DIRECTORY);
    this.#path = join(this.#directory, CHECKPOINTS_NAME);
  }

  /** Resolves when the line is on the disk, under its name. */
  async append(checkpoint: Checkpoint): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: DIRECTORY_MODE });
    await using handle = await open(this.#path, APPEND_FLAGS, FILE_MODE);
    const { size } = await handle.stat();
    try {
      await handle.writeFile(`${checkpointLine(checkpoint)}\n`);
      await handle.datasync();
    } catch (error) {
      // A line that is there in part would look like one that somebody has changed.
      await handle.truncate(size).catch(() => {});
      throw error;
    }
    await this.#syncDirectory();
  }

  /** Does what `append` does, when the process ends. */
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
   * Lets those lines go that are not needed any more, and one that a crash has left in part. Answers the checkpoints
   * that are kept, the oldest first; lines that are none stay where they are.
   */
  async tidy(): Promise<Checkpoint[]> {
    const text = await this.#text();
    const lines = text.split("\n").slice(0, -1);
    const kept = neededLines(lines);
    const tidied = kept.map((line) => `${line}\n`).join("");
    if (tidied !== text) await this.#replace(tidied);
    return kept.map(parseCheckpointLine).filter((checkpoint) => checkpoint !== undefined);
  }

  async #text(): Promise<string> {
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

function neededLines(lines: readonly string[]): string[] {
  const days = lines.map((line) => parseCheckpointLine(line)?.day);
  const lasts = new Map(days.map((day, index) => [day, index]));
  const found = [...lasts.keys()].filter((day) => day !== undefined);
  const whole = new Set(found.slice(-WHOLE_DAYS));
  return lines.filter((_, index) => {
    const day = days[index];
    return day === undefined || lasts.get(day) === index || whole.has(day);
  });
}
