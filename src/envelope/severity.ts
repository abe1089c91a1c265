import { INFO_RANK, type LevelRank } from "../wire/envelope.ts";

/** The library whose numbers a severity text may be, as in `"30"`; only the scope can tell. */
export type SeverityNumbering = "pino" | "syslog";

/** Levels by severity text in upper case. */
const RANK_BY_TEXT = new Map<string, LevelRank>();

const TEXTS: readonly (readonly string[])[] = [
  ["DEBUG", "TRACE", "FINE", "FINER", "FINEST", "VERBOSE"],
  ["INFO", "NOTICE", "INFORMATION", "CONFIG"],
  ["WARNING", "WARN"],
  ["ERROR", "ERR", "SEVERE"],
  ["CRITICAL", "CRIT", "FATAL", "ALERT", "EMERG", "EMERGENCY", "PANIC", "DPANIC"],
];
for (const [rank, texts] of TEXTS.entries()) {
  for (const text of texts) RANK_BY_TEXT.set(text, rank as LevelRank);
}

/** OpenTelemetry's short names, such as `WARN2` (logs data model, "Displaying Severity"). */
const SHORT_NAME = /^(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)[1-4]$/;

/** How Python shows a level without a name. */
const PYTHON_LEVEL = /^LEVEL (\d+)$/;

const DIGITS = /^\d+$/;

/** No known severity text is longer. */
const TEXT_CHARS_MAX = 24;

/** Returns a record's level: by its severity number, otherwise by its severity text, otherwise INFO. */
export function rankOf(
  severityNumber: number | undefined,
  severityText: string | undefined,
  numbering?: SeverityNumbering,
): LevelRank {
  return (
    rankOfNumber(severityNumber) ??
    (severityText ? rankOfText(severityText, numbering) : undefined) ??
    INFO_RANK
  );
}

/** Returns the level of a severity number (logs data model, "SeverityNumber"); undefined if there is none. */
export function rankOfNumber(severityNumber: number | undefined): LevelRank | undefined {
  if (severityNumber === undefined || !(severityNumber > 0)) return undefined;
  if (severityNumber <= 8) return 0;
  if (severityNumber <= 12) return 1;
  if (severityNumber <= 16) return 2;
  return severityNumber <= 20 ? 3 : 4;
}

/** Returns the level of a severity text in any case; undefined for an unknown text. */
export function rankOfText(text: string, numbering?: SeverityNumbering): LevelRank | undefined {
  const trimmed = text.trim();
  if (trimmed.length > TEXT_CHARS_MAX) return undefined;
  const name = trimmed.toUpperCase();
  const known = RANK_BY_TEXT.get(name) ?? RANK_BY_TEXT.get(SHORT_NAME.exec(name)?.[1] ?? "");
  if (known !== undefined) return known;
  const pythonLevel = PYTHON_LEVEL.exec(name)?.[1];
  if (pythonLevel !== undefined) return rankOfTens(Number(pythonLevel) - 10);
  if (numbering === undefined || !DIGITS.test(name)) return undefined;
  return numbering === "pino" ? rankOfTens(Number(name) - 20) : rankOfSyslog(Number(name));
}

/** For levels that are ten apart: 0 is DEBUG, 40 and above is CRITICAL. */
function rankOfTens(number: number): LevelRank {
  return Math.min(Math.max(Math.floor(number / 10), 0), 4) as LevelRank;
}

/** From 0, emergency, to 7, debug (RFC 5424, 6.2.1). */
const SYSLOG_RANKS: readonly LevelRank[] = [4, 4, 4, 3, 2, 1, 1, 0];

function rankOfSyslog(severity: number): LevelRank | undefined {
  return SYSLOG_RANKS[severity];
}
