import { once } from "node:events";
import { InvalidArgumentError, type Command } from "commander";
import type { Envelope } from "../envelope.ts";
import { TailgateError } from "../errors.ts";
import { say } from "./failure.ts";
import { follow } from "./follower.ts";
import { logLine } from "./log-line.ts";
import { printable } from "../printable.ts";

interface TailOptions {
  readonly url?: string;
  readonly type?: string;
  readonly level?: string;
  readonly logger?: string;
  readonly replay?: number;
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
  tailgate tail --json | jq .data
  tailgate tail -- -heartbeat '"connection refused"'

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
    .option("--json", "print the envelopes as they come, one a line")
    .option("--wait", "wait for a gateway that is not there yet")
    .addHelpText("after", EXAMPLES)
    .action(tail);
}

async function tail(query: readonly string[], options: TailOptions): Promise<void> {
  const ending = new AbortController();
  process.once("SIGINT", () => ending.abort());
  process.once("SIGTERM", () => ending.abort());
  const isColored = process.stdout.isTTY && !process.env.NO_COLOR;
  let regained = "";
  await follow(
    addressOf(query, options),
    {
      text: (text) => process.stdout.write(options.json ? `${text}\n` : lineOf(text, isColored)),
      drained: async () => void (await once(process.stdout, "drain")),
      connected() {
        if (regained !== "") say(regained);
      },
      disconnected(reason, wasConnected) {
        say(wasConnected ? `connection lost (${reason}), trying again` : `waiting (${reason})`);
        if (wasConnected) regained = "connected again; records in between may be missing";
        else regained ||= "connected";
      },
    },
    { waits: options.wait ?? false, signal: ending.signal },
  );
}

function addressOf(query: readonly string[], options: TailOptions): URL {
  const { type, level, logger, replay } = options;
  const url = gatewayUrl(
    options.url ?? `127.0.0.1:${process.env.ORCHESTRATOR_PORT || DEFAULT_PORT}`,
  );
  const q = query.join(" ");
  for (const [name, value] of Object.entries({ type, level, logger, replay, q })) {
    if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url;
}

/** Takes `localhost:8001` and the dashboard's address, too. */
function gatewayUrl(text: string): URL {
  const url = URL.parse(text.includes("://") ? text : `ws://${text}`);
  if (!url || !/^(ws|http)s?:$/.test(url.protocol)) {
    throw new TailgateError(
      "USAGE",
      `${JSON.stringify(text)} is no address such as ws://127.0.0.1:8001/ws/logs.`,
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

function lineOf(text: string, isColored: boolean): string {
  try {
    return logLine(JSON.parse(text) as Envelope, isColored);
  } catch {
    return `${printable(text)}\n`;
  }
}
