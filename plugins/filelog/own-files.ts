import { fstatSync, realpathSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { sep } from "node:path";

/** Standard output and standard error. */
const OUTPUTS = [1, 2];

/** The files that the gateway writes itself: following them would bring each record back forever. */
export class OwnFiles {
  readonly #logDir: string;
  readonly #outputs: ReadonlySet<string>;
  readonly #allowsLogDir: boolean;

  /** `allowsLogDir`: whether the reader of lines recognizes those of the gateway. */
  constructor(logDir: string, allowsLogDir: boolean) {
    this.#logDir = realpathSync(logDir) + sep;
    this.#allowsLogDir = allowsLogDir;
    this.#outputs = new Set(OUTPUTS.flatMap(inodeOfOutput));
  }

  /** @throws Error if the gateway writes into the file */
  async check(path: string, inode: string): Promise<void> {
    if (this.#outputs.has(inode)) {
      throw new Error(`${path} is the output of this gateway, and is not followed`);
    }
    if (this.#allowsLogDir || !(await realpath(path)).startsWith(this.#logDir)) return;
    throw new Error(
      `${path} is in the log directory, where this gateway writes its own files, and is not followed: move it elsewhere, or exclude it`,
    );
  }
}

function inodeOfOutput(descriptor: number): string[] {
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    return [`${dev}:${ino}`];
  } catch {
    return [];
  }
}
