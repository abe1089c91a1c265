/**
 * The basis of latency measurements: the text of each message contains its scheduled time, in microseconds of the
 * monotonic clock, which all processes of a machine share. A sender that is late does not make the others look faster
 * (no coordinated omission).
 */

const PREFIX = "t=";
const DIGITS = 16;

export const TIMESTAMP_LENGTH = PREFIX.length + DIGITS;

export const PREFIX_BYTES: Buffer = Buffer.from(PREFIX);

export function nowMicros(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

export function timestampText(micros: number): string {
  return PREFIX + String(Math.round(micros)).padStart(DIGITS, "0");
}

/** Returns the timestamp at `start`, or NaN if there is none. */
export function parseTimestamp(bytes: Uint8Array, start: number): number {
  let micros = 0;
  for (let index = start + PREFIX.length; index < start + TIMESTAMP_LENGTH; index++) {
    const digit = bytes[index]! - 0x30;
    if (digit < 0 || digit > 9) return NaN;
    micros = 10 * micros + digit;
  }
  return micros;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Blocks the thread until that time; timers are accurate only to a millisecond. */
export function sleepUntil(micros: number): void {
  const leftMs = (micros - nowMicros()) / 1_000;
  if (leftMs > 0) Atomics.wait(sleeper, 0, 0, leftMs);
}
