import { LineBuffer } from "./line-buffer.ts";
import type { LineFile } from "./line-file.ts";

/**
 * Gathers lines for a file while those that were gathered before are being written. After an error all lines that are
 * not in the file are forgotten; the file's `sequence` tells which those are.
 */
export class LineWriter {
  readonly #file: LineFile;
  #gathered = new LineBuffer();
  #underway = new LineBuffer();
  #writing: Promise<void> = Promise.resolve();

  constructor(file: LineFile) {
    this.#file = file;
  }

  /** What the file will have when all that was added is written. */
  get fileBytes(): number {
    return this.#file.size + this.#underway.byteLength + this.#gathered.byteLength;
  }

  /** True when it is time for {@link proceed}. */
  get isFull(): boolean {
    return this.#gathered.isFull;
  }

  /** Adds the line of the record with that sequence: what `source` has there, where no line feed is. */
  addLine(source: Buffer, start: number, end: number, sequence: number): void {
    this.#gathered.addLine(source, start, end, sequence);
  }

  /** Begins to write what was added. Resolves when there is room to add more. */
  async proceed(signal: AbortSignal): Promise<void> {
    await this.#settled();
    [this.#gathered, this.#underway] = [this.#underway, this.#gathered];
    this.#writing = this.#file.append(this.#underway, signal);
  }

  /** Resolves when all that was added is in the file. */
  async flush(signal: AbortSignal): Promise<void> {
    await this.proceed(signal);
    await this.#settled();
  }

  async #settled(): Promise<void> {
    const writing = this.#writing;
    this.#writing = Promise.resolve();
    try {
      await writing;
    } catch (error) {
      this.#gathered.clear();
      throw error;
    }
  }
}
