/** The records that the cases of docs/reference/filters.md are about. */

import type { Document } from "./document.ts";
import { tableAfter } from "./table.ts";

const SEVERITIES: Readonly<Record<string, number>> = {
  DEBUG: 5,
  INFO: 9,
  WARNING: 13,
  ERROR: 17,
  CRITICAL: 21,
};

/** Returns an OTLP request in JSON with the records of the page. */
export function filterPageRecords(page: Document): string {
  const records = tableAfter(page, "Cases");
  const resourceLogs = records.map(([number, logger, level, message, attributes]) => ({
    // The page says so of this record.
    resource: { attributes: number === "2" ? [attribute(["host.name", "web-1"])] : [] },
    scopeLogs: [
      {
        scope: { name: code(logger!) },
        logRecords: [
          {
            timeUnixNano: `${1_760_347_644_000 + Number(number)}000000`,
            severityNumber: SEVERITIES[level!],
            body: { stringValue: code(message!) },
            attributes: Object.entries(JSON.parse(code(attributes!) || "{}") as object).map(
              attribute,
            ),
          },
        ],
      },
    ],
  }));
  return JSON.stringify({ resourceLogs });
}

/** Returns the code in a cell. */
export function code(cell: string): string {
  return /`(.*)`/.exec(cell)?.[1] ?? "";
}

function attribute([key, value]: [string, unknown]): object {
  return { key, value: anyValue(value) };
}

function anyValue(value: unknown): object {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "number") {
    return Number.isInteger(value) ? { intValue: value } : { doubleValue: value };
  }
  if (typeof value === "boolean") return { boolValue: value };
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } };
  return { kvlistValue: { values: Object.entries(value as object).map(attribute) } };
}
