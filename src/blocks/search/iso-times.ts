const SECOND_MICROS = 1_000_000;
const MICROS_DIGITS = 6;

/**
 * Returns times, in microseconds since 1970, as envelopes have them: `2025-10-13T09:27:24.339163Z`; undefined for those that
 * are not exact.
 */
export function isoOfMicros(times: Float64Array): (string | undefined)[] {
  let second = -1;
  let text = "";
  return Array.from(times, (time) => {
    if (!Number.isSafeInteger(time)) return undefined;
    const seconds = Math.floor(time / SECOND_MICROS);
    if (seconds !== second) {
      second = seconds;
      text = new Date(1000 * seconds).toISOString().slice(0, "2025-10-13T09:27:24.".length);
    }
    const micros = time - SECOND_MICROS * seconds;
    return `${text}${String(micros).padStart(MICROS_DIGITS, "0")}Z`;
  });
}
