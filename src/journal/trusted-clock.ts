import { closeSync, constants, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { uptime } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { HostClock } from "../plugin/index.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** The system clock may differ so much from the time that passed before that counts as a step. */
const DRIFT_MS = MINUTE_MS;

/** A step of the running gateway's clock that is larger is a jump: it is reported, and followed only when confirmed. */
const FOLLOWED_MS = 23 * HOUR_MS;

/** After so much time that really passed since a step, the clock is confirmed. */
const CONFIRMED_MS = 10 * MINUTE_MS;

/** A start at most so long after the newest record follows the clock at once. */
const DOWNTIME_MS_MAX = 31 * DAY_MS;

/** No clock of ours ran while there was no gateway: for retention, a downtime counts as at most so much time. */
const DOWNTIME_COUNTED_MS = 2 * DAY_MS;

/** More steps than that are merged: what is older than all of them only expires later for it. */
const STEPS_MAX = 32;

/** A step ahead for which no time passed: what was stamped before `atMs` is `byMs` younger than its stamp says. */
const stepSchema = z.object({ atMs: z.number(), byMs: z.number() });

const keptSchema = z.object({ lastMs: z.number(), steps: z.array(stepSchema).readonly() });

type ClockStep = z.infer<typeof stepSchema>;

/** What one process leaves to the next. */
export type KeptClock = z.infer<typeof keptSchema>;

/** What is needed to tell the age of a stamp; can be sent between threads. */
export interface ClockReading {
  readonly nowMs: number;
  /** In the order of their stamps. */
  readonly steps: readonly ClockStep[];
}

/** `fromMs` is the time that is trusted, `toMs` what the system clock shows. */
export interface ClockEvent {
  readonly kind: "jumped" | "returned" | "confirmed";
  /** The clock may have jumped before the start. */
  readonly isStart: boolean;
  readonly fromMs: number;
  readonly toMs: number;
}

/** A difference between the system clock and the time that passed, not confirmed yet. */
interface Doubt {
  /** How far the system clock is ahead. */
  readonly byMs: number;
  /** When it was noticed, in time that passed. */
  readonly elapsedMs: number;
  readonly isFollowed: boolean;
}

/**
 * The clock by which the journal stamps records and retention tells their age. It follows the system clock, except when
 * that jumps: then it advances by the time that really passes until the system clock has held its new time for ten
 * minutes. A confirmed jump still makes no record older: {@link agedBefore} leaves it out.
 */
export class TrustedClock implements HostClock {
  /** A time that was trusted, with the monotonic clocks' readings of that moment. */
  #knownMs = 0;
  #monotonicMs = 0;
  #uptimeMs = 0;
  /** How far this clock is ahead of that time and what passed since. */
  #aheadMs = 0;
  #steps: readonly ClockStep[];
  readonly #startedMs = performance.now();
  /** No clock may show less, even at a start. */
  readonly #earliestMs: number;
  /** The clock was too far ahead of the newest record at the start, and still is. */
  #isLate = false;
  #doubt: Doubt | undefined;
  readonly #listeners = new Set<(news: ClockEvent) => void>();

  /** `lastMs`: a moment that is known to have passed, such as that of the newest record; undefined if none is known. */
  constructor(
    kept: { lastMs?: number | undefined; steps?: readonly ClockStep[] | undefined } = {},
  ) {
    const wallMs = Date.now();
    const { lastMs = wallMs, steps = [] } = kept;
    this.#steps = steps;
    this.#earliestMs = kept.lastMs ?? -Infinity;
    this.#isLate = wallMs - lastMs > DOWNTIME_MS_MAX;
    if (this.#isLate) this.#know(lastMs);
    else this.#begin(wallMs, lastMs);
  }

  /** In ms since 1970. Costs two readings of clocks. */
  now(): number {
    const wallMs = Date.now();
    const aheadMs = wallMs - this.#knownMs - (performance.now() - this.#monotonicMs);
    const isSteady = this.#doubt === undefined && Math.abs(aheadMs) < DRIFT_MS;
    return isSteady ? wallMs : this.#judged(wallMs);
  }

  agedBefore(ageMs: number, nowMs?: number): number {
    const { nowMs: trustedMs, steps } = this.reading();
    // While a step back is in doubt, the earlier time deletes less.
    return agedBefore(ageMs, { nowMs: nowMs ?? Math.min(trustedMs, Date.now()), steps });
  }

  reading(): ClockReading {
    return { nowMs: this.now(), steps: this.#steps };
  }

  get kept(): KeptClock {
    return { lastMs: this.now(), steps: this.#steps };
  }

  /** How far the system clock is from the time that is trusted; 0 while it is trusted itself. */
  get unconfirmedMs(): number {
    this.now();
    return this.#doubt === undefined || this.#doubt.isFollowed ? 0 : this.#doubt.byMs;
  }

  /** Calls the listener within a reading of the clock, and at once about a jump that is not confirmed. */
  watch(listener: (news: ClockEvent) => void): () => void {
    const nowMs = this.now();
    this.#listeners.add(listener);
    if (this.#doubt !== undefined && !this.#doubt.isFollowed) {
      const toMs = nowMs + this.#doubt.byMs;
      listener({ kind: "jumped", isStart: this.#isLate, fromMs: nowMs, toMs });
    }
    return () => void this.#listeners.delete(listener);
  }

  #judged(wallMs: number): number {
    // The monotonic clock of Linux stands still while the machine is suspended; its uptime does not.
    const uptimeMs = uptime() * 1000 - this.#uptimeMs;
    const elapsedMs = Math.max(performance.now() - this.#monotonicMs, uptimeMs);
    const trustedMs = this.#knownMs + elapsedMs;
    const byMs = wallMs - trustedMs;
    if (Math.abs(byMs) < DRIFT_MS || this.#isCorrected(wallMs, byMs)) {
      return this.#returned(wallMs, trustedMs);
    }
    const isFollowed = Math.abs(byMs) <= FOLLOWED_MS;
    if (this.#doubt === undefined || Math.abs(byMs - this.#doubt.byMs) >= DRIFT_MS) {
      this.#doubt = { byMs, elapsedMs, isFollowed };
      this.#move(isFollowed ? byMs : 0, trustedMs);
      if (!isFollowed) this.#tell("jumped", trustedMs, wallMs);
    } else if (elapsedMs - this.#doubt.elapsedMs >= CONFIRMED_MS) {
      this.#confirm(wallMs, trustedMs);
      return wallMs;
    }
    return isFollowed ? wallMs : trustedMs;
  }

  /** Soon after a start, the clock may still be set right. */
  #isCorrected(wallMs: number, byMs: number): boolean {
    if (this.#isLate) return byMs <= DOWNTIME_MS_MAX;
    const isNew = performance.now() - this.#startedMs < CONFIRMED_MS;
    return isNew && byMs < 0 && wallMs >= this.#earliestMs;
  }

  #returned(wallMs: number, trustedMs: number): number {
    const wasJump = this.#doubt !== undefined && !this.#doubt.isFollowed;
    this.#doubt = undefined;
    this.#move(0, trustedMs);
    if (Math.abs(wallMs - trustedMs) >= DRIFT_MS) this.#begin(wallMs, trustedMs);
    else this.#know(trustedMs);
    this.#isLate = false;
    if (wasJump) this.#tell("returned", trustedMs, wallMs);
    return wallMs;
  }

  #confirm(wallMs: number, trustedMs: number): void {
    const { isFollowed } = this.#doubt!;
    this.#doubt = undefined;
    this.#isLate = false;
    this.#move(wallMs - trustedMs, trustedMs);
    this.#know(wallMs);
    if (!isFollowed) this.#tell("confirmed", trustedMs, wallMs);
  }

  #begin(wallMs: number, lastMs: number): void {
    const sinceMs = wallMs - lastMs;
    this.#isLate = false;
    this.#know(wallMs);
    this.#steps = stepped(this.#steps, {
      atMs: wallMs,
      byMs: Math.min(sinceMs, Math.max(0, sinceMs - DOWNTIME_COUNTED_MS)),
    });
  }

  /** From now on this clock is so far ahead of the time that passed. */
  #move(aheadMs: number, trustedMs: number): void {
    const byMs = aheadMs - this.#aheadMs;
    this.#aheadMs = aheadMs;
    this.#steps = stepped(this.#steps, { atMs: trustedMs + aheadMs, byMs });
  }

  #know(timeMs: number): void {
    this.#knownMs = timeMs;
    this.#aheadMs = 0;
    this.#monotonicMs = performance.now();
    this.#uptimeMs = uptime() * 1000;
  }

  #tell(kind: ClockEvent["kind"], fromMs: number, toMs: number): void {
    const news = { kind, isStart: this.#isLate, fromMs, toMs };
    for (const listener of this.#listeners) listener(news);
  }
}

/** The stamp before which everything is older than `ageMs`: goes back in time, and over the steps on the way. */
export function agedBefore(ageMs: number, { nowMs, steps }: ClockReading): number {
  let momentMs = nowMs - ageMs;
  for (const { atMs, byMs } of steps.toReversed()) if (momentMs < atMs) momentMs -= byMs;
  return momentMs;
}

/** A step back undoes steps ahead, the newest first: what was stamped between them only expires later. */
function stepped(steps: readonly ClockStep[], { atMs, byMs }: ClockStep): readonly ClockStep[] {
  if (byMs >= 0) return byMs === 0 ? steps : merged([...steps, { atMs, byMs }]);
  const [newest, before] = [steps.at(-1), steps.slice(0, -1)];
  if (newest === undefined) return steps;
  const leftMs = newest.byMs + byMs;
  if (leftMs <= 0) return stepped(before, { atMs, byMs: leftMs });
  return [...before, { atMs: Math.min(newest.atMs, atMs), byMs: leftMs }];
}

function merged(steps: readonly ClockStep[]): readonly ClockStep[] {
  if (steps.length <= STEPS_MAX) return steps;
  const [first, second, ...others] = steps;
  return [{ atMs: second!.atMs, byMs: first!.byMs + second!.byMs }, ...others];
}

/** Undefined if the text is not one that a clock was kept as. */
export function keptClockOf(text: string | undefined): KeptClock | undefined {
  if (text === undefined) return undefined;
  try {
    return keptSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

const CLOCK_FILE = "journal.clock";

const WRITE_MS = 60_000;

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/**
 * Keeps the clock of a journal in memory from one process to the next, in `journal.clock`: the audit files stay, and
 * the times at which they were changed are the system clock's, which may have been wrong. Its life: `read`, then
 * `begin`, then `close`.
 */
export class ClockFile {
  readonly #path: string;
  #timer: NodeJS.Timeout | undefined;
  #clock: TrustedClock | undefined;

  constructor(directory: string) {
    this.#path = join(directory, CLOCK_FILE);
  }

  /** Undefined if there is none, or none that can be read. */
  read(): KeptClock | undefined {
    try {
      return keptClockOf(readFileSync(this.#path, "utf8"));
    } catch {
      return undefined;
    }
  }

  begin(clock: TrustedClock): void {
    this.#clock = clock;
    this.#write();
    this.#timer = setInterval(() => this.#write(), WRITE_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#write();
  }

  /** A directory that cannot be written is told of by whoever writes records there. */
  #write(): void {
    if (this.#clock === undefined) return;
    try {
      const draft = `${this.#path}.new`;
      const file = openSync(draft, FLAGS, 0o600);
      try {
        writeSync(file, JSON.stringify(this.#clock.kept));
      } finally {
        closeSync(file);
      }
      renameSync(draft, this.#path);
    } catch {
      // The next one may succeed; until then the file is out of date, as after a crash.
    }
  }
}
