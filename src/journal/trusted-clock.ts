import { readFileSync, renameSync } from "node:fs";
import { uptime } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { HostClock } from "../plugin/index.ts";
import { overwriteFile } from "../runtime/log-dir.ts";
import { agedBefore, type ClockReading, type ClockStep } from "./clock-reading.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** A smaller difference between the system clock and the time that passed does not count as a step. */
const DRIFT_MS = MINUTE_MS;

/** A larger step while the gateway is running is a jump: it is reported, and followed only when it is confirmed. */
const FOLLOWED_MS = 23 * HOUR_MS;

/** A step is confirmed when this much time has really passed since. */
const CONFIRMED_MS = 10 * MINUTE_MS;

/** If the newest record is not older than this at the start, the clock is followed at once. */
const DOWNTIME_MS_MAX = 31 * DAY_MS;

/** No clock of ours ran while the gateway was down: for retention, a downtime counts as this much time at most. */
const DOWNTIME_COUNTED_MS = 2 * DAY_MS;

/** More steps than this are merged: records older than all of them only expire later. */
const STEPS_MAX = 32;

const stepSchema = z.object({ atMs: z.number(), byMs: z.number() });

const savedSchema = z.object({ lastMs: z.number(), steps: z.array(stepSchema).readonly() });

/** The state of the clock that one process leaves to the next. */
export type SavedClock = z.infer<typeof savedSchema>;

/** `fromMs` is the trusted time, `toMs` the time of the system clock. */
export interface ClockEvent {
  readonly kind: "jumped" | "returned" | "confirmed";
  /** Whether the clock may have jumped before the start. */
  readonly isStart: boolean;
  readonly fromMs: number;
  readonly toMs: number;
}

/** A step of the system clock that is not confirmed yet. */
interface UnconfirmedStep {
  /** How far the system clock is ahead. */
  readonly byMs: number;
  /** When it was noticed: the time that had passed since {@link TrustedClock} last knew the time. */
  readonly elapsedMs: number;
  readonly isFollowed: boolean;
}

/**
 * The clock that stamps records and tells retention their age. It follows the system clock, except when that jumps: then
 * it advances by the time that really passes, until the system clock has held its new time for ten minutes. A confirmed
 * jump still makes no record older: {@link agedBefore} leaves it out.
 */
export class TrustedClock implements HostClock {
  /** A trusted time, with the readings of the monotonic clocks at that moment. */
  #knownMs = 0;
  #monotonicMs = 0;
  #uptimeMs = 0;
  /** How far this clock is ahead of that time plus what has passed since. */
  #aheadMs = 0;
  #steps: readonly ClockStep[];
  readonly #startedMs = performance.now();
  /** A lower bound of the time, even at the start. */
  readonly #earliestMs: number;
  /** The clock was too far ahead of the newest record at the start, and still is. */
  #isLate = false;
  #unconfirmed: UnconfirmedStep | undefined;
  readonly #listeners = new Set<(event: ClockEvent) => void>();

  /** `lastMs`: a time that is known to have passed, such as that of the newest record; undefined if none is known. */
  constructor(
    saved: { lastMs?: number | undefined; steps?: readonly ClockStep[] | undefined } = {},
  ) {
    const wallMs = Date.now();
    const { lastMs = wallMs, steps = [] } = saved;
    this.#steps = steps;
    this.#earliestMs = saved.lastMs ?? -Infinity;
    this.#isLate = wallMs - lastMs > DOWNTIME_MS_MAX;
    if (this.#isLate) this.#know(lastMs);
    else this.#begin(wallMs, lastMs);
  }

  /** Returns the time in ms since 1970. Reads two clocks. */
  now(): number {
    const wallMs = Date.now();
    const aheadMs = wallMs - this.#knownMs - (performance.now() - this.#monotonicMs);
    const isSteady = this.#unconfirmed === undefined && Math.abs(aheadMs) < DRIFT_MS;
    return isSteady ? wallMs : this.#judge(wallMs);
  }

  agedBefore(ageMs: number, nowMs?: number): number {
    const { nowMs: trustedMs, steps } = this.reading();
    // While a step back is unconfirmed, the earlier time deletes less.
    return agedBefore(ageMs, { nowMs: nowMs ?? Math.min(trustedMs, Date.now()), steps });
  }

  reading(): ClockReading {
    return { nowMs: this.now(), steps: this.#steps };
  }

  get saved(): SavedClock {
    return { lastMs: this.now(), steps: this.#steps };
  }

  /** How far the system clock is from the trusted time; 0 while it is trusted itself. */
  get unconfirmedMs(): number {
    this.now();
    return this.#jump?.byMs ?? 0;
  }

  /** Calls the listener from within a reading of the clock, and at once if there is an unconfirmed jump. */
  watch(listener: (event: ClockEvent) => void): () => void {
    const nowMs = this.now();
    this.#listeners.add(listener);
    if (this.#jump !== undefined) {
      const toMs = nowMs + this.#jump.byMs;
      listener({ kind: "jumped", isStart: this.#isLate, fromMs: nowMs, toMs });
    }
    return () => void this.#listeners.delete(listener);
  }

  get #jump(): UnconfirmedStep | undefined {
    return this.#unconfirmed?.isFollowed === false ? this.#unconfirmed : undefined;
  }

  #judge(wallMs: number): number {
    // The monotonic clock of Linux stands still while the machine is suspended; its uptime does not.
    const uptimeMs = uptime() * 1000 - this.#uptimeMs;
    const elapsedMs = Math.max(performance.now() - this.#monotonicMs, uptimeMs);
    const trustedMs = this.#knownMs + elapsedMs;
    const byMs = wallMs - trustedMs;
    if (Math.abs(byMs) < DRIFT_MS || this.#isCorrection(wallMs, byMs)) {
      return this.#return(wallMs, trustedMs);
    }
    const isFollowed = Math.abs(byMs) <= FOLLOWED_MS;
    if (this.#unconfirmed === undefined || Math.abs(byMs - this.#unconfirmed.byMs) >= DRIFT_MS) {
      this.#unconfirmed = { byMs, elapsedMs, isFollowed };
      this.#move(isFollowed ? byMs : 0, trustedMs);
      if (!isFollowed) this.#notify("jumped", trustedMs, wallMs);
    } else if (elapsedMs - this.#unconfirmed.elapsedMs >= CONFIRMED_MS) {
      this.#confirm(wallMs, trustedMs);
      return wallMs;
    }
    return isFollowed ? wallMs : trustedMs;
  }

  /** Soon after a start, the clock may still be corrected. */
  #isCorrection(wallMs: number, byMs: number): boolean {
    if (this.#isLate) return byMs <= DOWNTIME_MS_MAX;
    const isNew = performance.now() - this.#startedMs < CONFIRMED_MS;
    return isNew && byMs < 0 && wallMs >= this.#earliestMs;
  }

  #return(wallMs: number, trustedMs: number): number {
    const wasJump = this.#jump !== undefined;
    this.#unconfirmed = undefined;
    this.#move(0, trustedMs);
    if (Math.abs(wallMs - trustedMs) >= DRIFT_MS) this.#begin(wallMs, trustedMs);
    else this.#know(trustedMs);
    this.#isLate = false;
    if (wasJump) this.#notify("returned", trustedMs, wallMs);
    return wallMs;
  }

  #confirm(wallMs: number, trustedMs: number): void {
    const { isFollowed } = this.#unconfirmed!;
    this.#unconfirmed = undefined;
    this.#isLate = false;
    this.#move(wallMs - trustedMs, trustedMs);
    this.#know(wallMs);
    if (!isFollowed) this.#notify("confirmed", trustedMs, wallMs);
  }

  #begin(wallMs: number, lastMs: number): void {
    const sinceMs = wallMs - lastMs;
    this.#isLate = false;
    this.#know(wallMs);
    this.#steps = withStep(this.#steps, {
      atMs: wallMs,
      byMs: Math.min(sinceMs, Math.max(0, sinceMs - DOWNTIME_COUNTED_MS)),
    });
  }

  /** From now on this clock is that far ahead of the time that passed. */
  #move(aheadMs: number, trustedMs: number): void {
    const byMs = aheadMs - this.#aheadMs;
    this.#aheadMs = aheadMs;
    this.#steps = withStep(this.#steps, { atMs: trustedMs + aheadMs, byMs });
  }

  #know(timeMs: number): void {
    this.#knownMs = timeMs;
    this.#aheadMs = 0;
    this.#monotonicMs = performance.now();
    this.#uptimeMs = uptime() * 1000;
  }

  #notify(kind: ClockEvent["kind"], fromMs: number, toMs: number): void {
    const event = { kind, isStart: this.#isLate, fromMs, toMs };
    for (const listener of this.#listeners) listener(event);
  }
}

/** A step back undoes steps forward, newest first: records stamped between them only expire later. */
function withStep(steps: readonly ClockStep[], { atMs, byMs }: ClockStep): readonly ClockStep[] {
  if (byMs >= 0) return byMs === 0 ? steps : mergeSteps([...steps, { atMs, byMs }]);
  const [newest, before] = [steps.at(-1), steps.slice(0, -1)];
  if (newest === undefined) return steps;
  const leftMs = newest.byMs + byMs;
  if (leftMs <= 0) return withStep(before, { atMs, byMs: leftMs });
  return [...before, { atMs: Math.min(newest.atMs, atMs), byMs: leftMs }];
}

function mergeSteps(steps: readonly ClockStep[]): readonly ClockStep[] {
  if (steps.length <= STEPS_MAX) return steps;
  const [first, second, ...others] = steps;
  return [{ atMs: second!.atMs, byMs: first!.byMs + second!.byMs }, ...others];
}

/** Parses the text of a saved clock; undefined if it is not one. */
export function parseSavedClock(text: string | undefined): SavedClock | undefined {
  if (text === undefined) return undefined;
  try {
    return savedSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

const WRITE_MS = 60_000;

/**
 * Saves the clock of an in-memory journal for the next process, in `journal.clock`: the audit files remain, and their
 * modification times are those of the system clock, which may have been wrong. Its life: `read`, `start`, `close`.
 */
export class ClockFile {
  readonly #path: string;
  #timer: NodeJS.Timeout | undefined;
  #clock: TrustedClock | undefined;

  constructor(directory: string) {
    this.#path = join(directory, "journal.clock");
  }

  /** Undefined if there is none, or if it cannot be read. */
  read(): SavedClock | undefined {
    try {
      return parseSavedClock(readFileSync(this.#path, "utf8"));
    } catch {
      return undefined;
    }
  }

  start(clock: TrustedClock): void {
    this.#clock = clock;
    this.#write();
    this.#timer = setInterval(() => this.#write(), WRITE_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#write();
  }

  /** Errors are left to whoever writes records to the same directory. */
  #write(): void {
    if (this.#clock === undefined) return;
    try {
      const draft = `${this.#path}.new`;
      overwriteFile(draft, JSON.stringify(this.#clock.saved), false);
      renameSync(draft, this.#path);
    } catch {
      // The next attempt may succeed; until then the file is out of date, as after a crash.
    }
  }
}
