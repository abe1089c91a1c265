import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";

export interface ProgramSetup {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** A text in its output that means it is ready. */
  readonly ready: RegExp;
}

const READY_MS_MAX = 30_000;

/** The value of `getconf CLK_TCK` on every Linux. */
const TICK_MICROS = 10_000;

/** A server in its own process, as users start it, with the kernel's statistics of it (Linux: proc(5)). */
export class Program implements AsyncDisposable {
  readonly pid: number;
  /** The time from the start of the process until it was ready. */
  readonly readyMs: number;
  /** Its output until then. */
  readonly text: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, readyMs: number, text: string) {
    this.#child = child;
    this.pid = child.pid!;
    this.readyMs = readyMs;
    this.text = text;
  }

  /** @throws Error with its output, if it exits or does not become ready. */
  static async start({ command, args, env, ready }: ProgramSetup): Promise<Program> {
    const startMs = performance.now();
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let text = "";
    const read = (chunk: Buffer): void => {
      text += chunk.toString();
      if (ready.test(text)) resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${command} ended with ${code}: ${text}`)));
    const late = setTimeout(
      () => reject(new Error(`${command}: not ready: ${text}`)),
      READY_MS_MAX,
    );
    try {
      await promise;
    } catch (error) {
      child.kill();
      throw error;
    } finally {
      clearTimeout(late);
    }
    const program = new Program(child, performance.now() - startMs, text);
    // Later output is read and discarded.
    for (const stream of [child.stdout, child.stderr]) stream.off("data", read).resume();
    return program;
  }

  /** CPU time of all its threads so far, and of its children that have exited. */
  get cpuMicros(): number {
    // The third field follows the name in parentheses, which may contain anything.
    const fields = this.#proc("stat")
      .replace(/^.*\) /s, "")
      .split(" ");
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return ticks * TICK_MICROS;
  }

  get residentBytes(): number {
    return this.#statusBytes("VmRSS");
  }

  /** The anonymous part, without files such as Node's executable, which other processes may share. */
  get anonymousBytes(): number {
    return this.#statusBytes("RssAnon");
  }

  /** The peak resident size since the start. */
  get peakBytes(): number {
    return this.#statusBytes("VmHWM");
  }

  #statusBytes(name: string): number {
    const [, kibibytes] = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(this.#proc("status"))!;
    return 1024 * Number(kibibytes);
  }

  #proc(file: string): string {
    return readFileSync(`/proc/${this.pid}/${file}`, "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill("SIGTERM");
    await once(this.#child, "exit");
  }
}
