/** Where the text of the timestamp starts in an envelope's `data`, and how long it is: always the same. */
export const TIMESTAMP_START = '{"timestamp":"'.length;
export const TIMESTAMP_LENGTH = "2025-10-13T09:27:24.339163Z".length;

/** The last second of the year 9999: later ones have no ISO form of the same length. */
const SECONDS_MAX = 253_402_300_799;

/** `2025-10-13T09:27:24.` of the second that was written last; most records share it with the one before. */
let cachedSecond = -1;
const cachedText = new Uint8Array(20);

/** `2025-10-13T09:27:24.` for seconds since 1970 UTC; valid until the next call. */
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

/** True for seconds that {@link textOfSecond} can show: the years 1970 to 9999. */
export function isShownSecond(seconds: number): boolean {
  return seconds >= 0 && seconds <= SECONDS_MAX;
}
