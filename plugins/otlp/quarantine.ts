import { constants } from "node:fs";
import { lstat, mkdir, open, rename, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TailgateError, type Batch, type Host, type OtlpForm } from "tailgate/plugin";
import { endOfFile } from "../log-file/file-end.ts";

const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_RDONLY, O_DIRECTORY } = constants;

const LINE_FEED = 0x0a;

export interface QuarantineOptions {
  /** What both of its files hold together; a single record that is larger has a file of its own all the same. */
  readonly bytesMax: number;
  /** How records are written down: as they were sent. */
  readonly form: OtlpForm;
}

/**
 * Keeps records that the other side refuses for good: a JSON line each, with the reason and all of the record. Half of
 * its room is the newest file's; where that is full it takes the place of the one before, which goes, and is counted.
 */
export class Quarantine {
  readonly path: string;
  readonly #options: QuarantineOptions;
  readonly #log: Host["log"];
  readonly #countDeleted: (count: number) => void;

  private constructor({ logDir, id, log, metrics }: Host, options: QuarantineOptions) {
    this.path = join(logDir, "quarantine", `${id.replace("/", "_")}.jsonl`);
    this.#options = options;
    this.#log = log;
    this.#countDeleted = metrics.counter(
      "quarantine_deleted_records",
      "Records that were deleted from the quarantine because it was full.",
    );
    this.#countDeleted(0);
  }

  /**
   * Repairs the file that is there, and creates none.
   * @throws TailgateError LOG_DIR_UNUSABLE if its folder cannot be created later.
   */
  static async open(host: Host, options: QuarantineOptions): Promise<Quarantine> {
    const quarantine = new Quarantine(host, options);
    const directory = dirname(quarantine.path);
    const stats = await lstat(directory).catch(() => undefined);
    if (stats !== undefined && !stats.isDirectory()) {
      const text = `${directory} is not a directory: rejected records could not be kept in it. Move it away.`;
      throw new TailgateError("LOG_DIR_UNUSABLE", text);
    }
    await quarantine.#endTornLine();
    return quarantine;
  }

  /** `batch`: of one record. Resolves when it is on the disk. */
  async keep(batch: Batch, reason: string): Promise<void> {
    const head = { time: new Date().toISOString(), sequence: batch.sequence(0), reason };
    const record = Buffer.from(batch.otlpJson(this.#options.form)).toString();
    const line = Buffer.from(`${JSON.stringify(head).slice(0, -1)},"otlp":${record}}\n`);
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await this.#endTornLine();
    await this.#makeRoom(line.length);
    const file = await open(this.path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      await appendWhole(file, line);
    } finally {
      await file.close();
    }
    await syncDirectory(dirname(this.path));
  }

  /**
   * Removes a line that a crash or a power failure has torn, so that the next one is not joined to it. A record counts
   * as rejected only after its line is on the disk, so the one that is removed is sent again. A whole line that only
   * lacks its end stays.
   */
  async #endTornLine(): Promise<void> {
    const end = await endOfFile(this.path).catch(unlessMissing);
    if (end === 0 || end.torn.length === 0) return;
    await using file = await open(this.path, O_WRONLY | O_NOFOLLOW);
    if (isJson(end.torn)) await file.write("\n", end.wholeBytes + end.torn.length);
    else {
      await file.truncate(end.wholeBytes);
      this.#log.warning(
        `The last line of ${this.path} was unfinished: its ${end.torn.length} bytes were removed. Its record is sent again.`,
      );
    }
    await file.datasync();
  }

  async #makeRoom(bytes: number): Promise<void> {
    const size = await sizeOf(this.path);
    if (size === 0 || size + bytes <= this.#options.bytesMax / 2) return;
    const older = `${this.path}.1`;
    const deleted = await linesOf(older);
    await rename(this.path, older);
    if (deleted === 0) return;
    this.#countDeleted(deleted);
    this.#log.warning(`The quarantine is full: its oldest ${deleted} records were deleted.`);
  }
}

/** Resolves when it is on the disk. Of what fails, as on a full disk, no part stays in front of the next one. */
async function appendWhole(file: FileHandle, line: Buffer): Promise<void> {
  const { size } = await file.stat();
  try {
    await file.appendFile(line);
    await file.datasync();
  } catch (error) {
    await file.truncate(size).catch(() => {});
    throw error;
  }
}

function isJson(line: Buffer): boolean {
  try {
    JSON.parse(line.toString());
    return true;
  } catch {
    return false;
  }
}

/** 0 where it is not there. */
async function sizeOf(path: string): Promise<number> {
  return lstat(path).then(({ size }) => size, unlessMissing);
}

async function linesOf(path: string): Promise<number> {
  const file = await open(path, O_RDONLY | O_NOFOLLOW).catch(unlessMissing);
  if (file === 0) return 0;
  let lines = 0;
  for await (const chunk of file.createReadStream() as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) lines++;
  }
  return lines;
}

function unlessMissing(error: NodeJS.ErrnoException): 0 {
  if (error.code === "ENOENT") return 0;
  throw error;
}

/** The file's name has to be as safe as what is in it. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, O_RDONLY | O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
