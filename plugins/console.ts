import { constants, writeSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import {
  defineExporter,
  PermanentError,
  textOf,
  z,
  type Batch,
  type Exporter,
} from "tailgate/plugin";
import { ConsoleText } from "./console/console-text.ts";

const options = z.strictObject({
  stream: z.enum(["stderr", "stdout"]).default("stderr").describe("Stream to write to."),
  color: z
    .enum(["auto", "always", "never"])
    .default("auto")
    .describe("Color the levels; `auto`: if the stream is a terminal and NO_COLOR is not set."),
});

export default defineExporter({
  name: "console",
  description:
    "Prints system logs to standard error as readable lines, with attributes as `key=value`.",
  live: true,
  type: "system_log",
  options,
  async open({ stream, color }) {
    const output = await StandardStream.open(stream);
    const isAutoColored = output.isTerminal && !process.env["NO_COLOR"];
    return new ConsoleExporter(output, color === "always" || (color === "auto" && isAutoColored));
  },
});

class ConsoleExporter implements Exporter {
  readonly #output: StandardStream;
  readonly #text: ConsoleText;
  /** The sequence of the newest record that was passed to the output. */
  #sequence = 0;

  constructor(output: StandardStream, isColored: boolean) {
    this.#output = output;
    this.#text = new ConsoleText(isColored);
  }

  /** Resumes where a previous attempt stopped, even within a line. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#output.flush(signal);
    for (const bytes of this.#chunks(batch)) await this.#output.write(bytes, signal);
  }

  writeSync(batch: Batch): void {
    this.#output.flushSync();
    for (const bytes of this.#chunks(batch)) this.#output.writeSync(bytes);
  }

  /** Yields the lines of the records that were not passed to the output yet; valid until the next chunk. */
  *#chunks(batch: Batch): Generator<Uint8Array> {
    this.#text.clear();
    let last = this.#sequence;
    for (let index = 0; index < batch.length; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= last) continue;
      last = sequence;
      this.#text.add(batch, index);
      if (!this.#text.isFull) continue;
      this.#sequence = last;
      yield this.#text.bytes;
      this.#text.clear();
    }
    this.#sequence = last;
    yield this.#text.bytes;
  }

  async close(): Promise<void> {
    await this.#output.close();
  }
}

const DESCRIPTORS = { stdout: 1, stderr: 2 };

/** The delay before writing to a full pipe again: doubled from the minimum to the maximum until someone reads. */
const PAUSE_MS_MIN = 1;
const PAUSE_MS_MAX = 64;

/** How long a pipe may stay full when the process exits. */
const EXIT_MS_MAX = 1_000;

/** Errors after which nobody will ever read from the descriptor. */
const READER_GONE = new Set(["EPIPE", "ECONNRESET", "EBADF", "EIO"]);

/**
 * Standard output or error, always non-blocking: a slow reader blocks neither the event loop nor a thread, which would
 * prevent the process from exiting. After an abort or error, it is known how many bytes were written.
 */
class StandardStream {
  readonly isTerminal: boolean;
  readonly #descriptor: number;
  /** A file handle of our own for a terminal; undefined if the process's descriptor is used. */
  readonly #terminal: FileHandle | undefined;
  /** The bytes that are still to be written. */
  #rest: Uint8Array = new Uint8Array();

  private constructor(descriptor: number, isTerminal: boolean, terminal: FileHandle | undefined) {
    this.isTerminal = isTerminal;
    this.#descriptor = terminal?.fd ?? descriptor;
    this.#terminal = terminal;
  }

  static async open(name: "stdout" | "stderr"): Promise<StandardStream> {
    const descriptor = DESCRIPTORS[name];
    // Accessing the stream makes Node switch a pipe or socket to non-blocking mode, but not a terminal.
    const isTerminal = process[name].isTTY;
    return new StandardStream(
      descriptor,
      isTerminal,
      isTerminal ? await reopenTerminal(descriptor) : undefined,
    );
  }

  /** Writes the bytes, after a `flush` and with its errors. They must not change until they are written. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    this.#rest = bytes;
    await this.flush(signal);
  }

  /**
   * Writes the remaining bytes. After an abort, the next call continues.
   * @throws PermanentError if the reader is gone; the rest is dropped.
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

  /** Writes the remaining bytes and these, when the process exits. Throws if they are not read in time. */
  writeSync(bytes: Uint8Array): void {
    this.flushSync();
    this.#rest = bytes;
    this.flushSync();
  }

  flushSync(): void {
    const memory = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    for (let waitedMs = 0; this.#rest.length > 0;) {
      const written = this.#writeOnce();
      this.#rest = this.#rest.subarray(written);
      if (written > 0) waitedMs = 0;
      else if (waitedMs++ < EXIT_MS_MAX) Atomics.wait(memory, 0, 0, 1);
      else throw new Error("the console is not being read");
    }
  }

  async close(): Promise<void> {
    await this.#terminal?.close();
  }

  /** Returns the number of bytes written, 0 if the pipe is full. */
  #writeOnce(): number {
    try {
      return writeSync(this.#descriptor, this.#rest);
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") return 0;
      if (!READER_GONE.has(code)) throw error;
      this.#rest = new Uint8Array();
      throw new PermanentError(`The console is no longer being read (${textOf(error)}).`, {
        cause: error,
      });
    }
  }
}

/** A stopped terminal (Ctrl-S) blocks its writers unless they have a non-blocking file description of their own. */
async function reopenTerminal(descriptor: number): Promise<FileHandle | undefined> {
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  return open(`/dev/fd/${descriptor}`, flags).catch(() => undefined);
}

/** Also resolves when the signal aborts. */
async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  await wait(delayMs, undefined, { signal }).catch(() => {});
}
