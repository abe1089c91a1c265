/** A gateway that says over IPC how long its event loop's longest turn took since it was asked last. */

import { LoggingManager } from "tailgate";

const manager = await LoggingManager.start({
  port: 0,
  logDir: process.argv[2]!,
  receivers: { otlp: { port: 0, grpc_port: 0 } },
  exporters: { websocket: {}, file: {}, "audit-file": {} },
  registerGlobally: false,
  write: (line: string) => void process.send!({ line }),
});

let longest = { cpuMs: 0, ms: 0 };
let turnStart = performance.now();
let cpuStart = process.threadCpuUsage();

/** Other work of the machine takes the processor away in the middle of a turn: what counts is what the turn used. */
function turn(): void {
  const now = performance.now();
  const { user, system } = process.threadCpuUsage(cpuStart);
  longest = {
    cpuMs: Math.max(longest.cpuMs, (user + system) / 1000),
    ms: Math.max(longest.ms, now - turnStart),
  };
  turnStart = now;
  cpuStart = process.threadCpuUsage();
  setImmediate(turn);
}

turn();
process.on("message", () => {
  process.send!({ longest });
  longest = { cpuMs: 0, ms: 0 };
});
process.send!({ url: manager.url });
