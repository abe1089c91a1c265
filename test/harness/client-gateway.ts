import { onTestFinished } from "vitest";
import type { LogStreamOptions } from "tailgate/client";
import { LoggingManager } from "tailgate";
import { Workspace } from "./workspace.ts";
import { StreamLog } from "../client/stream-log.ts";

/** A gateway with nothing but the WebSocket, with these options of it, until the test ends. */
export async function startGateway(
  options: Record<string, unknown> = {},
  { allowedHosts = "127.0.0.1" } = {},
): Promise<LoggingManager> {
  const config = `allowed_hosts: ["${allowedHosts}"]`;
  const workspace = await Workspace.create({ "tailgate.yaml": config });
  const manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    logLevel: "DEBUG",
    exporters: { websocket: options },
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(async () => {
    await manager.stop();
    await workspace[Symbol.asyncDispose]();
  });
  return manager;
}

/** A stream until the test ends. */
export function follow(options: LogStreamOptions): StreamLog {
  const log = new StreamLog(options);
  onTestFinished(() => log.stream.close());
  return log;
}
