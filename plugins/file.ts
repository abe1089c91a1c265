import { lstatSync, readdirSync, renameSync, rmSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { defineExporter, z, type Batch, type Exporter } from "tailgate/plugin";
import { FramedData } from "./system-logs/framed-data.ts";
import { LineBuffer } from "./log-file/line-buffer.ts";
import { LineFile } from "./log-file/line-file.ts";
import { LineWriter } from "./log-file/line-writer.ts";
import { OtherWriters } from "./log-file/other-writers.ts";
import { PlaceKeeper } from "./log-file/place-keeper.ts";
import { placeOf } from "./log-file/place.ts";
import { lastWritten } from "./log-file/resumption.ts";
import { waitSync } from "./log-file/wait-sync.ts";

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
    .describe("The file is rotated before a line that would make it larger than this."),
  backups: z
    .int()
    .min(0)
    .max(1000)
    .default(5)
    .describe("How many rotated files are kept, `.1` the newest; with 0 the file starts anew."),
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
    const place = placeOf(host.memory.recall() ?? "");
    const resumeAfter = place && (await lastWritten(file, place, host));
    const keeper = new PlaceKeeper(file, backups, host);
    const others = new OtherWriters(host, () => filesOf(file.path, backups));
    return new RotatingFile(file, keeper, others, { bytesMax, backups, resumeAfter });
  },
});

interface Rotation {
  readonly bytesMax: number;
  readonly backups: number;
  /** The sequence of the newest record that the files have; undefined where nobody knows. */
  readonly resumeAfter: number | undefined;
}

class RotatingFile implements Exporter {
  readonly resumeAfter: number | undefined;
  readonly #file: LineFile;
  readonly #place: PlaceKeeper;
  readonly #bytesMax: number;
  readonly #backups: number;
  readonly #lines: LineWriter;
  readonly #others: OtherWriters;
  /** The place that a file is being moved to; 0 while none is. */
  #shiftingTo = 0;

  constructor(
    file: LineFile,
    place: PlaceKeeper,
    others: OtherWriters,
    { bytesMax, backups, resumeAfter }: Rotation,
  ) {
    this.#file = file;
    this.#place = place;
    this.#others = others;
    this.#lines = new LineWriter(file);
    this.#bytesMax = bytesMax;
    this.#backups = backups;
    this.resumeAfter = resumeAfter;
  }

  /** Records that an attempt before has written are passed over. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#file.ready();
    this.#others.grown(this.#file.growths);
    await this.#place.beforeLine(Math.max(this.#file.sequence, batch.sequence(0) - 1));
    const written = this.#file.sequence;
    for (const part of batch.parts ?? [batch]) await this.#add(part, written, signal);
    await this.#lines.flush(signal);
    this.#place.written(this.#file.sequence);
  }

  async #add(batch: Batch, written: number, signal: AbortSignal): Promise<void> {
    const data = new FramedData(batch);
    for (let index = 0; index < batch.length; index++) {
      data.goTo(index);
      const sequence = batch.sequence(index);
      if (sequence <= written) continue;
      if (this.#isTooFullFor(data.end - data.start + 1)) {
        await this.#lines.flush(signal);
        await this.#rotate(sequence - 1);
      }
      this.#lines.addLine(data.frames, data.start, data.end, sequence);
      if (this.#lines.isFull) await this.#lines.proceed(signal);
    }
  }

  async close(): Promise<void> {
    this.#others.close();
    try {
      await this.#place.close();
    } finally {
      await this.#file.close();
    }
  }

  /** A line that is larger than all that a file may hold goes into one of its own. */
  #isTooFullFor(lineBytes: number): boolean {
    const { fileBytes } = this.#lines;
    return fileBytes > 0 && fileBytes + lineBytes > this.#bytesMax;
  }

  /** `sequence`: all records up to it have their lines, or want none. */
  async #rotate(sequence: number): Promise<void> {
    await this.#place.beforeRotation(sequence);
    this.#file.retire();
    if (this.#backups === 0) await this.#remove();
    else await this.#shift();
    await this.#file.ready();
    this.#place.rotated();
    await this.#place.beforeLine(sequence);
  }

  /**
   * Each backup takes the place of the one before it, up to the first place that is free: a rotation that was
   * interrupted, and is begun again, pushes no backup out for nothing.
   */
  async #shift(): Promise<void> {
    try {
      let place = this.#freePlace(await readdir(dirname(this.#file.path)));
      for (; place > 0; place--) {
        this.#shiftingTo = place;
        await rename(this.#backup(place - 1), this.#backup(place));
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

  /** The first one that is free; else the last one. */
  #freePlace(names: readonly string[]): number {
    const taken = new Set(names);
    let place = 1;
    while (place < this.#backups && taken.has(basename(this.#backup(place)))) place++;
    return place;
  }

  writeSync(batch: Batch): void {
    this.#endShiftSync();
    this.#file.readySync();
    const written = this.#file.sequence;
    const lines = new LineBuffer();
    for (const part of batch.parts ?? [batch]) this.#addSync(part, written, lines);
    this.#file.appendSync(lines);
    this.#file.persistSync();
    this.#place.keepSync(this.#file.sequence);
  }

  #addSync(batch: Batch, written: number, lines: LineBuffer): void {
    const data = new FramedData(batch);
    for (let index = 0; index < batch.length; index++) {
      data.goTo(index);
      const sequence = batch.sequence(index);
      if (sequence <= written) continue;
      const fileBytes = this.#file.size + lines.byteLength;
      if (fileBytes > 0 && fileBytes + data.end - data.start + 1 > this.#bytesMax) {
        this.#file.appendSync(lines);
        this.#rotateSync(sequence - 1);
      }
      lines.addLine(data.frames, data.start, data.end, sequence);
      if (lines.isFull) this.#file.appendSync(lines);
    }
  }

  #rotateSync(sequence: number): void {
    this.#file.retireSync();
    if (this.#backups === 0) rmSync(this.#file.path, { force: true });
    else this.#shiftSync(this.#freePlace(readdirSync(dirname(this.#file.path))));
    this.#file.readySync();
    this.#file.persistSync();
    this.#place.keepSync(sequence);
  }

  #shiftSync(from: number): void {
    for (let place = from; place > 0; place--) {
      renameSync(this.#backup(place - 1), this.#backup(place));
    }
  }

  /** Ends a rotation that was under way when the process began to end. */
  #endShiftSync(): void {
    if (this.#shiftingTo === 0) return;
    const moving = this.#backup(this.#shiftingTo - 1);
    waitSync(() => lstatSync(moving, { throwIfNoEntry: false }) === undefined);
    this.#shiftSync(this.#shiftingTo - 1);
    this.#shiftingTo = 0;
  }

  /** Place 0 is the file itself. */
  #backup(place: number): string {
    return place === 0 ? this.#file.path : `${this.#file.path}.${place}`;
  }
}

/** The file and what rotation has made of it. */
async function filesOf(path: string, backups: number): Promise<string[]> {
  const names = new Set(await readdir(dirname(path)));
  const own = [path, ...Array.from({ length: backups }, (_, index) => `${path}.${index + 1}`)];
  return own.filter((one) => names.has(basename(one)));
}
