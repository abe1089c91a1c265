/** What the product calls things, read from the generated pages and the code, and where pages mention it. */

import { OPTION_SOURCES, SETTING_SOURCES, type ValueSource } from "../../src/config/environment.ts";
import { COUNTS_PATH } from "../../src/http/api/counts.ts";
import { FIELDS_PATH, VALUES_PATH } from "../../src/http/api/fields.ts";
import { HISTORY_PATH } from "../../src/http/api/history.ts";
import { PATTERNS_PATH } from "../../src/http/api/patterns.ts";
import { RECORD_PATH } from "../../src/http/api/record.ts";
import {
  IDENTITY_PATH,
  LOGIN_PATH,
  LOGOUT_PATH,
  SESSION_PATH,
  SESSIONS_PATH,
  TICKETS_PATH,
} from "../../src/http/api/sign-in.ts";
import { STATS_PATH } from "../../src/http/api/stats.ts";
import { METRICS_PATH } from "../../src/http/metrics/metrics.ts";
import { LOGIN_PAGE_PATH } from "../../src/http/server/dashboard.ts";
import { HEALTH_PATH, READINESS_PATH } from "../../src/http/server/health.ts";
import { ERROR_CODES } from "../../src/wire/errors.ts";
import { Document } from "./document.ts";

const CELL = /^\| `(?<name>[^`]+)` \|/;

/** A metric of the reference. */
export interface KnownMetric {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
}

/** Returns the metrics in docs/operations/metrics.md, which are those of a gateway with all built-in plugins. */
export async function knownMetrics(): Promise<KnownMetric[]> {
  const { text } = await Document.read("docs/operations/metrics.md");
  const rows = text.matchAll(
    /^\| `(?<name>\w+)` \| (?<type>\w+) \| [^|]* \| (?<labels>[^|]*) \|/gm,
  );
  return Array.from(rows, ({ groups }) => ({
    name: groups!["name"]!,
    type: groups!["type"]!,
    labels: Array.from(groups!["labels"]!.matchAll(/\w+/g), ([label]) => label),
  }));
}

/** The pages with the keys of the configuration. */
const OPTION_PAGES = ["docs/configuration.md", "docs/reference/processors.md"];

/** Returns the keys of the configuration with their sections, such as `http.max_searches` and `receivers.otlp.port`. */
export async function knownOptions(): Promise<Set<string>> {
  const pages = await Promise.all(OPTION_PAGES.map((path) => Document.read(path)));
  const generated = pages.map(({ text }) => generatedPart(text)).join("\n");
  const options = new Set<string>(["receivers", "processors", "exporters"]);
  const generic = { exporters: new Set<string>(), processors: new Set<string>() };
  let add = (_key: string): unknown => undefined;
  for (const line of generated.split("\n")) {
    const owner = /^### (?<name>\S+)$/.exec(line)?.groups?.["name"];
    if (owner !== undefined) {
      options.add(owner);
      add = (key) => options.add(`${owner}.${key}`);
    } else if (line.startsWith("Every component")) add = (key) => generic.exporters.add(key);
    else if (line.startsWith("Processors also have")) add = (key) => generic.processors.add(key);
    else if (options.size === 3 && line.startsWith("| Key |")) add = (key) => options.add(key);
    const key = CELL.exec(line)?.groups?.["name"];
    if (key !== undefined) add(key);
  }
  for (const section of [...options].filter((option) => /^\w+\.[\w-]+$/.test(option))) {
    const keys = section.startsWith("exporters.") ? generic.exporters : ["use"];
    for (const key of keys) options.add(`${section}.${key}`);
  }
  for (const key of generic.exporters) options.add(`exporters.${key}`);
  for (const key of generic.processors) options.add(`processors.${key}`);
  return options;
}

/** Returns the commands with their options, such as `audit verify` with `--key`. */
export async function knownCommands(): Promise<Map<string, Set<string>>> {
  const { text } = await Document.read("docs/cli.md");
  const commands = new Map<string, Set<string>>();
  let flags = new Set<string>();
  for (const line of generatedPart(text).split("\n")) {
    const command = /^## tailgate ?(?<name>.*)$/.exec(line)?.groups?.["name"];
    if (command !== undefined) commands.set(command, (flags = new Set()));
    const [, options = ""] = /^ {2}((?:-\w, )?--[\w-]+)/.exec(line) ?? [];
    for (const flag of options.split(", ")) if (flag !== "") flags.add(flag);
  }
  return commands;
}

function generatedPart(text: string): string {
  return /<!-- generated:begin -->([^]*)<!-- generated:end -->/.exec(text)![1]!;
}

/** The paths of the main port, with the methods that they answer. */
export const ROUTES: ReadonlyMap<string, readonly string[]> = new Map([
  ["/", ["GET"]],
  [HISTORY_PATH, ["GET"]],
  [RECORD_PATH, ["GET"]],
  [COUNTS_PATH, ["GET"]],
  [FIELDS_PATH, ["GET"]],
  [VALUES_PATH, ["GET"]],
  [PATTERNS_PATH, ["GET"]],
  [STATS_PATH, ["GET"]],
  [HEALTH_PATH, ["GET"]],
  [IDENTITY_PATH, ["GET"]],
  [LOGIN_PATH, ["POST"]],
  [LOGOUT_PATH, ["POST"]],
  [SESSIONS_PATH, ["GET"]],
  [SESSION_PATH, ["DELETE"]],
  [TICKETS_PATH, ["POST"]],
  [LOGIN_PAGE_PATH, ["GET"]],
  [READINESS_PATH, ["GET"]],
  [METRICS_PATH, ["GET"]],
  ["/ws/logs", ["GET"]],
  ["/v1/logs", ["POST", "OPTIONS"]],
  ["/v1/traces", ["POST"]],
  ["/v1/metrics", ["POST"]],
]);

/** The codes of `{"error":{"code","message"}}` that only HTTP responses have. */
const HTTP_CODES = [
  "ANSWERS_UNREAD",
  "BODY_INVALID",
  "BODY_TOO_LARGE",
  "CURSOR_GONE",
  "METHOD_NOT_ALLOWED",
  "NOT_FOUND",
  "PARAMETER_INVALID",
  "SEARCHES_BUSY",
  "UNSUPPORTED_MEDIA_TYPE",
] as const;

export const CODES: readonly string[] = [...ERROR_CODES, ...HTTP_CODES];

/** Environment variables that the gateway, its plugins or `LoggingManager` read. */
export const VARIABLES: readonly string[] = [
  ...[...Object.values(SETTING_SOURCES), ...OPTION_SOURCES].flatMap(
    ({ variables = [] }: ValueSource) => variables,
  ),
  "NO_COLOR",
  "OTEL_SERVICE_NAME",
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
  "XDG_CONFIG_HOME",
];
