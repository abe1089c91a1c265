import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Host } from "tailgate/plugin";

/** Delays the first check until the gateway has started. */
const STARTUP_MS = 500;

/** The minimum time between checks of files that other processes append to. */
const CHECK_INTERVAL_MS = 60_000;

/** The search stops after this many open files. */
const DESCRIPTORS_MAX = 200_000;

/** The access mode in the flags of open(2); not 0 if the file is open for writing. */
const ACCESS_MODE = 0o3;

const COMMAND_CHARS_MAX = 200;

/**
 * Warns about other processes that have a log file open for writing, such as the system that Tailgate replaces, which
 * has the same default directory. Checks at startup and whenever another process has appended to a file. Reads /proc, so
 * it works only on Linux, and only for processes that the gateway's user may inspect.
 */
export class OtherWriters {
  readonly #host: Host;
  readonly #paths: () => Promise<readonly string[]>;
  readonly #closing = new AbortController();
  /** Process ids with the path of the file. */
  readonly #reported = new Set<string>();
  #checking: Promise<void>;
  #growths = 0;
  #checkedAtMs = -Infinity;

  /** `paths`: returns the current files. */
  constructor(host: Host, paths: () => Promise<readonly string[]>) {
    this.#host = host;
    this.#paths = paths;
    this.#checking = this.#check(STARTUP_MS);
  }

  /** To be called before each write. `growths`: how often a file was found to be longer than the gateway had left it. */
  setGrowths(growths: number): void {
    if (growths === this.#growths) return;
    this.#growths = growths;
    const nowMs = performance.now();
    if (nowMs - this.#checkedAtMs < CHECK_INTERVAL_MS) return;
    this.#checkedAtMs = nowMs;
    this.#checking = this.#checking.then(() => this.#check(0));
  }

  close(): void {
    this.#closing.abort();
  }

  /** Never rejects. */
  async #check(delayMs: number): Promise<void> {
    const { signal } = this.#closing;
    try {
      await wait(delayMs, undefined, { signal, ref: false });
      for await (const { pid, path } of openForWriting(await this.#paths())) {
        if (signal.aborted) return;
        this.#report(pid, path, await commandOf(pid));
      }
    } catch {
      // There is no /proc, or this was closed.
    }
  }

  #report(pid: number, path: string, command: string): void {
    const id = `${pid} ${path}`;
    if (this.#reported.has(id)) return;
    this.#reported.add(id);
    this.#host.log.warning(
      `Process ${pid} (${command}) also has ${path} open for writing. Their lines are interleaved, and each may rotate or delete the other's file. Stop that process, or use a different directory (--log-dir) for one of them.`,
    );
  }
}

interface FileWriter {
  readonly pid: number;
  readonly path: string;
}

/** Finds the other processes that have one of these files open for writing, under any name. */
async function* openForWriting(paths: readonly string[]): AsyncGenerator<FileWriter> {
  const files = new Map<string, string>();
  for (const path of paths) {
    const id = await fileId(path);
    if (id !== undefined) files.set(id, path);
  }
  const names = new Set(paths.map((path) => basename(path)));
  let left = DESCRIPTORS_MAX;
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const descriptors = await readdir(`/proc/${pid}/fd`).catch((): string[] => []);
    left -= descriptors.length;
    if (left < 0) return;
    for (const descriptor of descriptors) {
      const link = `/proc/${pid}/fd/${descriptor}`;
      const target = await readlink(link).catch(() => "");
      if (!names.has(basename(target))) continue;
      const path = files.get((await fileId(link)) ?? "");
      if (path !== undefined && (await isWritable(pid, descriptor))) yield { pid, path };
    }
  }
}

async function fileId(path: string): Promise<string | undefined> {
  const stats = await stat(path).catch(() => undefined);
  return stats && `${stats.dev}:${stats.ino}`;
}

async function isWritable(pid: number, descriptor: string): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, "utf8").catch(() => "");
  const flags = /^flags:\s*([0-7]+)$/m.exec(text)?.[1] ?? "0";
  return (Number.parseInt(flags, 8) & ACCESS_MODE) !== 0;
}

/** Returns the process's command line. */
async function commandOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const command = text.replaceAll("\0", " ").trim();
  return command === "" ? "unknown command" : command.slice(0, COMMAND_CHARS_MAX);
}
