import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { Progress } from "./progress.ts";
import type { Assignment, Failure, Outcome } from "./worker.ts";

const WORKER = new URL("worker.ts", import.meta.url);
const SOURCE_HOOKS = fileURLToPath(new URL("../harness/source-hooks.ts", import.meta.url));

/** An input hangs after this much CPU time, or after this wait: on a busy machine, any input may have to wait. */
const HANG_SECONDS = 15;
const WAIT_SECONDS = 300;
const WATCH_MS = 250;

/** A target is abandoned after this many hangs, because each takes the full timeout. */
const HANGS_MAX = 3;

/** The heap that Node.js gives a process on a small server. An input that needs more would crash the gateway. */
const HEAP_MB_MAX = 2048;

export interface CampaignOptions {
  readonly seed: number;
  /** Number of inputs. */
  readonly runs: number;
  /** Index of the first input. */
  readonly from?: number | undefined;
  /** Time limit, even if inputs are left. */
  readonly secondsMax?: number | undefined;
  /** An input that takes more CPU time hangs. */
  readonly hangSeconds?: number | undefined;
  /** A single input, instead of those that the seed generates. */
  readonly input?: Uint8Array | undefined;
}

/** The result of a campaign. */
export interface CampaignReport {
  readonly target: string;
  readonly inputs: number;
  readonly seconds: number;
  readonly worstTurnMs: number;
  readonly failures: readonly Failure[];
}

/** Runs a target's inputs. An input that hangs or runs out of memory is reported, and the rest runs in a new thread. */
export async function campaign(target: string, options: CampaignOptions): Promise<CampaignReport> {
  const {
    seed,
    runs,
    from = 0,
    secondsMax = Infinity,
    hangSeconds = HANG_SECONDS,
    input,
  } = options;
  const startMs = Date.now();
  const failures: Failure[] = [];
  const end = from + runs;
  const ownSeed = seedOf(seed, target);
  const deadlineMs = startMs + 1000 * secondsMax;
  let inputs = 0;
  let worstTurnMs = 0;
  for (let next = from, hangs = 0; next < end && hangs < HANGS_MAX && Date.now() < deadlineMs;) {
    const progress = new Progress();
    const { cells, memory } = progress;
    const assignment = { target, seed: ownSeed, from: next, end, deadlineMs, input, cells, memory };
    const result = await outcomeOf(assignment, progress, hangSeconds);
    inputs += progress.done;
    if (typeof result === "string") {
      const { index } = progress;
      failures.push({ index, message: result, input: progress.input });
      next = index + 1;
      hangs++;
      continue;
    }
    failures.push(...result.failures);
    worstTurnMs = Math.max(worstTurnMs, result.worstTurnMs);
    break;
  }
  const seconds = (Date.now() - startMs) / 1000;
  return { target, inputs, seconds, worstTurnMs, failures };
}

/** Returns a different seed for each target. */
function seedOf(seed: number, target: string): number {
  return createHash("sha256").update(`${seed} ${target}`).digest().readInt32LE();
}

/** Returns the outcome, or the reason why there is none. */
async function outcomeOf(
  assignment: Assignment,
  progress: Progress,
  hangSeconds: number,
): Promise<Outcome | string> {
  const worker = new Worker(WORKER, {
    workerData: assignment,
    execArgv: ["--import", SOURCE_HOOKS],
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
  });
  const { promise, resolve } = Promise.withResolvers<Outcome | string>();
  worker.on("message", resolve);
  worker.on("error", (error: Error) => resolve(`The thread ended: ${error.stack}`));
  worker.on("exit", (code) => resolve(`The thread ended with ${code}.`));
  const watch = new Watch(worker, progress, hangSeconds, () =>
    resolve(`It did not finish within ${hangSeconds} s.`),
  );
  const outcome = await promise;
  watch.end();
  await worker.terminate();
  return outcome;
}

/** Calls back if the thread makes no progress. */
class Watch {
  readonly #worker: Worker;
  readonly #progress: Progress;
  readonly #hangSeconds: number;
  readonly #hangs: () => void;
  readonly #timer: NodeJS.Timeout;
  #done = -1;
  #sinceMs = 0;
  /** The thread's CPU time when the check began, and at the last look. */
  #cpuBefore = NaN;
  #cpuNow = NaN;

  constructor(worker: Worker, progress: Progress, hangSeconds: number, hangs: () => void) {
    this.#worker = worker;
    this.#progress = progress;
    this.#hangSeconds = hangSeconds;
    this.#hangs = hangs;
    this.#timer = setInterval(() => this.#look(), WATCH_MS);
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const done = this.#progress.done;
    if (done !== this.#done) {
      this.#done = done;
      this.#sinceMs = Date.now();
      this.#cpuBefore = NaN;
      return;
    }
    // Rejected if the thread no longer responds.
    void this.#worker.cpuUsage().then(
      ({ user, system }) => this.#note((user + system) / 1e6),
      () => {},
    );
    const isHanging = this.#cpuNow - this.#cpuBefore > this.#hangSeconds;
    if (isHanging || Date.now() - this.#sinceMs > 1000 * WAIT_SECONDS) this.#hangs();
  }

  #note(cpuSeconds: number): void {
    if (Number.isNaN(this.#cpuBefore)) this.#cpuBefore = cpuSeconds;
    this.#cpuNow = cpuSeconds;
  }
}
