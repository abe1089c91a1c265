import { INFO_RANK, rankOfName, type LevelRank } from "../envelope.ts";

/**
 * The level of a record: a text that names one of the five levels wins, then the number (OpenTelemetry logs data
 * model, "SeverityNumber"), then INFO.
 */
export function rankOf(
  severityNumber: number | undefined,
  severityText: string | undefined,
): LevelRank {
  return (severityText ? rankOfName(severityText) : undefined) ?? rankOfNumber(severityNumber);
}

export function rankOfNumber(severityNumber: number | undefined): LevelRank {
  if (severityNumber === undefined || !(severityNumber > 0)) return INFO_RANK;
  if (severityNumber <= 8) return 0;
  if (severityNumber <= 12) return 1;
  if (severityNumber <= 16) return 2;
  return severityNumber <= 20 ? 3 : 4;
}
