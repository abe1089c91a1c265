import { type Command, InvalidArgumentError } from "commander";
import { closestMatch } from "leven";
import { type ConfigFlags, resolveConfig } from "../config/config.ts";
import { TailgateError } from "../wire/errors.ts";
import type { RunningTailgate } from "../gateway/start.ts";
import { report, say } from "./output.ts";
import { setFlagsFromString } from "node:v8";

type RunOptions = ConfigFlags & { readonly config?: string };

/** A gateway that has not stopped by then has lost something that waiting does not bring back. */
const STOP_MS_MAX = 10_000;

/** How long the last sync may take of a process that ends at once. */
const SYNC_MS_MAX = 2_000;

/** Who sends SIGHUP wants a daemon to read its configuration again. */
const NO_RELOAD =
  "SIGHUP: the configuration cannot be reloaded while the gateway runs. It keeps running as it was started; restart it to apply changes.";

const STAY_INTERVAL_MS = 60_000;

const EXAMPLES = `
Examples:
  tailgate                                with ./tailgate.yaml, or with the defaults
  tailgate run --config etc/tailgate.yaml
  tailgate --port 0 --otlp-port 0         on free ports, which are printed
  npm start -- --log-dir ./logs --log-level DEBUG

SIGTERM or SIGINT ends it after what was accepted is written; a second one ends it as soon as that is in the journal.
SIGHUP does not end it; a changed configuration takes effect when it is restarted.`;

export function addRun(program: Command): void {
  program
    .command("run", { isDefault: true })
    .description("run the gateway (the default command)")
    .allowExcessArguments()
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--host <address>", "address to bind to, on loopback (default: 127.0.0.1)")
    .option("--port <port>", "main port, 0 for a free one (default: 8001)", portArgument)
    .option(
      "--otlp-port <port>",
      "port for OTLP/HTTP, 0 for a free one (default: 4318, with gRPC on 4317)",
      portArgument,
    )
    .option("--log-dir <path>", "directory of the log files (default: /tmp/madrox_logs)")
    .option("--log-level <level>", "DEBUG, INFO, WARNING, ERROR or CRITICAL (default: INFO)")
    .addHelpText("after", EXAMPLES)
    .action(async (options: RunOptions, command: Command) => {
      refuseWords(command.args, program);
      await run(options);
    });
}

/** Words that are no command arrive here, at the default one. */
function refuseWords(words: readonly string[], program: Command): void {
  const [word] = words;
  if (word === undefined) return;
  const names = program.commands.map((command) => command.name());
  const match = closestMatch(word, names, { maxDistance: 2 });
  const hint = match === undefined ? "" : ` Did you mean ${JSON.stringify(match)}?`;
  throw new TailgateError("USAGE", `There is no command ${JSON.stringify(word)}.${hint}`);
}

async function run({ config: file, ...flags }: RunOptions): Promise<void> {
  letHeapGrow();
  let running: RunningTailgate | undefined;
  const ending = listenForEnd(() => running?.gateway.flushSync(SYNC_MS_MAX));
  const config = await resolveConfig({ file, flags, env: process.env, cwd: process.cwd() });
  // Loaded here, so that the other commands need not wait for all of the gateway.
  const { startTailgate } = await import("../gateway/start.ts");
  const starting = startTailgate(config, { handlesSignals: false });
  const started = async (): Promise<void> => {
    running = await starting;
    announce(running);
  };
  await Promise.race([started(), ending]);
  await ending;
  await inTime(starting.then((tailgate) => tailgate.stop()));
}

function announce({ listeners, notices }: RunningTailgate): void {
  for (const listener of listeners) say(`listening on ${listener}`);
  for (const notice of notices) say(notice);
}

/**
 * Resolves at the first signal or uncaught exception. A second signal ends the process after `sync`, which an uncaught
 * exception leads to at once: nobody knows what still works then. Until then the process stays, though a plugin that
 * hangs while it opens may give the event loop nothing to do.
 */
function listenForEnd(sync: () => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stay = setInterval(() => {}, STAY_INTERVAL_MS);
  const end = (): void => {
    clearInterval(stay);
    resolve();
  };
  let isSignalled = false;
  const endBySignal = (): void => {
    if (isSignalled) {
      sync();
      process.exit(1);
    }
    isSignalled = true;
    end();
  };
  process.on("SIGTERM", endBySignal);
  process.on("SIGINT", endBySignal);
  process.on("SIGHUP", () => say(NO_RELOAD));
  process.on("uncaughtExceptionMonitor", sync);
  process.on("uncaughtException", (error) => {
    process.exitCode = report(error);
    end();
  });
  return promise;
}

async function inTime(stopping: Promise<void>): Promise<void> {
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new Error(`the gateway did not stop within ${STOP_MS_MAX / 1000} s`));
  }, STOP_MS_MAX);
  try {
    await Promise.race([stopping, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

const PORT_MAX = 65_535;

/** Reads a port of the command line. */
export function portArgument(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > PORT_MAX) {
    throw new InvalidArgumentError(`Expected an integer from 0 to ${PORT_MAX}.`);
  }
  return port;
}

/** How much the heap may grow, in percent of what is in use, before the garbage collector goes through it again. */
const GROWTH_PERCENT = 100;

/**
 * Makes the garbage collector come less often; for a process that is the gateway's own.
 *
 * V8 counts memory beside its heap, in which all records are, as growth of the heap, which is small itself: by its
 * own measure it marks all of it anew for each 25 MB of records, on other threads for a third of the gateway's time.
 * With this one it does so for each 35 MB.
 */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
