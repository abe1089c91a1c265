import { LEVELS, textOf, type Host } from "tailgate/plugin";
import type { LineFile } from "./line-file.ts";
import { writeLinesAgain } from "./lines-again.ts";
import { textOfPlace, type Place } from "./place.ts";

/** What a crash leaves to be compared at the next start is what was written in about this time. */
const KEEP_MS = 1_000;

/** So many files may lie behind the place that is kept; each has a handle until it is on the disk. */
const FILES_BEHIND_MAX = 8;

/**
 * Keeps the place of a rotated file in the journal, so that the next start finds it: now and then, and in any case
 * before the file that it is in goes, or another one gets its first line. So after a crash all lines that are behind it
 * are in that file and in the newer ones of the rotation.
 */
export class PlaceKeeper {
  readonly #file: LineFile;
  readonly #host: Host;
  readonly #filesBehindMax: number;
  /** The number of the file that is written, and of the one that the kept place is in. */
  #number = 0;
  #keptNumber = -Infinity;
  /** `changes` of the file when its place was kept last, or a rotation began it. */
  #changes = 0;
  #keptAtMs = -Infinity;
  #keptSequence = 0;
  /** What was kept last in this process. */
  #kept: Place | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #isKeeping = false;

  /** `backups`: how many rotations a file lives through. */
  constructor(file: LineFile, backups: number, host: Host) {
    this.#file = file;
    this.#host = host;
    this.#filesBehindMax = Math.min(backups, FILES_BEHIND_MAX);
  }

  /** Before a line is written: resolves when the file can be found. `sequence`: up to it everything is settled. */
  async beforeLine(sequence: number): Promise<void> {
    const isOurs = this.#file.changes === this.#changes;
    if (isOurs && this.#number - this.#keptNumber <= this.#filesBehindMax) return;
    await this.#keepHere(sequence);
  }

  /** Before the file gets another name or is deleted. */
  async beforeRotation(sequence: number): Promise<void> {
    if (this.#number - this.#keptNumber < this.#filesBehindMax) return;
    await this.#keepHere(sequence, { isEnd: this.#filesBehindMax === 0 });
  }

  /** The file that is there now follows the one that was there. */
  rotated(): void {
    this.#number++;
    this.#changes = this.#file.changes;
  }

  /** Everything up to `sequence` is written. Nobody waits for what follows of it. */
  written(sequence: number): void {
    // Early enough that a rotation need not wait for it.
    const isFarBehind = this.#number - this.#keptNumber > this.#filesBehindMax / 2;
    const isOld = performance.now() - this.#keptAtMs >= KEEP_MS;
    if (this.#isKeeping || !(isFarBehind || isOld)) return;
    // The place that was kept before is as true as this one; a journal that cannot store says so itself.
    this.#keep(sequence).catch(() => {});
  }

  /** Keeps the place of the last line, where there is one. */
  async close(): Promise<void> {
    await this.#keeping.catch(() => {});
    const { sequence } = this.#file;
    if (sequence > this.#keptSequence) await this.#keep(sequence);
  }

  /** Keeps the place when the process ends: what the file has is on the disk. */
  keepSync(sequence: number): void {
    void this.#host.memory.keep(textOfPlace(this.#placeAt(sequence, false))).catch(() => {});
  }

  async #keepHere(sequence: number, { isEnd = false } = {}): Promise<void> {
    await this.#keeping.catch(() => {});
    await this.#file.endTornLine();
    const { changes } = this.#file;
    await this.#keep(sequence, isEnd);
    this.#changes = changes;
  }

  #keep(sequence: number, isEnd = false): Promise<void> {
    this.#isKeeping = true;
    this.#keeping = this.#keepPlace(this.#placeAt(sequence, isEnd), this.#number);
    return this.#keeping.finally(() => (this.#isKeeping = false));
  }

  #placeAt(sequence: number, isEnd: boolean): Place {
    const { device, inode, size: offset } = this.#file;
    const level = this.#host.level ?? LEVELS[0];
    return { device, inode, offset, sequence, level, isEnd };
  }

  async #keepPlace(place: Place, number: number): Promise<void> {
    const { sequence } = place;
    try {
      await this.#file.persist();
    } catch (error) {
      await this.#persistAgain(place, error);
    }
    await this.#host.memory.keep(textOfPlace(place));
    this.#kept = place;
    this.#keptNumber = number;
    this.#keptSequence = sequence;
    this.#keptAtMs = performance.now();
  }

  /** Where the lines since the place that was kept last are in the same file, and are as the journal has them. */
  async #persistAgain(place: Place, failure: unknown): Promise<void> {
    const { path } = this.#file;
    const { log, journal } = this.#host;
    const which = `${this.#keptSequence + 1} to ${place.sequence}`;
    try {
      if (this.#kept && (await writeLinesAgain(path, this.#kept, place, journal))) {
        await this.#file.persist();
        log.warning(
          `The disk did not confirm the lines of ${path} with the sequences ${which}: ${textOf(failure)}. They were written again, and confirmed.`,
        );
        return;
      }
    } catch {
      // The first failure tells more.
    }
    log.error(
      `The disk did not confirm the lines of ${path}: after a loss of power those of the sequences ${which} may be missing there. The journal has them.`,
      failure,
    );
  }
}
