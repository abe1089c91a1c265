import { watch, type FSWatcher } from "node:fs";
import { glob, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { clearTimeout, setTimeout } from "node:timers";
import type { HostLogger, HostMemory } from "tailgate/plugin";
import { FollowedFile, type FollowContext } from "./followed-file.ts";

/** Positions are stored at most so often. */
const SAVE_MS = 1000;

/** Changes that follow each other within this time are read together. */
const SETTLE_MS = 100;

/** More directories are not watched, but their files are polled like all others. */
const WATCHED_MAX = 200;

export interface FollowerOptions {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Whether a file that matches is followed. */
  accepts(path: string): boolean;
  readonly startAt: "beginning" | "end";
  readonly pollMs: number;
  readonly filesMax: number;
  /** How many files are read at a time; with one, the oldest is read first. */
  readonly readsMax: number;
}

/** Finds files, and follows them until it is closed. */
export class Follower {
  readonly #options: FollowerOptions;
  readonly #context: FollowContext;
  readonly #memory: HostMemory;
  readonly #log: HostLogger;
  readonly #countError: () => void;
  readonly #files = new Map<string, FollowedFile>();
  readonly #watchers = new Map<string, FSWatcher>();
  /** The errors that were logged, by path: each is logged once, until the path is fine again. */
  readonly #errors = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<void> | undefined;
  #turnsAgain = false;
  #isClosed = false;
  #isWoken = false;
  /** When files were searched last, in milliseconds since 1970; undefined before the first search. */
  #searchedMs: number | undefined;
  /** Whether files may have appeared since the last search. */
  #searches = true;
  #savedMs = 0;
  #reads = 0;

  constructor(
    options: FollowerOptions,
    context: FollowContext,
    memory: HostMemory,
    log: HostLogger,
    countError: () => void,
  ) {
    this.#options = options;
    this.#context = context;
    this.#memory = memory;
    this.#log = log;
    this.#countError = countError;
  }

  get openFiles(): number {
    return [...this.#files.values()].filter(({ isOpen }) => isOpen).length;
  }

  get lagBytes(): number {
    let sum = 0;
    for (const { lagBytes } of this.#files.values()) sum += lagBytes;
    return sum;
  }

  /** Looks for files now, and then at each interval and when something changes. */
  run(): Promise<void> {
    clearTimeout(this.#timer);
    this.#isWoken = false;
    this.#turnsAgain = false;
    this.#turn ??= this.#look().finally(() => {
      this.#turn = undefined;
      if (this.#isClosed) return;
      if (this.#turnsAgain) this.#wake();
      else this.#timer = setTimeout(() => this.#poll(), this.#options.pollMs);
    });
    return this.#turn;
  }

  #poll(): void {
    this.#searches = true;
    void this.run();
  }

  /** Ends reading, and stores the positions. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    await this.#turn;
    await Promise.all([...this.#files.values()].map((file) => file.close()));
    await this.#save();
  }

  async #look(): Promise<void> {
    if (this.#searches) await this.#search();
    const files = Array.from(this.#files.values());
    for (const file of files) {
      if (this.#isClosed) return;
      // The others have their turn when a read is done.
      if (this.#reads >= this.#options.readsMax) break;
      if (!file.isDraining) await this.#lookAt(file);
    }
    this.#watch();
    if (Date.now() - this.#savedMs >= SAVE_MS) await this.#guard("", () => this.#save());
  }

  /** Finds the files that match now. */
  async #search(): Promise<void> {
    this.#searches = false;
    const startedMs = Date.now();
    const paths = await this.#paths();
    for (const path of paths) this.#add(path);
    for (const [path, file] of this.#files) {
      if (!file.isOpen && !file.isDraining && !paths.includes(path)) this.#files.delete(path);
    }
    this.#searchedMs = startedMs;
  }

  /** Looks at a file, and reads what is new in the background. */
  async #lookAt(file: FollowedFile): Promise<void> {
    await this.#guard(file.path, async () => {
      try {
        await file.look();
      } catch (error) {
        file.lookAgain();
        throw error;
      }
    });
    const reading = file.drain((error) => this.#report(file.path, error));
    if (reading === undefined) return;
    // A file that is always written to does not keep others from being read.
    this.#files.delete(file.path);
    this.#files.set(file.path, file);
    this.#reads++;
    void reading.finally(() => {
      if (this.#reads-- >= this.#options.readsMax) this.#wake();
    });
  }

  /** Returns the paths that match, those of known files first: others may be copies of them. */
  async #paths(): Promise<string[]> {
    const { include, exclude, accepts } = this.#options;
    const paths = new Set<string>();
    await this.#guard(include.join(", "), async () => {
      const excluded = new Set<string>();
      if (exclude.length > 0) for await (const path of glob(exclude)) excluded.add(resolve(path));
      for await (const path of glob(include)) {
        const absolute = resolve(path);
        if (!excluded.has(absolute) && accepts(absolute)) paths.add(absolute);
      }
    });
    const known = new Set(Array.from(this.#context.positions.all(), ({ path }) => path));
    const sorted = [...paths].sort();
    return [
      ...sorted.filter((path) => known.has(path)),
      ...(await byTime(sorted.filter((path) => !known.has(path)))),
    ];
  }

  #add(path: string): void {
    if (this.#files.has(path)) return;
    const { filesMax, startAt } = this.#options;
    if (this.#files.size >= filesMax) {
      this.#report(
        "max_concurrent_files",
        new Error(`More than ${filesMax} files match: ${path} and others are not followed`),
      );
      return;
    }
    this.#files.set(path, new FollowedFile(path, this.#context, startAt, this.#searchedMs));
  }

  async #guard(path: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#errors.delete(path);
    } catch (error) {
      this.#report(path, error);
    }
  }

  /** Logs an error of a path once. The other files are not affected. */
  #report(path: string, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    if (this.#isClosed || this.#errors.get(path) === text) return;
    this.#errors.set(path, text);
    this.#countError();
    this.#log.error(
      path === "" ? "The positions could not be stored:" : `Cannot follow ${path}:`,
      error,
    );
  }

  /** Watches the directories of the files, so that changes are seen before the next poll. */
  #watch(): void {
    const directories = new Set([
      ...this.#options.include.map(baseDirectory),
      ...Array.from(this.#files.keys(), dirname),
    ]);
    for (const directory of directories) {
      if (this.#watchers.has(directory) || this.#watchers.size >= WATCHED_MAX) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (event) => {
          this.#searches ||= event === "rename";
          this.#wake();
        });
        watcher.on("error", () => watcher.close());
        this.#watchers.set(directory, watcher);
      } catch {
        // The limit of the system is reached, or there is no such directory: polling is enough.
      }
    }
  }

  #wake(): void {
    if (this.#isClosed) return;
    if (this.#turn !== undefined) this.#turnsAgain = true;
    else if (!this.#isWoken) {
      this.#isWoken = true;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.run(), SETTLE_MS);
    }
  }

  async #save(): Promise<void> {
    const { positions } = this.#context;
    if (!positions.hasChanges) return;
    this.#savedMs = Date.now();
    try {
      await this.#memory.keep(positions.serialize());
    } catch (error) {
      positions.hasChanges = true;
      throw error;
    }
  }
}

/** Returns the directory that a pattern starts with: `/var/log` of `/var/log/*.log`. */
function baseDirectory(pattern: string): string {
  return dirname(resolve(/^[^*?[{]*/.exec(pattern)![0].concat("x")));
}

/** Returns the paths ordered by when they were written to last, the oldest first. */
async function byTime(paths: readonly string[]): Promise<string[]> {
  const timed = await Promise.all(
    paths.map(async (path) => ({
      path,
      timeMs: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0,
    })),
  );
  return timed.sort((one, other) => one.timeMs - other.timeMs).map(({ path }) => path);
}
