import { textOf } from "../wire/errors.ts";
import type { HostLogger } from "../plugin/index.ts";
import { printable } from "../wire/printable.ts";

export type WriteLine = (line: string) => void;

/** The maximum number of lines of one kind per window. Further ones are counted and summarized at its end. */
const KIND_LINES_MAX = 10;

/** The maximum number of lines of one logger and level per window. */
const LOGGER_LINES_MAX = 100;

const WINDOW_MS = 60_000;

/** Lines with the same first words are of one kind. Words with digits or special characters are ignored. */
const KIND_WORDS = 3;
const PLAIN_WORD = /^[A-Za-z'.,-]+$/;

/**
 * Returns a logger for the gateway's own log lines. They have the console's format and do not pass through OpenTelemetry.
 * All lines are rate-limited: a client that can cause one line can cause thousands.
 */
export function hostLogger(name: string, write: WriteLine): HostLogger {
  const limiter = lineLimiter(write);
  return {
    info: (message) => limiter.write({ name, level: "INFO", message }),
    warning: (message, detail) => limiter.write({ name, level: "WARNING", message, detail }),
    error: (message, cause) => limiter.write({ name, level: "ERROR", message, cause }),
  };
}

const limiters = new WeakMap<WriteLine, LineLimiter>();

/** Returns the limiter that all loggers with the same `write` share. */
export function lineLimiter(write: WriteLine): LineLimiter {
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

interface HostLogLine {
  readonly name: string;
  readonly level: "INFO" | "WARNING" | "ERROR";
  readonly message: string;
  readonly detail?: string | undefined;
  readonly cause?: unknown;
}

interface LineKind {
  written: number;
  suppressed: number;
  last: HostLogLine;
}

class LineLimiter {
  readonly #put: (line: HostLogLine) => void;
  readonly #kinds = new Map<string, LineKind>();
  /** The number of lines of each logger in this window, by name and level. */
  readonly #written = new Map<string, number>();
  #windowStartMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  /** The number of lines that were suppressed since the start. */
  suppressed = 0;

  constructor(put: (line: HostLogLine) => void) {
    this.#put = put;
  }

  write(line: HostLogLine): void {
    if (performance.now() - this.#windowStartMs >= WINDOW_MS) this.flush();
    const logger = `${line.name} ${line.level}`;
    const written = this.#written.get(logger) ?? 0;
    // Beyond the logger's limit kinds are no longer distinguished, which bounds the map.
    const key = written < LOGGER_LINES_MAX ? `${logger} ${lineKind(line.message)}` : logger;
    const kind = this.#kinds.get(key) ?? { written: 0, suppressed: 0, last: line };
    this.#kinds.set(key, kind);
    if (written >= LOGGER_LINES_MAX || kind.written >= KIND_LINES_MAX) {
      return this.#suppress(kind, line);
    }
    kind.written++;
    this.#written.set(logger, written + 1);
    this.#put(line);
  }

  #suppress(kind: LineKind, line: HostLogLine): void {
    kind.suppressed++;
    kind.last = line;
    this.suppressed++;
    const leftMs = this.#windowStartMs + WINDOW_MS - performance.now();
    this.#timer ??= setTimeout(() => this.flush(), leftMs).unref();
  }

  /** Ends the window and summarizes the suppressed lines. */
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

function lineKind(message: string): string {
  const words = message.split(" ", KIND_WORDS);
  return words.map((word) => (PLAIN_WORD.test(word) ? word : "*")).join(" ");
}

/** Writes a line to stderr; a closed stderr does not end the process. */
export function writeToStderr(line: string): void {
  try {
    process.stderr.write(`${line}\n`, () => {});
  } catch {
    // There is no other output.
  }
}
