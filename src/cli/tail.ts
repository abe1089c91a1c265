import { once } from "node:events";
import { type Command, InvalidArgumentError } from "commander";
import { maskUrls } from "../config/secrets.ts";
import type { Envelope } from "../wire/envelope.ts";
import { TailgateError } from "../wire/errors.ts";
import { checkFilterLength, FILTER_PARAMETERS, type FilterQuery } from "../wire/filter.ts";
import { print, say } from "./output.ts";
import type { Followed } from "./follower.ts";
import { gapLine, logLine } from "./log-line.ts";
import { printable, printableJson } from "../wire/printable.ts";

interface TailOptions {
  readonly url?: string;
  readonly type?: string;
  readonly level?: string;
  readonly logger?: string;
  readonly replay?: number;
  /** As `tailgate.v1` takes it. */
  readonly since?: string | number;
  readonly follow: boolean;
  readonly json?: boolean;
  readonly wait?: boolean;
}

const DEFAULT_PORT = 8001;
const DEFAULT_PATH = "/ws/logs";

const EXAMPLES = `
Examples:
  tailgate tail --level WARNING --replay 100
  tailgate tail --logger orchestrator.server timeout
  tailgate tail type:audit action:instance_spawn details.role:worker
  tailgate tail --since 2h --no-follow --level ERROR
  tailgate tail --json | jq .data
  tailgate tail -- -heartbeat '"connection refused"'

Records that cannot be had are shown as a line of their own; with --json as {"type":"gap",...}.
A query's terms must all hold: text, "a phrase", -not, level:WARNING, type:audit, logger:NAME,
action:NAME, field:value. The gateway is looked for on 127.0.0.1, port $ORCHESTRATOR_PORT or ${DEFAULT_PORT}.`;

export function addTail(program: Command): void {
  program
    .command("tail")
    .description("follow the logs of a running gateway")
    .argument("[query...]", "terms that a record has to match")
    .option("--url <url>", "address of the gateway (default: ws://127.0.0.1:8001/ws/logs)")
    .option("--type <type>", "system or audit")
    .option("--level <level>", "that level and more severe ones")
    .option("--logger <name>", "that logger and the ones below it")
    .option("--replay <count>", "first show so many of the newest records", countArgument)
    .option(
      "--since <time>",
      "first show all records from then on: a time, or 10m, 2h, 1d ago",
      sinceArgument,
    )
    .option("--no-follow", "end when the records of the past have been shown")
    .option("--json", "print the envelopes as JSON, one a line, control characters escaped")
    .option("--wait", "wait for a gateway that is not there yet")
    .addHelpText("after", EXAMPLES)
    .action(tail);
}

async function tail(query: readonly string[], options: TailOptions): Promise<void> {
  const followed = followedOf(query, options);
  const ending = new AbortController();
  process.once("SIGINT", () => ending.abort());
  process.once("SIGTERM", () => ending.abort());
  const isColored = process.stdout.isTTY && !process.env.NO_COLOR;
  let wasConnected = false;
  let isLost = false;
  const { follow } = await import("./follower.ts");
  await follow(
    followed,
    {
      text: (text) => print(options.json ? jsonLine(text) : lineOf(text, isColored)),
      gap: (gap) => print(options.json ? jsonLine(JSON.stringify(gap)) : gapLine(gap)),
      limited: (replay) =>
        say(`the gateway shows ${replay} of the newest records at most; --since has no such limit`),
      drained: async () => void (await once(process.stdout, "drain")),
      connected(resumes) {
        if (isLost) say(connectionText(wasConnected, resumes));
        wasConnected = true;
      },
      disconnected(reason, wasOpen) {
        say(wasOpen ? `connection lost (${reason}), trying again` : `waiting (${reason})`);
        isLost = true;
      },
    },
    { waits: options.wait ?? false, endsCaughtUp: !options.follow, signal: ending.signal },
  );
}

function connectionText(isAgain: boolean, resumes: boolean): string {
  if (!isAgain) return "connected";
  return resumes ? "connected again" : "connected again; records in between may be missing";
}

/** @throws TailgateError USAGE, FILTER_INVALID */
function followedOf(query: readonly string[], options: TailOptions): Followed {
  const { replay, since } = options;
  if (replay !== undefined && since !== undefined) {
    throw new TailgateError("USAGE", "It starts with --replay or with --since, not with both.");
  }
  if (!options.follow && replay === undefined && since === undefined) {
    throw new TailgateError("USAGE", "--no-follow needs --since or --replay.");
  }
  const url = gatewayUrl(
    options.url ?? `127.0.0.1:${process.env.ORCHESTRATOR_PORT || DEFAULT_PORT}`,
  );
  const q = query.join(" ") || undefined;
  const filter = filterOf(url, { ...options, q });
  // The gateway closes a connection on which a message is too long, instead of answering it.
  checkFilterLength(filter);
  return { url, filter, replay, since };
}

/** What the address asks for, and what the command line says instead. */
function filterOf(url: URL, given: FilterQuery): FilterQuery {
  const terms = FILTER_PARAMETERS.map((name) => {
    const term = given[name] ?? url.searchParams.get(name) ?? undefined;
    url.searchParams.delete(name);
    return [name, term];
  });
  return Object.fromEntries(terms) as FilterQuery;
}

/** Takes `localhost:8001` and the dashboard's address, too. */
function gatewayUrl(text: string): URL {
  const url = URL.parse(text.includes("://") ? text : `ws://${text}`);
  if (!url || !/^(ws|http)s?:$/.test(url.protocol)) {
    throw new TailgateError(
      "USAGE",
      `${JSON.stringify(maskUrls(text))} is no address such as ws://127.0.0.1:8001/ws/logs.`,
    );
  }
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  if (url.pathname === "/") url.pathname = DEFAULT_PATH;
  return url;
}

function countArgument(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Expected a count.");
  return Number(text);
}

function jsonLine(json: string): string {
  return `${printableJson(json)}\n`;
}

function lineOf(text: string, isColored: boolean): string {
  try {
    return logLine(JSON.parse(text) as Envelope, isColored);
  } catch {
    return `${printable(text)}\n`;
  }
}

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
