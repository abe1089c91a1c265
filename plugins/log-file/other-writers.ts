import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Host } from "tailgate/plugin";

/** The start of the gateway comes first. */
const SETTLE_MS = 500;

/** Files that others make longer are looked at this often. */
const QUIET_MS = 60_000;

/** A machine with more open files than that is not searched to the end. */
const DESCRIPTORS_MAX = 200_000;

/** The lowest bits of open(2)'s flags say whether a file is open for writing. */
const ACCESS_MODE = 0o3;

const COMMAND_CHARS_MAX = 200;

/**
 * Warns of other processes that have a log file open for writing, such as the system that Tailgate succeeds, which has
 * the same default directory. It looks at the start, and when somebody else has made a file longer. It works by /proc,
 * so on Linux alone, and sees the processes that the gateway's user may look at.
 */
export class OtherWriters {
  readonly #host: Host;
  readonly #paths: () => Promise<readonly string[]>;
  readonly #closing = new AbortController();
  /** Processes, with the file. */
  readonly #reported = new Set<string>();
  #looking: Promise<void>;
  #growths = 0;
  #growthAtMs = -Infinity;

  /** `paths`: the files that there are now. */
  constructor(host: Host, paths: () => Promise<readonly string[]>) {
    this.#host = host;
    this.#paths = paths;
    this.#looking = this.#look(SETTLE_MS);
  }

  /** `growths`: how often a file was found longer than it was left. */
  grown(growths: number): void {
    if (growths === this.#growths) return;
    this.#growths = growths;
    const nowMs = performance.now();
    if (nowMs - this.#growthAtMs < QUIET_MS) return;
    this.#growthAtMs = nowMs;
    this.#looking = this.#looking.then(() => this.#look(0));
  }

  close(): void {
    this.#closing.abort();
  }

  /** Never rejects. */
  async #look(delayMs: number): Promise<void> {
    const { signal } = this.#closing;
    try {
      await wait(delayMs, undefined, { signal, ref: false });
      for await (const { pid, path } of openForWriting(await this.#paths())) {
        if (signal.aborted) return;
        this.#report(pid, path, await commandOf(pid));
      }
    } catch {
      // There is no /proc, or the end came first.
    }
  }

  #report(pid: number, path: string, command: string): void {
    const id = `${pid} ${path}`;
    if (this.#reported.has(id)) return;
    this.#reported.add(id);
    this.#host.log.warning(
      `Process ${pid} (${command}) also has ${path} open for writing. The lines of both are mixed in it, and each may rotate or delete the file of the other. Stop that process, or give one of the two another directory (--log-dir).`,
    );
  }
}

interface Writer {
  readonly pid: number;
  readonly path: string;
}

/** The other processes that have one of these files open for writing, by whatever name they know it. */
async function* openForWriting(paths: readonly string[]): AsyncGenerator<Writer> {
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

/** Its command line. */
async function commandOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const command = text.replaceAll("\0", " ").trim();
  return command === "" ? "unknown command" : command.slice(0, COMMAND_CHARS_MAX);
}
