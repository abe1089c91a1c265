import { rmSync } from "node:fs";
import { resolve as resolvePath } from "node:path";
import { isatty } from "node:tty";
import { setFlagsFromString } from "node:v8";
import { type Command, InvalidArgumentError } from "commander";
import { closestMatch } from "leven";
import { DEFAULT_FILE } from "../config/config-file.ts";
import { type Config, type ConfigFlags, resolveConfig } from "../config/config.ts";
import type { Invitation, RunningTailgate } from "../gateway/start.ts";
import { overwriteFile } from "../runtime/log-dir.ts";
import { TailgateError } from "../wire/errors.ts";
import type { Control } from "./control.ts";
import { report, say } from "./output.ts";
import { ServiceManager } from "./service-manager.ts";

type RunOptions = ConfigFlags & { readonly config?: string; readonly watch?: true };

/** A gateway that has not stopped by then never will. */
const STOP_MS_MAX = 10_000;

/** The time limit of the final sync of a process that exits immediately. */
const SYNC_MS_MAX = 2_000;

const KEEP_ALIVE_MS = 60_000;

const EXAMPLES = `
Examples:
  tailgate                                with ./tailgate.yaml, or with the defaults
  tailgate run --config etc/tailgate.yaml
  tailgate --port 0 --otlp-port 0         on free ports, which are printed
  npm start -- --log-dir ./logs --log-level DEBUG

SIGTERM and SIGINT stop it gracefully: accepted records are written first. A second signal stops it as soon as they are
in the journal. SIGHUP reloads the configuration as \`tailgate reload\` does; in a terminal, it means that the terminal was
closed, and stops the gateway.`;

export function addRun(program: Command): void {
  program
    .command("run", { isDefault: true })
    .description("run the gateway (the default command)")
    .allowExcessArguments()
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option(
      "--host <address>",
      "address to listen on; other than loopback needs auth and tls (default: 127.0.0.1)",
    )
    .option("--port <port>", "main port, 0 for a free one (default: 8001)", parsePort)
    .option(
      "--otlp-port <port>",
      "port for OTLP/HTTP, 0 for a free one (default: 4318, with gRPC on 4317)",
      parsePort,
    )
    .option("--log-dir <path>", "directory of the log files (default: /tmp/madrox_logs)")
    .option("--log-level <level>", "DEBUG, INFO, WARNING, ERROR or CRITICAL (default: INFO)")
    .option("--watch", "reload the configuration when one of its files changes")
    .addHelpText("after", EXAMPLES)
    .action(async (options: RunOptions, command: Command) => {
      rejectUnknownCommand(command.args, program);
      await run(options);
    });
}

/** Unknown commands become arguments of the default command. */
function rejectUnknownCommand(words: readonly string[], program: Command): void {
  const [word] = words;
  if (word === undefined) return;
  const names = program.commands.map((command) => command.name());
  const match = closestMatch(word, names, { maxDistance: 2 });
  const hint = match === undefined ? "" : ` Did you mean ${JSON.stringify(match)}?`;
  throw new TailgateError("USAGE", `Unknown command ${JSON.stringify(word)}.${hint}`);
}

async function run({ config: file, watch, ...flags }: RunOptions): Promise<void> {
  letHeapGrow();
  const terminal = new Terminal();
  let running: RunningTailgate | undefined;
  const ending = listenForExit({
    sync: () => running?.gateway.flushSync(SYNC_MS_MAX),
    endsAtHangUp: () => terminal.isClosed,
    hangUp: () => void running?.reloader?.reload({ by: "SIGHUP" }),
  });
  const manager = new ServiceManager(process.env);
  manager.starting();
  const cwd = process.cwd();
  const readConfig = (): Promise<Config> => resolveConfig({ file, flags, env: process.env, cwd });
  const config = await readConfig();
  // Loaded here to keep the other commands fast.
  const { startTailgate } = await import("../gateway/start.ts");
  const starting = startTailgate(config, {
    handlesSignals: false,
    invitesAdmin: true,
    resolve: readConfig,
  });
  let control: Control | undefined;
  const started = async (): Promise<void> => {
    running = await starting;
    const { gateway, reloader } = running;
    const watched = watch && resolvePath(cwd, file ?? DEFAULT_FILE);
    const { openControl } = await import("./control.ts");
    control = reloader && (await openControl(config, reloader, watched));
    announce(running);
    if (running.invitation) invite(running.invitation);
    manager.ready(gateway, `Listening on ${running.url}`);
  };
  await Promise.race([started(), ending]);
  await ending;
  manager.stopping();
  control?.close();
  await withTimeout(starting.then((tailgate) => tailgate.stop()));
}

/** The terminal in which the gateway was started, if it was. */
class Terminal {
  readonly #descriptors = [0, 1, 2].filter((descriptor) => isatty(descriptor));

  /**
   * Whether SIGHUP means that the terminal was closed: its descriptors are none any more then. While stdout is a terminal, it
   * is sent by a shell that ends.
   */
  get isClosed(): boolean {
    return this.#descriptors.includes(1) || this.#descriptors.some((one) => !isatty(one));
  }
}

export function announce({ facts, listeners, notices }: RunningTailgate): void {
  const width = 2 + Math.max(...facts.map(([name]) => name.length));
  for (const [name, value] of facts) say(name.padEnd(width) + value);
  for (const listener of listeners) say(`listening on ${listener}`);
  for (const notice of notices) say(notice);
}

const INVITATION =
  "Nobody has a token yet. To sign in as the first administrator, open this link; it is valid once and for 10 minutes:";

/** Shows the links to whoever starts the gateway at a terminal; logs, which others may read, get the path of a file. */
export function invite({ links, file }: Invitation): void {
  const lines = links.map((link) => `  ${link}`);
  if (process.stderr.isTTY) return [INVITATION, ...lines].forEach(say);
  overwriteFile(file, `${links.join("\n")}\n`, false);
  const remove = (): void => rmSync(file, { force: true });
  setTimeout(remove, INVITATION_MS).unref();
  process.once("exit", remove);
  say(
    `Nobody has a token yet. To sign in as the first administrator, open the link in ${file}; it is valid once and for 10 minutes.`,
  );
}

const INVITATION_MS = 10 * 60_000;

/**
 * Resolves at the first SIGTERM, SIGINT or uncaught exception. A second signal calls `sync` and exits; an uncaught exception
 * calls it at once, because it is not known what still works then. SIGHUP is like SIGTERM if `endsAtHangUp` says so, and
 * calls `hangUp` otherwise. Keeps the process alive until then: a plugin that hangs while it opens may leave the event loop without work.
 */
function listenForExit({
  sync,
  endsAtHangUp,
  hangUp,
}: {
  sync(): void;
  endsAtHangUp(): boolean;
  hangUp(): void;
}): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS);
  const end = (): void => {
    clearInterval(keepAlive);
    resolve();
  };
  let isSignalled = false;
  const onSignal = (): void => {
    if (isSignalled) {
      sync();
      process.exit(1);
    }
    isSignalled = true;
    end();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("SIGHUP", () => {
    if (!endsAtHangUp()) return hangUp();
    // A terminal that closes sends it twice to the process that leads its session.
    isSignalled = true;
    end();
  });
  process.on("uncaughtExceptionMonitor", sync);
  process.on("uncaughtException", (error) => {
    process.exitCode = report(error);
    end();
  });
  return promise;
}

async function withTimeout(stopping: Promise<void>): Promise<void> {
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

export function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > PORT_MAX) {
    throw new InvalidArgumentError(`Expected an integer from 0 to ${PORT_MAX}.`);
  }
  return port;
}

/**
 * Makes garbage collection less frequent, in a process that runs only the gateway.
 *
 * V8 counts external memory, which holds all records, as growth of its small heap: by default it marks the heap for every
 * 25 MB of records, on other threads and for a third of the gateway's time. With this setting it does so for every 35 MB.
 */
function letHeapGrow(): void {
  setFlagsFromString("--heap-growing-percent=100");
}
