import { InvalidArgumentError } from "commander";

const DAY_MS = 86_400_000;

/** Weeks and months would be ambiguous or rarely worth it. */
const DAYS = /^(\d{1,5})d$/;

const TIME = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

/**
 * Parses when something expires: in `90d`, at the end of a day in UTC (`2027-01-31`), at a time in ISO 8601, or `never`.
 * The word stays as it is.
 */
export function parseExpiry(text: string, nowMs = Date.now()): Date | "never" {
  if (text === "never") return text;
  const [, days] = DAYS.exec(text) ?? [];
  const expires = days === undefined ? parseTime(text) : new Date(nowMs + Number(days) * DAY_MS);
  if (expires === undefined || Number.isNaN(expires.getTime())) {
    throw new InvalidArgumentError(
      "Expected a number of days, such as 90d, a date, such as 2027-01-31, or never.",
    );
  }
  if (expires.getTime() <= nowMs) throw new InvalidArgumentError("It is in the past.");
  return expires;
}

function parseTime(text: string): Date | undefined {
  const date = text.slice(0, 10);
  const day = TIME.test(text) ? new Date(date) : undefined;
  // Days that do not exist, such as 2027-02-30, become others.
  if (day === undefined || Number.isNaN(day.getTime()) || !day.toISOString().startsWith(date)) {
    return undefined;
  }
  return text === date ? new Date(day.getTime() + DAY_MS - 1) : new Date(text);
}
