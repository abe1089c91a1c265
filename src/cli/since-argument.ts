import { InvalidArgumentError } from "commander";

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const DURATION = /^(\d{1,6})([smhd])$/;

const TIME =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:\d{2})?)?$/i;

/** The last millisecond of the year 9999. */
const MS_MAX = 253_402_300_799_999;

/**
 * Reads a moment: ISO 8601, in UTC if it names no zone, or how long ago it was. Returns it as `tailgate.v1` takes it:
 * ISO 8601 to the microsecond, or ms since 1970.
 */
export function sinceArgument(text: string): string | number {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (unit !== undefined) return Math.max(0, Date.now() - Number(count) * UNIT_MS[unit as "s"]);
  const [, date, time = "00:00", zone = "Z"] = TIME.exec(text) ?? [];
  const ms = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  const micros = time.slice(9, 15).padEnd(6, "0");
  if (ms >= 0 && ms <= MS_MAX) return `${new Date(ms).toISOString().slice(0, 20)}${micros}Z`;
  throw new InvalidArgumentError(
    "Expected a time such as 2025-10-13T09:27:24Z, or how long ago, such as 10m, 2h, 1d.",
  );
}
