import { textOf } from "../wire/errors.ts";
import type { HostLogger } from "../plugin/index.ts";
import { printable } from "../wire/printable.ts";

/** Writes one of the gateway's own lines. */
export type WriteLine = (line: string) => void;

/** So many lines of one kind are written in a window; the others are counted, and summed up in one line at its end. */
const KIND_LINES_MAX = 10;

/** So many lines of one logger and level are written in a window, whatever they say. */
const LOGGER_LINES_MAX = 100;

const WINDOW_MS = 60_000;

/** Lines whose first words are the same are of one kind. Words with digits or special characters are ignored. */
const KIND_WORDS = 3;
const PLAIN_WORD = /^[A-Za-z'.,-]+$/;

/**
 * The gateway's own lines, in the console's form, under `tailgate.<name>`; not through OpenTelemetry. Whoever can cause
 * a line can cause thousands, so that all lines are rate-limited.
 */
export function hostLogger(name: string, write: WriteLine): HostLogger {
  const limiter = limiterOf(write);
  return {
    info: (message) => limiter.write({ name, level: "INFO", message }),
    warning: (message, detail) => limiter.write({ name, level: "WARNING", message, detail }),
    error: (message, cause) => limiter.write({ name, level: "ERROR", message, cause }),
  };
}

/** Writes the summaries of lines that were left out; for the end. */
export function flushHostLog(write: WriteLine): void {
  limiterOf(write).flush();
}

/** Returns how many lines to `write` were left out. */
export function suppressedLines(write: WriteLine): number {
  return limiterOf(write).suppressed;
}

const limiters = new WeakMap<WriteLine, LineLimiter>();

/** All loggers that write to one place share a limiter. */
function limiterOf(write: WriteLine): LineLimiter {
  const known = limiters.get(write);
  if (known) return known;
  const limiter = new LineLimiter(({ name, level, message, detail, cause }) => {
    const time = new Date().toISOString().slice(0, 19).replace("T", " ");
    const more = cause === undefined ? detail : textOf(cause);
    const text = more === undefined ? message : `${message} ${more}`;
    write(`${time} - ${name} - ${level} - ${printable(text)}`);
  });
  limiters.set(write, limiter);
  return limiter;
}

interface Line {
  readonly name: string;
  readonly level: "INFO" | "WARNING" | "ERROR";
  readonly message: string;
  readonly detail?: string | undefined;
  readonly cause?: unknown;
}

/** What became of the lines of one kind in a window. */
interface Kind {
  written: number;
  suppressed: number;
  last: Line;
}

/** Lets a bounded number of lines through, and tells of the others. */
class LineLimiter {
  readonly #put: (line: Line) => void;
  readonly #kinds = new Map<string, Kind>();
  /** How many lines each logger has written in this window, by name and level. */
  readonly #written = new Map<string, number>();
  #windowStartMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  suppressed = 0;

  constructor(put: (line: Line) => void) {
    this.#put = put;
  }

  write(line: Line): void {
    if (performance.now() - this.#windowStartMs >= WINDOW_MS) this.flush();
    const logger = `${line.name} ${line.level}`;
    const written = this.#written.get(logger) ?? 0;
    // Beyond the logger's limit no further kinds are told apart, so that the map stays small.
    const key = written < LOGGER_LINES_MAX ? `${logger} ${kindOf(line.message)}` : logger;
    const kind = this.#kinds.get(key) ?? { written: 0, suppressed: 0, last: line };
    this.#kinds.set(key, kind);
    if (written >= LOGGER_LINES_MAX || kind.written >= KIND_LINES_MAX) {
      return this.#suppress(kind, line);
    }
    kind.written++;
    this.#written.set(logger, written + 1);
    this.#put(line);
  }

  #suppress(kind: Kind, line: Line): void {
    kind.suppressed++;
    kind.last = line;
    this.suppressed++;
    const leftMs = this.#windowStartMs + WINDOW_MS - performance.now();
    this.#timer ??= setTimeout(() => this.flush(), leftMs).unref();
  }

  /** Ends the window, and tells what was left out in it. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const seconds = Math.ceil((performance.now() - this.#windowStartMs) / 1000);
    const kinds = Array.from(this.#kinds.values());
    this.#kinds.clear();
    this.#written.clear();
    this.#windowStartMs = performance.now();
    for (const { suppressed, last } of kinds) {
      if (suppressed === 0) continue;
      const lines = suppressed === 1 ? "1 more line" : `${suppressed} more lines`;
      const message = `${lines} of this kind in the last ${seconds} s; the last one: ${last.message}`;
      this.#put({ ...last, message });
    }
  }
}

function kindOf(message: string): string {
  const words = message.split(" ", KIND_WORDS);
  return words.map((word) => (PLAIN_WORD.test(word) ? word : "*")).join(" ");
}

/** A stderr that is gone must not end the process. */
export function writeToStderr(line: string): void {
  try {
    process.stderr.write(`${line}\n`, () => {});
  } catch {
    // There is nobody left to tell.
  }
}
