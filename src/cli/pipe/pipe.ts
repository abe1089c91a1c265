import { InvalidArgumentError, Option, type Command } from "commander";
import type { ConfigFlags } from "../../config/environment.ts";
import type { RunningTailgate } from "../../gateway/start.ts";
import { lineParser, type LineOptions } from "../../lines/line.ts";
import { parseSeverity, type Severity } from "../../lines/severity.ts";
import { whenAborted } from "../../runtime/timers.ts";
import { TailgateError, textOf } from "../../wire/errors.ts";
import { report, say } from "../output.ts";
import { announce, invite, parsePort } from "../run.ts";
import { LineRecords, type LineRecord } from "./line-records.ts";
import { PassThrough } from "./pass-through.ts";
import { PipelineSignals } from "./signals.ts";
import type { Delivery, RecordSink } from "./sink.ts";

/** How long a text waits for the other lines of its stack trace. */
const STACK_TRACE_MS = 100;

/** How long the reader of stdout has for the last lines after a signal. */
const PRINT_MS_MAX = 5000;

/** The time limit of the final sync of a gateway that is to end at once. */
const SYNC_MS_MAX = 2000;

const EXAMPLES = `
Examples:
  myapp 2>&1 | tailgate pipe --logger orchestrator.myapp
  kubectl logs -f deploy/shop | tailgate pipe --serve        with a gateway of its own
  tailgate pipe --quiet --attribute environment=staging < app.log

Prints its input as it is, and sends each line as a record: JSON of pino, bunyan, winston, structlog, zap, loguru and others,
logfmt, and text, in which times, levels and loggers are recognized. A stack trace belongs to the text before it.
The gateway is expected at http://127.0.0.1:4318 (OTEL_EXPORTER_OTLP_ENDPOINT); its token is TAILGATE_TOKEN. While it cannot
be reached, the program is not slowed down: records wait in a queue, and are lost and counted when that is full.

Ctrl-C reaches all programs of a pipeline: the last lines are read and sent, and it ends with the signal; a second one stops
reading. SIGTERM sends what was read. If the reader of stdout goes away, it stops reading, and succeeds.

Exit codes: 0 if all records were accepted, 1 if some were lost, 64 usage error, 78 configuration error.`;

interface PipeOptions extends ConfigFlags {
  readonly logger: string;
  readonly level?: Severity;
  readonly format: NonNullable<LineOptions["format"]>;
  readonly attribute?: ReadonlyMap<string, string>;
  readonly quiet?: true;
  readonly endpoint?: string;
  readonly serve?: true;
  readonly config?: string;
}

const INFO: Severity = { number: 9, text: "INFO" };

/** The flags of `run` that a gateway of `--serve` has too. */
const SERVE_FLAGS = ["config", "host", "port", "otlpPort", "logDir", "logLevel"] as const;

export function addPipe(program: Command): void {
  program
    .command("pipe")
    .description("send the lines of a program to a gateway, and print them")
    .option("--logger <name>", "logger of lines that do not name one", "pipe")
    .option("--level <level>", "level of lines that do not tell one (default: INFO)", parseLevel)
    .addOption(
      new Option("--format <format>", "format of the lines; with auto, each line tells")
        .choices(["auto", "json", "logfmt", "text"])
        .default("auto"),
    )
    .option(
      "--attribute <name=value>",
      "attribute of all records that lack it; may be repeated",
      addAttribute,
    )
    .option("--quiet", "do not print the lines")
    .option(
      "--endpoint <url>",
      "URL for OTLP/HTTP (default: OTEL_EXPORTER_OTLP_ENDPOINT, or http://127.0.0.1:4318)",
      parseEndpoint,
    )
    .option("--serve", "run a gateway in this process, until Ctrl-C")
    .option("--config <path>", "with --serve: configuration file, as of `run`")
    .option("--host <address>", "with --serve: address to listen on, as of `run`")
    .option("--port <port>", "with --serve: main port, as of `run`", parsePort)
    .option("--otlp-port <port>", "with --serve: port for OTLP/HTTP, as of `run`", parsePort)
    .option("--log-dir <path>", "with --serve: directory of the log files, as of `run`")
    .option("--log-level <level>", "with --serve: the lowest level that is stored, as of `run`")
    .addHelpText("after", EXAMPLES)
    .action(pipe);
}

function parseLevel(text: string): Severity {
  const severity = parseSeverity(text);
  if (severity === undefined) {
    throw new InvalidArgumentError("Expected a level such as DEBUG, INFO, WARNING or ERROR.");
  }
  return severity;
}

function addAttribute(text: string, given?: ReadonlyMap<string, string>): Map<string, string> {
  const equals = text.indexOf("=");
  if (equals < 1) throw new InvalidArgumentError("Expected NAME=VALUE.");
  return new Map(given).set(text.slice(0, equals), text.slice(equals + 1));
}

function parseEndpoint(text: string): string {
  if (/^https?:$/.test(URL.parse(text)?.protocol ?? "")) return text;
  throw new InvalidArgumentError("Expected an http or https URL such as http://127.0.0.1:4318.");
}

async function pipe(options: PipeOptions): Promise<void> {
  checkFlags(options);
  const signals = new PipelineSignals();
  const output = options.quiet ? undefined : new PassThrough(() => signals.stopReading());
  const target = options.serve ? await serve(options) : await connect(options);
  if (process.stdin.isTTY) say("Reading from the terminal. Ctrl-D ends the input.");
  const failure = await readLines(options, { sink: target.sink, output, signals });
  signals.stopReading();
  const delivery = await target.end(signals);
  for (const error of [failure, output?.failure, lossOf(delivery)]) {
    if (error !== undefined) process.exitCode = report(error);
  }
  const { first, aborted } = signals;
  const limits = [aborted, ...(first === undefined ? [] : [AbortSignal.timeout(PRINT_MS_MAX)])];
  await Promise.race([output?.flush(), ...limits.map(whenAborted)]);
  if (!options.serve && first !== undefined) return signals.endProcess();
  // Waiting for what is left would not end.
  if (output?.isBroken) process.stderr.write("", () => process.exit());
}

/** @throws TailgateError USAGE */
function checkFlags(options: PipeOptions): void {
  if (options.serve && options.endpoint !== undefined) {
    throw new TailgateError("USAGE", "--serve and --endpoint cannot be combined.");
  }
  const flag = SERVE_FLAGS.find((name) => options[name] !== undefined);
  if (options.serve || flag === undefined) return;
  const name = flag.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`);
  throw new TailgateError("USAGE", `--${name} needs --serve.`);
}

interface Target {
  readonly sink: RecordSink;
  /** Called when the input has ended. */
  end(signals: PipelineSignals): Promise<Delivery>;
}

async function connect({ endpoint, logger }: PipeOptions): Promise<Target> {
  // Loaded here to keep the other commands fast.
  const { ConnectionSink } = await import("./connection-sink.ts");
  const sink = await ConnectionSink.open(endpoint, logger);
  return { sink, end: ({ aborted }) => sink.close(aborted) };
}

/** Starts a gateway as `tailgate run` does. Its console would repeat the lines that are printed anyway. */
async function serve({ config: file, quiet, ...options }: PipeOptions): Promise<Target> {
  const [{ resolveConfig }, { startTailgate }, { GatewaySink }] = await Promise.all([
    import("../../config/config.ts"),
    import("../../gateway/start.ts"),
    import("./gateway-sink.ts"),
  ]);
  const { host, port, otlpPort, logDir, logLevel } = options;
  const flags = { host, port, otlpPort, logDir, logLevel } as ConfigFlags;
  const config = await resolveConfig({ file, flags, env: process.env, cwd: process.cwd() });
  const exporters = config.exporters.filter(
    ({ definition }) => quiet || definition.name !== "console",
  );
  const running = await startTailgate(
    { ...config, exporters },
    { handlesSignals: false, invitesAdmin: true },
  );
  announce(running);
  if (running.invitation) invite(running.invitation);
  const sink = new GatewaySink(running.gateway);
  return { sink, end: (signals) => endGateway(running, sink, signals) };
}

async function endGateway(
  { gateway, url, stop }: RunningTailgate,
  sink: RecordSink,
  signals: PipelineSignals,
): Promise<Delivery> {
  if (signals.first === undefined) {
    say(`The input has ended. Ctrl-C ends the gateway at ${url}`);
    await signals.received;
  }
  signals.aborted.addEventListener("abort", () => {
    gateway.flushSync(SYNC_MS_MAX);
    process.exit(1);
  });
  await stop();
  return sink.close(signals.aborted);
}

interface Flow {
  readonly sink: RecordSink;
  readonly output: PassThrough | undefined;
  readonly signals: PipelineSignals;
}

/** Reads until the input ends, or nothing more should be read. Returns the error that ended the input. */
async function readLines(
  { logger, level = INFO, format, attribute: attributes = new Map() }: PipeOptions,
  { sink, output, signals }: Flow,
): Promise<TailgateError | undefined> {
  const parser = lineParser({ format });
  const lines = new LineRecords({ parser, logger, severity: level, attributes });
  const { stdin } = process;
  let isStopped = false;
  const stop = (): void => {
    isStopped = true;
    stdin.destroy();
  };
  void signals.stopped.then(stop);
  let adding: Promise<void> | undefined;
  const add = async (records: Iterable<LineRecord>): Promise<void> => {
    await adding;
    adding = sink.add(records);
    await adding;
    adding = undefined;
  };
  const waiting = setTimeout(() => {
    // Otherwise the timer starts again after that.
    if (adding === undefined) void add(lines.take());
  }, STACK_TRACE_MS);
  let failure: TailgateError | undefined;
  try {
    for await (const chunk of stdin as AsyncIterable<Buffer>) {
      const written = output?.write(chunk, signals.stopped);
      await add(lines.push(chunk));
      if (lines.isWaiting) waiting.refresh();
      await written;
    }
  } catch (error) {
    if (!isStopped) failure = inputFailed(error);
  }
  clearTimeout(waiting);
  await add(lines.end());
  return failure;
}

function inputFailed(cause: unknown): TailgateError {
  return new TailgateError("INPUT_FAILED", `The input cannot be read: ${textOf(cause)}.`, {
    cause,
  });
}

function lossOf({ total, lost, destination, reason }: Delivery): TailgateError | undefined {
  if (lost === 0) return undefined;
  const because = reason === undefined ? "" : `: ${reason.replace(/\.$/, "")}`;
  const records = total === 1 ? "The only record" : `${lost} of ${total} records`;
  return new TailgateError("RECORDS_LOST", `${records} did not reach ${destination}${because}.`);
}
