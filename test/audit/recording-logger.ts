import type { HostLogger } from "tailgate/plugin";

export function recordingLogger(): { log: HostLogger; lines: string[] } {
  const lines: string[] = [];
  const log: HostLogger = {
    info: (message) => lines.push(message),
    warning: (message) => lines.push(message),
    error: (message) => lines.push(message),
  };
  return { log, lines };
}
