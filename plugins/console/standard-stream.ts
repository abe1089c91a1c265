import { constants, writeSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { PermanentError, textOf } from "tailgate/plugin";

const DESCRIPTORS = { stdout: 1, stderr: 2 };

/** How long to wait before a full pipe is tried again: doubled from the first to the last, while nobody reads. */
const PAUSE_MS_MIN = 1;
const PAUSE_MS_MAX = 64;

/** How long a pipe may stay full when the process ends. */
const END_MS_MAX = 1_000;

/** What a descriptor says that nobody will ever read again. */
const GONE = new Set(["EPIPE", "ECONNRESET", "EBADF", "EIO"]);

/**
 * Standard output or error. Nobody waits for whoever reads it, neither the event loop nor a thread, which would keep the
 * process from ending: pipes, sockets and terminals are non-blocking. What has been written is always known.
 */
export class StandardStream {
  readonly isTerminal: boolean;
  readonly #descriptor: number;
  /** The terminal, opened for us alone; undefined where the process's own descriptor is used. */
  readonly #terminal: FileHandle | undefined;
  /** What is still to be written. */
  #rest: Uint8Array = new Uint8Array();

  private constructor(descriptor: number, isTerminal: boolean, terminal: FileHandle | undefined) {
    this.isTerminal = isTerminal;
    this.#descriptor = terminal?.fd ?? descriptor;
    this.#terminal = terminal;
  }

  static async open(name: "stdout" | "stderr"): Promise<StandardStream> {
    const descriptor = DESCRIPTORS[name];
    // Asking for the stream makes Node switch a pipe or a socket to non-blocking. Terminals it leaves as they are.
    const isTerminal = process[name].isTTY;
    return new StandardStream(
      descriptor,
      isTerminal,
      isTerminal ? await reopened(descriptor) : undefined,
    );
  }

  /** Writes the bytes when nothing is left, with the errors of `flush`. They are not to change before they are written. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    this.#rest = bytes;
    await this.flush(signal);
  }

  /**
   * Writes what is left. An abort leaves the rest for the next call.
   * @throws PermanentError when nobody can read it any more; the rest is dropped.
   */
  async flush(signal: AbortSignal): Promise<void> {
    let pauseMs = PAUSE_MS_MIN;
    while (this.#rest.length > 0) {
      signal.throwIfAborted();
      const written = this.#writeOnce();
      this.#rest = this.#rest.subarray(written);
      if (written > 0) {
        pauseMs = PAUSE_MS_MIN;
      } else {
        await pause(pauseMs, signal);
        pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
      }
    }
  }

  /** Writes the bytes when the process ends, after what is left. Throws when they are not read in time, or not any more. */
  writeSync(bytes: Uint8Array): void {
    this.flushSync();
    this.#rest = bytes;
    this.flushSync();
  }

  flushSync(): void {
    const nothing = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    for (let waitedMs = 0; this.#rest.length > 0;) {
      const written = this.#writeOnce();
      this.#rest = this.#rest.subarray(written);
      if (written > 0) waitedMs = 0;
      else if (waitedMs++ < END_MS_MAX) Atomics.wait(nothing, 0, 0, 1);
      else throw new Error("nobody reads the console");
    }
  }

  async close(): Promise<void> {
    await this.#terminal?.close();
  }

  /** Answers how many bytes were taken, 0 when there is no room. */
  #writeOnce(): number {
    try {
      return writeSync(this.#descriptor, this.#rest);
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") return 0;
      if (!GONE.has(code)) throw error;
      this.#rest = new Uint8Array();
      throw new PermanentError(`Nobody reads the console any more (${textOf(error)}).`, {
        cause: error,
      });
    }
  }
}

/** A terminal that was stopped (Ctrl-S) blocks its writers, but for a description of its own that is non-blocking. */
async function reopened(descriptor: number): Promise<FileHandle | undefined> {
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  return open(`/dev/fd/${descriptor}`, flags).catch(() => undefined);
}

/** Ends at an abort too. */
async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  await wait(delayMs, undefined, { signal }).catch(() => {});
}
