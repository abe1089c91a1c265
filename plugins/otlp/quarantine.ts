import { constants } from "node:fs";
import { lstat, mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TailgateError, type Batch, type Host, type OtlpForm } from "tailgate/plugin";
import { endOfFile } from "../log-file/file-end.ts";

const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_RDONLY, O_DIRECTORY } = constants;

const LINE_FEED = 0x0a;

export interface QuarantineOptions {
  /** The total size of both files. A single larger record gets a file of its own nevertheless. */
  readonly bytesMax: number;
  /** The form in which records were sent, and are stored. */
  readonly form: OtlpForm;
}

/**
 * A dead-letter file: stores the records that the destination rejected permanently, as JSON lines with the reason and
 * the whole record. At half of the capacity the file is rotated to `.1`, whose records are deleted and counted.
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
      "Records deleted from the full quarantine.",
    );
    this.#countDeleted(0);
  }

  /**
   * Repairs an existing file; the first record creates it.
   * @throws TailgateError LOG_DIR_UNUSABLE if its folder cannot be created.
   */
  static async open(host: Host, options: QuarantineOptions): Promise<Quarantine> {
    const quarantine = new Quarantine(host, options);
    const directory = dirname(quarantine.path);
    const stats = await lstat(directory).catch(() => undefined);
    if (stats !== undefined && !stats.isDirectory()) {
      const text = `${directory} is not a directory, so rejected records cannot be stored in it. Move it away.`;
      throw new TailgateError("LOG_DIR_UNUSABLE", text);
    }
    await quarantine.#repairLastLine();
    return quarantine;
  }

  /** Stores a batch of one record; resolves when it is durable. */
  async store(batch: Batch, reason: string): Promise<void> {
    const head = { time: new Date().toISOString(), sequence: batch.sequence(0), reason };
    const record = Buffer.from(batch.otlpJson(this.#options.form)).toString();
    const line = Buffer.from(`${JSON.stringify(head).slice(0, -1)},"otlp":${record}}\n`);
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await this.#repairLastLine();
    await this.#rotateIfFull(line.length);
    await appendDurably(this.path, line);
  }

  /**
   * Removes a line that a crash or a power failure truncated, so that the next one is not appended to it. A record is
   * settled only after its line is durable, so that the record of a removed line is sent again. A complete line that
   * only lacks its line feed is kept.
   */
  async #repairLastLine(): Promise<void> {
    const end = await endOfFile(this.path).catch(zeroIfMissing);
    if (end === 0 || end.torn.length === 0) return;
    await using file = await open(this.path, O_WRONLY | O_NOFOLLOW);
    if (isJson(end.torn)) await file.write("\n", end.completeBytes + end.torn.length);
    else {
      await file.truncate(end.completeBytes);
      this.#log.warning(
        `The last line of ${this.path} was incomplete: its ${end.torn.length} bytes were removed. Its record is sent again.`,
      );
    }
    await file.datasync();
  }

  async #rotateIfFull(bytes: number): Promise<void> {
    const size = await readSize(this.path);
    if (size === 0 || size + bytes <= this.#options.bytesMax / 2) return;
    const older = `${this.path}.1`;
    const deleted = await countLines(older);
    await rename(this.path, older);
    if (deleted === 0) return;
    this.#countDeleted(deleted);
    this.#log.warning(`The quarantine is full: its ${deleted} oldest records were deleted.`);
  }
}

/** Appends a line and syncs it and the file's name. If that fails, as on a full disk, no part of the line remains. */
async function appendDurably(path: string, line: Buffer): Promise<void> {
  await using file = await open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  const { size } = await file.stat();
  try {
    await file.appendFile(line);
    await file.datasync();
  } catch (error) {
    await file.truncate(size).catch(() => {});
    throw error;
  }
  await using directory = await open(dirname(path), O_RDONLY | O_DIRECTORY);
  await directory.sync();
}

function isJson(line: Buffer): boolean {
  try {
    JSON.parse(line.toString());
    return true;
  } catch {
    return false;
  }
}

/** Returns 0 for a file that does not exist. */
async function readSize(path: string): Promise<number> {
  return lstat(path).then(({ size }) => size, zeroIfMissing);
}

async function countLines(path: string): Promise<number> {
  const file = await open(path, O_RDONLY | O_NOFOLLOW).catch(zeroIfMissing);
  if (file === 0) return 0;
  let lines = 0;
  for await (const chunk of file.createReadStream() as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) lines++;
  }
  return lines;
}

function zeroIfMissing(error: NodeJS.ErrnoException): 0 {
  if (error.code === "ENOENT") return 0;
  throw error;
}
