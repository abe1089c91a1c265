/** Runs in its own thread, so that an input that hangs or runs out of memory does not end the campaign. */

import { parentPort, workerData } from "node:worker_threads";
import { Progress } from "./progress.ts";
import { Random } from "./random.ts";
import { shrunk } from "./shrink.ts";
import { openTarget, SlowTurn, TURN_MS_MAX, type FuzzTarget, type Timed } from "./target.ts";

/** The task of a worker. */
export interface Assignment {
  readonly target: string;
  readonly seed: number;
  /** The first index, and the index after the last one. */
  readonly from: number;
  readonly end: number;
  /** When to stop even if inputs are left, in ms since 1970. */
  readonly deadlineMs: number;
  /** A single input, instead of those that the seed generates. */
  readonly input?: Uint8Array | undefined;
  /** Shared memory of the worker's {@link Progress}. */
  readonly cells: Int32Array;
  readonly memory: Uint8Array;
}

export interface Failure {
  readonly index: number;
  readonly message: string;
  readonly input: Uint8Array;
  /** The input with as many bytes as possible removed; absent if none could be. */
  readonly shrunk?: Uint8Array | undefined;
}

export interface Outcome {
  readonly failures: readonly Failure[];
  readonly worstTurnMs: number;
}

/** A target is abandoned after this many distinct failures. */
const FAILURES_MAX = 8;

/** How often a check is repeated that was slow, or failed in a batch: the machine may be busy. */
const REPEATS = 3;

/** Number of inputs that are checked between two calls of `settle`. */
const BATCH = 500;

class Run {
  readonly #target: FuzzTarget;
  readonly #assignment: Assignment;
  readonly #progress: Progress;
  readonly #failures = new Map<string, Failure>();
  #worstTurnMs = 0;
  /** The longest turn of the current check. */
  #turnMs = 0;

  constructor(target: FuzzTarget, assignment: Assignment) {
    this.#target = target;
    this.#assignment = assignment;
    this.#progress = new Progress(assignment.cells, assignment.memory);
  }

  async all(): Promise<Outcome> {
    const { from, end, deadlineMs } = this.#assignment;
    const step = this.#target.settle === undefined ? 1 : BATCH;
    for (let index = from; index < end && Date.now() < deadlineMs; index += step) {
      if (step === 1) await this.#one(index);
      else await this.#batch(index, Math.min(end, index + step));
      if (this.#failures.size >= FAILURES_MAX) break;
    }
    return { failures: [...this.#failures.values()], worstTurnMs: this.#worstTurnMs };
  }

  #input(index: number): Uint8Array {
    const { seed, input } = this.#assignment;
    return input ?? this.#target.input(new Random(seed, index));
  }

  /** Generates the input with this index, and records it as the next one. */
  #begin(index: number): Uint8Array {
    const { from } = this.#assignment;
    const input = this.#input(index);
    this.#progress.note(index + 1 - from, index, input);
    return input;
  }

  async #one(index: number): Promise<void> {
    const input = this.#begin(index);
    try {
      await this.#check(input);
    } catch (error) {
      await this.#fail(index, input, error);
    }
  }

  /** @throws Error if an invariant is violated, or if a turn takes too long. */
  async #check(input: Uint8Array): Promise<void> {
    let turnMs = await this.#turnOf(input, wallMs);
    // Wall-clock time includes time that other processes took. If it is too long, the CPU time of this thread decides.
    for (let repeat = 0; turnMs > TURN_MS_MAX && repeat < REPEATS; repeat++) {
      turnMs = Math.min(turnMs, await this.#turnOf(input, cpuMs));
    }
    this.#worstTurnMs = Math.max(this.#worstTurnMs, turnMs);
    if (turnMs > TURN_MS_MAX) throw new SlowTurn(turnMs);
  }

  /** Returns the duration of the longest turn in the gateway during a check. */
  async #turnOf(input: Uint8Array, clockMs: () => number): Promise<number> {
    this.#turnMs = 0;
    const timed: Timed = (call) => this.#timed(call, clockMs);
    // Most checks are synchronous, and need no extra turn.
    const checked = this.#target.check(input, timed);
    if (checked !== undefined) await checked;
    return this.#turnMs;
  }

  /** Measures a call. An asynchronous call is measured turn by turn. */
  #timed<T>(call: () => T, clockMs: () => number): T {
    let lastMs = clockMs();
    const note = (): void => {
      const nowMs = clockMs();
      this.#turnMs = Math.max(this.#turnMs, nowMs - lastMs);
      lastMs = nowMs;
    };
    let isDone = true;
    try {
      const result = call();
      if (!(result instanceof Promise)) return result;
      isDone = false;
      const end = (): void => {
        isDone = true;
        note();
      };
      const look = (): void => {
        if (isDone) return;
        note();
        setImmediate(look);
      };
      void (result as Promise<unknown>).then(end, end);
      setImmediate(look);
      return result;
    } finally {
      note();
    }
  }

  async #batch(from: number, end: number): Promise<void> {
    let next = from;
    const runner = async (): Promise<void> => {
      while (next < end && this.#failures.size < FAILURES_MAX) await this.#one(next++);
    };
    await Promise.all(Array.from({ length: this.#target.concurrency ?? 1 }, runner));
    if (this.#failures.size > 0) return;
    try {
      await this.#target.settle!();
    } catch (error) {
      await this.#blame(from, end, error);
    }
  }

  /** Finds the input that caused the failure of a batch. */
  async #blame(from: number, end: number, error: unknown): Promise<void> {
    for (let index = from; index < end; index++) {
      const input = this.#begin(index);
      const own = await this.#alone(input);
      if (own !== undefined) return this.#fail(index, input, own);
    }
    // A slow turn that no input causes on its own was caused by another process.
    if (!(error instanceof SlowTurn)) await this.#fail(from, this.#input(from), error);
  }

  /** Returns the failure that this input alone causes each time; undefined if there is none. */
  async #alone(input: Uint8Array): Promise<unknown> {
    let failure: unknown;
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      try {
        await this.#target.check(input, (call) => call());
        await this.#target.settle!();
        return undefined;
      } catch (error) {
        failure = error;
      }
    }
    return failure;
  }

  async #fail(index: number, input: Uint8Array, error: unknown): Promise<void> {
    const message = textOf(error);
    const kind = kindOf(message);
    if (this.#failures.has(kind)) return;
    const isAlike = async (smaller: Uint8Array): Promise<boolean> => {
      try {
        await this.#check(smaller);
        return false;
      } catch (other) {
        return kindOf(textOf(other)) === kind;
      }
    };
    const canShrink = this.#target.settle === undefined;
    const smaller = canShrink ? await shrunk(input, isAlike) : undefined;
    this.#failures.set(kind, { index, message, input, shrunk: smaller });
  }
}

function wallMs(): number {
  return performance.now();
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\n  because: ${textOf(error.cause)}`;
  // The location is more useful than the message, unless the check itself threw the error.
  const place = /\n\s+at .*\/(?:src|plugins)\/[^\n]*/.exec(error.stack ?? "")?.[0] ?? "";
  return `${error.name}: ${error.message}${place}${cause}`;
}

/** Returns the same value for similar failures: numbers and quoted strings differ between inputs. */
function kindOf(message: string): string {
  return message.replaceAll(/"(?:[^"\\]|\\.)*"?/g, '""').replaceAll(/\d+/g, "0");
}

const assignment = workerData as Assignment;
const target = await openTarget(assignment.target);
const outcome = await new Run(target, assignment).all();
await target.close?.();
parentPort!.postMessage(outcome, []);
