import { createHash } from "node:crypto";
import { watch, type FSWatcher } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";

/** Editors and package managers write a file in several steps. */
const SETTLE_MS = 200;

/** Catches what the system does not report, as on network file systems. */
const POLL_MS = 10_000;

export interface ConfigWatchOptions {
  /** Returns the absolute paths of the files that belong to the configuration now. */
  files(): readonly string[];
  /** Called when the content of a file has changed; never rejects. */
  changed(): Promise<void>;
}

/**
 * Watches the files of a configuration by their directories: editors replace a file, and Kubernetes a symbolic link. Contents
 * count, not times.
 */
export class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #poll = setInterval(() => this.#soon(), POLL_MS).unref();
  readonly #digests = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #checking: Promise<void>;
  #isClosed = false;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#checking = this.#check();
  }

  /** Resolves when it watches. */
  get ready(): Promise<void> {
    return this.#checking;
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
  }

  /** Checks once nothing has been reported for a while. */
  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#checking = this.#checking.then(() => this.#check());
    }, SETTLE_MS).unref();
  }

  async #check(): Promise<void> {
    if (this.#isClosed) return;
    const changed = await this.#updateDigests(this.#options.files());
    if (!changed || this.#isClosed) return;
    await this.#options.changed();
    // The configuration may name other files now, which may have changed since they were read.
    const added = this.#options.files().filter((file) => !this.#digests.has(file));
    if (added.length === 0) return;
    await this.#updateDigests(added);
    await this.#options.changed();
  }

  /** Returns whether a file that was read before has another content. */
  async #updateDigests(files: readonly string[]): Promise<boolean> {
    let isChanged = false;
    for (const file of files) {
      const digest = await digestOf(file);
      const previous = this.#digests.get(file);
      if (previous !== undefined && previous !== digest) isChanged = true;
      this.#digests.set(file, digest);
    }
    this.#watchDirectories(new Set([...this.#digests.keys()].map((file) => dirname(file))));
    return isChanged;
  }

  #watchDirectories(directories: ReadonlySet<string>): void {
    for (const directory of directories) {
      if (!this.#watchers.has(directory)) this.#watch(directory);
    }
  }

  /** A directory that cannot be watched is polled. */
  #watch(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#soon());
      watcher.on("error", () => {
        watcher.close();
        this.#watchers.delete(directory);
      });
      this.#watchers.set(directory, watcher);
    } catch {
      // It may appear later.
    }
  }
}

/** A file that cannot be read has no content. */
async function digestOf(file: string): Promise<string> {
  const content = await readFile(file).catch(() => "");
  return createHash("sha256").update(content).digest("hex");
}
