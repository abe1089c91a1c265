import { constants, copyFileSync, renameSync, rmSync } from "node:fs";
import { asideName } from "./salvage.ts";
import { checkLog, type LogCheck } from "./write-ahead-log.ts";

/** The log begins anew at most so often between two notes of its salt. */
const SALTS_AHEAD_MAX = 1 << 16;

/** The write-ahead log as it was found. What SQLite would pass over or destroy is copied before SQLite opens it. */
export class KeptLog {
  readonly #path: string;
  readonly #check: LogCheck | undefined;
  readonly #isForeign: boolean;
  #aside: string | undefined;

  /** `salt`: that of the log which has the last noted commit; 0 if unknown. A log that is another's is moved away. */
  constructor(path: string, salt: number) {
    this.#path = path;
    this.#check = checkLog(path);
    const found = this.#check?.salt ?? 0;
    this.#isForeign = salt !== 0 && found !== 0 && (found - salt) >>> 0 > SALTS_AHEAD_MAX;
    if (this.#isForeign) {
      this.#aside = asideName(path);
      renameSync(path, this.#aside);
    } else if (this.isDamaged || this.#check?.hasFramesBehind) this.keep();
  }

  /** Whether it has durable commits that SQLite does not read, or is not the database's. */
  get isDamaged(): boolean {
    return this.#isForeign || this.#check?.isDamaged === true;
  }

  /** The highest sequence that is in it and that SQLite does not read; 0 if there is none. */
  get newest(): number {
    return this.isDamaged ? this.#check!.newest : 0;
  }

  /** Where the copy is, if there is one. */
  get kept(): readonly string[] {
    return this.#aside === undefined ? [] : [this.#aside];
  }

  /** Copies the log, if there is one. A disk that is full does not keep the journal from opening. */
  keep(): void {
    if (this.#check === undefined || this.#aside !== undefined) return;
    const aside = asideName(this.#path);
    try {
      copyFileSync(this.#path, aside, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      this.#aside = aside;
    } catch {
      rmSync(aside, { force: true });
    }
  }

  /** The copy is not needed: nothing that was durable is missing. */
  drop(): void {
    if (this.#aside === undefined || this.#isForeign) return;
    rmSync(this.#aside);
    this.#aside = undefined;
  }
}
