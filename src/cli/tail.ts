import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { InvalidArgumentError, Option, type Command } from "commander";
import { socketPath } from "../client/endpoints.ts";
import { rawJson, type LogEntry } from "../client/index.ts";
import { maskUrls } from "../config/secrets.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { checkFilterLength, FILTER_PARAMETERS, type FilterQuery } from "../wire/filter.ts";
import { printable, printableJson } from "../wire/printable.ts";
import type { FollowOptions } from "./follow.ts";
import { gapJson, gapLine, logLine } from "./log-line.ts";
import { print, say } from "./output.ts";

interface TailOptions {
  readonly url?: string;
  readonly tokenFile?: string;
  readonly token?: string;
  readonly type?: string;
  readonly level?: string;
  readonly logger?: string;
  readonly replay?: number;
  /** As `tailgate.v1` accepts it. */
  readonly since?: string | number;
  readonly follow: boolean;
  readonly json?: boolean;
  readonly wait?: boolean;
}

const DEFAULT_PORT = 8001;

const EXAMPLES = `
Examples:
  tailgate tail --level WARNING --replay 100
  tailgate tail --logger orchestrator.server timeout
  tailgate tail type:audit action:instance_spawn details.role:worker
  tailgate tail --since 2h --no-follow --level ERROR
  tailgate tail --json | jq .data
  tailgate tail -- -heartbeat '"connection refused"'

Records that are no longer available are reported on a line of their own; with --json as {"type":"gap",...}.
All terms of a query must match: text, "a phrase", -not, level:WARNING, type:audit, logger:NAME,
action:NAME, field:value. Without --url, the gateway is expected on 127.0.0.1, port $ORCHESTRATOR_PORT or ${DEFAULT_PORT}.

A gateway with authentication needs a token with a read scope, in $TAILGATE_TOKEN or --token-file. --url may have a
user and a password instead: wss://USER:PASSWORD@HOST. There is no option for the token itself, because other users of
the machine could see it in the list of processes. Exit code 77: the gateway rejected the token.`;

export function addTail(program: Command): void {
  program
    .command("tail")
    .description("follow the logs of a running gateway")
    .argument("[query...]", "terms that records must match")
    .option("--url <url>", "URL of the gateway (default: ws://127.0.0.1:8001/ws/logs)")
    .option("--token-file <path>", "file with the token (default: the variable TAILGATE_TOKEN)")
    .addOption(new Option("--token <token>").hideHelp())
    .option("--type <type>", "only records of this type: system or audit")
    .option("--level <level>", "only records of this level or a more severe one")
    .option("--logger <name>", "only records of this logger and its children")
    .option("--replay <count>", "start with this many of the newest records", parseCount)
    .option(
      "--since <time>",
      "start with all records since a time, or since 10m, 2h or 1d ago",
      parseSince,
    )
    .option("--no-follow", "exit after the past records")
    .option("--json", "print envelopes as JSON, one per line, with control characters escaped")
    .option("--wait", "wait for a gateway that is not running yet")
    .addHelpText("after", EXAMPLES)
    .action(tail);
}

async function tail(query: readonly string[], options: TailOptions): Promise<void> {
  const target = parseTarget(query, options);
  const token = await parseToken(options);
  const { json = false } = options;
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  process.once("SIGTERM", () => interrupt.abort());
  const isColored = process.stdout.isTTY && !process.env.NO_COLOR;
  const { follow } = await import("./follow.ts");
  await follow(
    {
      ...target,
      token,
      raw: json ? rawJson : undefined,
      waits: options.wait ?? false,
      endsCaughtUp: !options.follow,
      signal: interrupt.signal,
    },
    {
      entry: (entry) => print(json ? jsonLine(entry.raw!) : entryLine(entry, isColored)),
      gap: (gap) => print(json ? jsonLine(gapJson(gap)) : gapLine(gap)),
      unrecognized: (text) => print(json ? jsonLine(text) : `${printable(text)}\n`),
      drained: async () => void (await once(process.stdout, "drain")),
      notice: say,
    },
  );
}

function jsonLine(json: string): string {
  return `${printableJson(json)}\n`;
}

function entryLine({ envelope }: LogEntry, isColored: boolean): string {
  try {
    return logLine(envelope, isColored);
  } catch {
    // A gateway without tailgate.v1 may send envelopes without the usual fields.
    return `${printable(JSON.stringify(envelope))}\n`;
  }
}

/** @throws TailgateError USAGE, FILTER_INVALID */
function parseTarget(
  query: readonly string[],
  options: TailOptions,
): Pick<FollowOptions, "url" | "filter" | "start"> {
  const { replay, since } = options;
  if (replay !== undefined && since !== undefined) {
    throw new TailgateError("USAGE", "--replay and --since cannot be combined.");
  }
  if (!options.follow && replay === undefined && since === undefined) {
    throw new TailgateError("USAGE", "--no-follow needs --since or --replay.");
  }
  const url = parseUrl(options.url ?? `127.0.0.1:${process.env.ORCHESTRATOR_PORT || DEFAULT_PORT}`);
  const q = query.join(" ") || undefined;
  const filter = takeFilter(url, { ...options, q });
  // The gateway closes a connection on which a message is too long.
  checkFilterLength(filter);
  return { url, filter, start: { replay, since } };
}

/**
 * Returns the function that reads the token from its file, before each connection, because the file may be replaced.
 * @throws TailgateError USAGE
 */
async function parseToken({
  token,
  tokenFile,
}: TailOptions): Promise<(() => Promise<string>) | undefined> {
  if (token !== undefined) {
    const text =
      "--token is not accepted, because other users could see the token in the list of processes: set TAILGATE_TOKEN, or use --token-file.";
    throw new TailgateError("USAGE", text);
  }
  if (tokenFile === undefined) return undefined;
  const read = (): Promise<string> => readFile(tokenFile, "utf8");
  try {
    await read();
  } catch (error) {
    throw new TailgateError("USAGE", `--token-file cannot be read: ${textOf(error)}.`);
  }
  return read;
}

/** Returns the filter of the command line and, where that has none, of the URL's query; removes it from the URL. */
function takeFilter(url: URL, given: FilterQuery): FilterQuery {
  const terms = FILTER_PARAMETERS.map((name) => {
    const term = given[name] ?? url.searchParams.get(name) ?? undefined;
    url.searchParams.delete(name);
    return [name, term];
  });
  return Object.fromEntries(terms) as FilterQuery;
}

/** Also accepts `localhost:8001` and the dashboard's URL, which may have a path. */
function parseUrl(text: string): URL {
  const url = URL.parse(text.includes("://") ? text : `ws://${text}`);
  if (!url || !/^(ws|http)s?:$/.test(url.protocol)) {
    throw new TailgateError(
      "USAGE",
      `${JSON.stringify(maskUrls(text))} is not a gateway URL, such as ws://127.0.0.1:8001/ws/logs.`,
    );
  }
  url.pathname = socketPath(url);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  return url;
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Expected a number.");
  return Number(text);
}

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const DURATION = /^(\d{1,6})([smhd])$/;

const TIME =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:\d{2})?)?$/i;

/** The last millisecond of the year 9999. */
const TIME_MS_MAX = 253_402_300_799_999;

/**
 * Parses a time in ISO 8601, in UTC if it has no zone, or a duration before now. Returns it as `tailgate.v1` accepts it:
 * ISO 8601 with microseconds, or ms since 1970.
 */
function parseSince(text: string): string | number {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (unit !== undefined) return Math.max(0, Date.now() - Number(count) * UNIT_MS[unit as "s"]);
  const [, date, time = "00:00", zone = "Z"] = TIME.exec(text) ?? [];
  const ms = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  const micros = time.slice(9, 15).padEnd(6, "0");
  if (ms >= 0 && ms <= TIME_MS_MAX) return `${new Date(ms).toISOString().slice(0, 20)}${micros}Z`;
  throw new InvalidArgumentError(
    "Expected a time, such as 2025-10-13T09:27:24Z, or how long ago, such as 10m, 2h or 1d.",
  );
}
