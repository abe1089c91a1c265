/** `npm run demo`: a gateway with a simulated orchestrator, until Ctrl-C. */

import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { TailgateError, type LoggingManager } from "tailgate";
import { parsePort } from "../../src/cli/run.ts";
import { startDemoGateway } from "./gateway.ts";
import { logEvent } from "./log-event.ts";
import { orchestrator } from "./orchestrator.ts";

interface DemoOptions {
  readonly port: number;
  readonly logDir?: string;
  readonly tracesTo?: string;
}

async function demo(options: DemoOptions): Promise<void> {
  const ending = new AbortController();
  const end = Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  const { logging, close } = await startDemoGateway(options);
  process.stderr.write(`A demo orchestrator is running. Watch it at ${logging.url}\n`);
  process.stderr.write("Press Ctrl-C to stop.\n");
  const playing = play(logging, ending.signal);
  await end;
  ending.abort();
  await playing;
  await close();
}

async function play(logging: LoggingManager, signal: AbortSignal): Promise<void> {
  const startMs = Date.now();
  try {
    for (const event of orchestrator(startMs)) {
      const waitMs = startMs + event.atMs - Date.now();
      if (waitMs > 0) await delay(waitMs, undefined, { signal });
      signal.throwIfAborted();
      logEvent(logging, event);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const program = new Command("npm run demo --")
  .description("A gateway with an orchestrator that spawns, works, fails and terminates instances.")
  .option("--port <port>", "port of the page, 0 for a free port", parsePort, 8001)
  .option("--log-dir <path>", "directory of the logs (default: a temporary one)")
  .option("--traces-to <url>", "where to send the traces of instances, such as Jaeger's OTLP port")
  .action(demo);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`demo: ${error instanceof TailgateError ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
