/** Other ways in which senders write OTLP's JSON: protobuf's own field names, and the names of enumerations. */

const SNAKE_NAMES = [
  "resource_logs",
  "scope_logs",
  "log_records",
  "schema_url",
  "dropped_attributes_count",
  "time_unix_nano",
  "observed_time_unix_nano",
  "severity_number",
  "severity_text",
  "event_name",
  "trace_id",
  "span_id",
  "string_value",
  "bool_value",
  "int_value",
  "double_value",
  "array_value",
  "kvlist_value",
  "bytes_value",
  "instrumentation_library_logs",
  "instrumentation_library",
];

const JSON_NAMES = new Map(SNAKE_NAMES.map((name) => [name, camelCase(name)]));

function camelCase(name: string): string {
  return name.replaceAll(/_[a-z]/g, (piece) => piece[1]!.toUpperCase());
}

/** Returns the name that OTLP's JSON has for a field. */
export function jsonName(name: string): string {
  return JSON_NAMES.get(name) ?? name;
}

const SNAKE_MEMBER = new RegExp(`"(${SNAKE_NAMES.join("|")})"(?=\\s*:)`, "g");

/**
 * Returns the JSON text with OTLP's names in the place of protobuf's own. A text that looks like such a member cannot
 * stand inside of a string, where the quotes around the name would have backslashes before them.
 */
export function withJsonNames(json: string): string {
  return json.replaceAll(SNAKE_MEMBER, (_, name: string) => `"${jsonName(name)}"`);
}

/** OTLP's JSON names that contain records of senders from before 2022 (opentelemetry-proto 0.15). */
export const LIBRARY_LOGS = "instrumentationLibraryLogs";
export const LIBRARY = "instrumentationLibrary";
export const LIBRARY_RECORDS = "logs";

const SEVERITY_NUMBERS: ReadonlyMap<string, number> = new Map([
  ["TRACE", 1],
  ["DEBUG", 5],
  ["INFO", 9],
  ["WARN", 13],
  ["ERROR", 17],
  ["FATAL", 21],
]);
const SEVERITY_NAME =
  /^SEVERITY_NUMBER_(?:UNSPECIFIED|(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)([2-4])?)$/;

/** Returns the number of a name such as `SEVERITY_NUMBER_WARN2`, in any case; undefined for another text. */
export function severityNumberOf(name: string): number | undefined {
  const match = SEVERITY_NAME.exec(name.toUpperCase());
  if (match === null) return undefined;
  const [, level = "", step = "1"] = match;
  return level === "" ? 0 : SEVERITY_NUMBERS.get(level)! + Number(step) - 1;
}
