/**
 * Runs in its own thread, so that an input that hangs or runs out of memory ends the thread and not
 * the campaign.
 */

import { parentPort, workerData } from "node:worker_threads";
import { Progress } from "./progress.ts";
import { Random } from "./random.ts";
import { shrunk } from "./shrink.ts";
import { openTarget, SlowTurn, TURN_MS_MAX, type FuzzTarget, type Timed } from "./target.ts";

/** What a worker is asked to do. */
export interface Assignment {
  readonly target: string;
  readonly seed: number;
  /** The first index, and the one after the last. */
  readonly from: number;
  readonly end: number;
  /** When to stop although not all was run, in ms since 1970. */
  readonly deadlineMs: number;
  /** An input of its own, in place of those that the seed gives. */
  readonly input?: Uint8Array | undefined;
  /** Of the {@link Progress} that the worker tells. */
  readonly cells: Int32Array;
  readonly memory: Uint8Array;
}

export interface Failure {
  readonly index: number;
  readonly message: string;
  readonly input: Uint8Array;
  /** The same with as much as possible taken away; absent when nothing could be. */
  readonly shrunk?: Uint8Array | undefined;
}

export interface Outcome {
  readonly failures: readonly Failure[];
  readonly worstTurnMs: number;
}

/** A target is abandoned after this many distinct failures. */
const FAILURES_MAX = 8;

/** How often a check is repeated that took too long or failed among others: a busy machine is no fault of ours. */
const REPEATS = 3;

/** How many inputs are checked between two calls of `settle`. */
const BATCH = 500;

class Run {
  readonly #target: FuzzTarget;
  readonly #assignment: Assignment;
  readonly #progress: Progress;
  readonly #failures = new Map<string, Failure>();
  #worstTurnMs = 0;
  /** Of the check that is under way. */
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

  /** The input of that index, which is checked next. */
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

  /** @throws whatever does not hold, a turn that takes too long included. */
  async #check(input: Uint8Array): Promise<void> {
    let turnMs = await this.#turnOf(input, wallMs);
    // Time that other processes take counts only where this one has to share: then the thread's own time decides.
    for (let repeat = 0; turnMs > TURN_MS_MAX && repeat < REPEATS; repeat++) {
      turnMs = Math.min(turnMs, await this.#turnOf(input, cpuMs));
    }
    this.#worstTurnMs = Math.max(this.#worstTurnMs, turnMs);
    if (turnMs > TURN_MS_MAX) throw new SlowTurn(turnMs);
  }

  /** The longest call into the gateway during a check. */
  async #turnOf(input: Uint8Array, clockMs: () => number): Promise<number> {
    this.#turnMs = 0;
    const timed: Timed = (call) => this.#timed(call, clockMs);
    // Most checks are done at once, and need no turn of their own.
    const checked = this.#target.check(input, timed);
    if (checked !== undefined) await checked;
    return this.#turnMs;
  }

  /** A call that is not done at once is looked at once a turn. */
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
    const lane = async (): Promise<void> => {
      while (next < end && this.#failures.size < FAILURES_MAX) await this.#one(next++);
    };
    await Promise.all(Array.from({ length: this.#target.concurrency ?? 1 }, lane));
    if (this.#failures.size > 0) return;
    try {
      await this.#target.settle!();
    } catch (error) {
      await this.#blame(from, end, error);
    }
  }

  /** Finds the input that caused a failure seen after several. */
  async #blame(from: number, end: number, error: unknown): Promise<void> {
    for (let index = from; index < end; index++) {
      const input = this.#begin(index);
      const own = await this.#alone(input);
      if (own !== undefined) return this.#fail(index, input, own);
    }
    // A slow turn that no input causes by itself was another process's.
    if (!(error instanceof SlowTurn)) await this.#fail(from, this.#input(from), error);
  }

  /** What does not hold after this input alone, several times; undefined where all does. */
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
  // Where it comes from says more than the text, unless the check itself has found it.
  const place = /\n\s+at .*\/(?:src|plugins)\/[^\n]*/.exec(error.stack ?? "")?.[0] ?? "";
  return `${error.name}: ${error.message}${place}${cause}`;
}

/** The same for failures that are alike: numbers and quoted texts differ from input to input. */
function kindOf(message: string): string {
  return message.replaceAll(/"(?:[^"\\]|\\.)*"?/g, '""').replaceAll(/\d+/g, "0");
}

const assignment = workerData as Assignment;
const target = await openTarget(assignment.target);
const outcome = await new Run(target, assignment).all();
await target.close?.();
parentPort!.postMessage(outcome, []);
