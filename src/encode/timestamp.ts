import type { JsonWriter } from "./json-writer.ts";

/** The last second of the year 9999: later ones have no ISO form of the same length. */
const SECONDS_MAX = 253_402_300_799;

const ZERO = 0x30;

/** `2025-10-13T09:27:24.` of the second that was written last; most records share it with the one before. */
let cachedSecond = -1;
const cachedText = new Uint8Array(20);

/** Writes `2025-10-13T09:27:24.339163Z` without quotes. Seconds since 1970 UTC; micros 0-999999. */
export function writeTimestamp(writer: JsonWriter, seconds: number, micros: number): void {
  writer.reserve(27);
  const buffer = writer.buffer;
  let position = writer.position;
  buffer.set(textOfSecond(seconds), position);
  position += cachedText.length;
  let rest = micros;
  for (let digit = 5; digit >= 0; digit--) {
    const tens = (rest / 10) | 0;
    buffer[position + digit] = ZERO + rest - tens * 10;
    rest = tens;
  }
  position += 6;
  buffer[position++] = 0x5a;
  writer.position = position;
}

/** `2025-10-13T09:27:24.`; valid until the next call. */
export function textOfSecond(seconds: number): Uint8Array {
  if (seconds !== cachedSecond) cacheSecond(seconds);
  return cachedText;
}

function cacheSecond(seconds: number): void {
  const text = new Date(1000 * seconds).toISOString();
  for (let index = 0; index < cachedText.length; index++)
    cachedText[index] = text.charCodeAt(index);
  cachedSecond = seconds;
}

/** True for seconds that {@link writeTimestamp} can show: the years 1970 to 9999. */
export function isShownSecond(seconds: number): boolean {
  return seconds >= 0 && seconds <= SECONDS_MAX;
}
