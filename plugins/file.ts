import { lstatSync, readdirSync, renameSync, rmSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { defineExporter, z, type Batch, type Exporter } from "tailgate/plugin";
import { parsePosition, PositionKeeper } from "./log-file/file-position.ts";
import { findLastWritten } from "./log-file/file-resume.ts";
import { LineFile, waitSync } from "./log-file/line-file.ts";
import { LineBuffer, LineWriter } from "./log-file/line-writer.ts";
import { OtherWriters } from "./log-file/other-writers.ts";

const FILE_NAME_EXPECTED = "a plain file name of at most 64 letters, digits, . _ and -";

const options = z.strictObject({
  path: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, FILE_NAME_EXPECTED)
    .refine((name) => name !== "." && name !== "..", FILE_NAME_EXPECTED)
    .default("orchestrator.log")
    .describe("Name of the file in the log directory."),
  max_bytes: z
    .int()
    .min(1)
    .default(10_485_760)
    .describe("The file is rotated before it would exceed this size."),
  backups: z
    .int()
    .min(0)
    .max(1000)
    .default(5)
    .describe("Number of rotated files to retain, `.1` being the newest; 0 deletes the full file."),
});

export default defineExporter({
  name: "file",
  description: "Writes system logs as JSON lines to a file that is rotated by size.",
  type: "system_log",
  options,
  owns: ({ path, backups }) => [
    path,
    ...Array.from({ length: backups }, (_, index) => `${path}.${index + 1}`),
  ],
  async open({ path, max_bytes: bytesMax, backups }, host) {
    const file = await LineFile.open(host.logDir, path);
    const position = parsePosition(host.memory.recall() ?? "");
    const resumeAfter = position && (await findLastWritten(file, position, host));
    const keeper = new PositionKeeper(file, backups, host);
    const others = new OtherWriters(host, () => listFiles(file.path, backups));
    return new RotatingFile(file, keeper, others, { bytesMax, backups, resumeAfter });
  },
});

interface RotatingFileOptions {
  readonly bytesMax: number;
  readonly backups: number;
  /** The sequence of the newest record in the files; undefined if unknown. */
  readonly resumeAfter: number | undefined;
}

class RotatingFile implements Exporter {
  readonly resumeAfter: number | undefined;
  readonly #file: LineFile;
  readonly #position: PositionKeeper;
  readonly #bytesMax: number;
  readonly #backups: number;
  readonly #lines: LineWriter;
  readonly #others: OtherWriters;
  /** The backup number that a file is being renamed to; 0 while none is. */
  #shiftingTo = 0;

  constructor(
    file: LineFile,
    position: PositionKeeper,
    others: OtherWriters,
    { bytesMax, backups, resumeAfter }: RotatingFileOptions,
  ) {
    this.#file = file;
    this.#position = position;
    this.#others = others;
    this.#lines = new LineWriter(file);
    this.#bytesMax = bytesMax;
    this.#backups = backups;
    this.resumeAfter = resumeAfter;
  }

  /** Skips records that a previous attempt has written. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#file.ready();
    this.#others.setGrowths(this.#file.growths);
    await this.#position.beforeLine(Math.max(this.#file.sequence, batch.sequence(0) - 1));
    const written = this.#file.sequence;
    for (let index = 0; index < batch.length; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= written) continue;
      const line = batch.data(index);
      if (this.#isTooFullFor(line.length + 1)) {
        await this.#lines.flush(signal);
        await this.#rotate(sequence - 1);
      }
      this.#lines.addLine(line, sequence);
      if (this.#lines.isFull) await this.#lines.proceed(signal);
    }
    await this.#lines.flush(signal);
    this.#position.written(this.#file.sequence);
  }

  async close(): Promise<void> {
    this.#others.close();
    try {
      await this.#position.close();
    } finally {
      await this.#file.close();
    }
  }

  /** A line that is larger than the maximum size gets a file of its own. */
  #isTooFullFor(lineBytes: number): boolean {
    const { fileBytes } = this.#lines;
    return fileBytes > 0 && fileBytes + lineBytes > this.#bytesMax;
  }

  /** `sequence`: all records up to it are written or filtered. */
  async #rotate(sequence: number): Promise<void> {
    await this.#position.beforeRotation(sequence);
    this.#file.retire();
    if (this.#backups === 0) await this.#remove();
    else await this.#shift();
    await this.#file.ready();
    this.#position.rotated();
    await this.#position.beforeLine(sequence);
  }

  /** Renames each backup to the next number, up to the first free one, so that retrying a rotation deletes no backup. */
  async #shift(): Promise<void> {
    try {
      let number = this.#findFreeNumber(await readdir(dirname(this.#file.path)));
      for (; number > 0; number--) {
        this.#shiftingTo = number;
        await rename(this.#backup(number - 1), this.#backup(number));
      }
    } finally {
      this.#shiftingTo = 0;
    }
  }

  async #remove(): Promise<void> {
    this.#shiftingTo = 1;
    try {
      await rm(this.#file.path, { force: true });
    } finally {
      this.#shiftingTo = 0;
    }
  }

  /** Returns the first backup number that is free, or else the last one. */
  #findFreeNumber(names: readonly string[]): number {
    const used = new Set(names);
    let number = 1;
    while (number < this.#backups && used.has(basename(this.#backup(number)))) number++;
    return number;
  }

  writeSync(batch: Batch): void {
    this.#completeShiftSync();
    this.#file.readySync();
    const written = this.#file.sequence;
    const lines = new LineBuffer();
    for (let index = 0; index < batch.length; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= written) continue;
      const line = batch.data(index);
      const fileBytes = this.#file.size + lines.byteLength;
      if (fileBytes > 0 && fileBytes + line.length + 1 > this.#bytesMax) {
        this.#file.appendSync(lines);
        this.#rotateSync(sequence - 1);
      }
      lines.addLine(line, sequence);
      if (lines.isFull) this.#file.appendSync(lines);
    }
    this.#file.appendSync(lines);
    this.#file.persistSync();
    this.#position.storeSync(this.#file.sequence);
  }

  #rotateSync(sequence: number): void {
    this.#file.retireSync();
    if (this.#backups === 0) rmSync(this.#file.path, { force: true });
    else this.#shiftSync(this.#findFreeNumber(readdirSync(dirname(this.#file.path))));
    this.#file.readySync();
    this.#file.persistSync();
    this.#position.storeSync(sequence);
  }

  #shiftSync(from: number): void {
    for (let number = from; number > 0; number--) {
      renameSync(this.#backup(number - 1), this.#backup(number));
    }
  }

  /** Completes a rotation that was in progress when the process started to exit. */
  #completeShiftSync(): void {
    if (this.#shiftingTo === 0) return;
    const moving = this.#backup(this.#shiftingTo - 1);
    waitSync(() => lstatSync(moving, { throwIfNoEntry: false }) === undefined);
    this.#shiftSync(this.#shiftingTo - 1);
    this.#shiftingTo = 0;
  }

  /** Returns the path of a backup; 0 is the file itself. */
  #backup(number: number): string {
    return number === 0 ? this.#file.path : `${this.#file.path}.${number}`;
  }
}

/** Returns the paths of the file and its backups. */
async function listFiles(path: string, backups: number): Promise<string[]> {
  const names = new Set(await readdir(dirname(path)));
  const own = [path, ...Array.from({ length: backups }, (_, index) => `${path}.${index + 1}`)];
  return own.filter((one) => names.has(basename(one)));
}
