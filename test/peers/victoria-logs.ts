import { expect, vi } from "vitest";
import type { Workspace } from "../harness/workspace.ts";
import type { Program } from "../harness/program.ts";
import { startPeer } from "./peer.ts";

/** Starts VictoriaLogs on a port of 127.0.0.1, with its data in the directory; resolves when it accepts requests. */
export async function startVictoriaLogs(workspace: Workspace, port: number): Promise<Program> {
  const args = [
    `-httpListenAddr=127.0.0.1:${port}`,
    "-storageDataPath=data",
    "-retentionPeriod=9y",
  ];
  const store = startPeer("victoria-logs", args, workspace);
  await store.untilStderr(/started server at/);
  return store;
}

/** Its OTLP path. */
export const VICTORIA_LOGS_PATH = "/insert/opentelemetry/v1/logs";

/** Returns the records that a LogsQL query finds, by time; resolves once there are this many. */
export async function foundInVictoriaLogs(
  url: string,
  query: string,
  count: number,
): Promise<Record<string, string>[]> {
  const body = new URLSearchParams({ query: `${query} | sort by (_time)` });
  const ask = async (): Promise<Record<string, string>[]> => {
    const response = await fetch(`${url}/select/logsql/query`, { method: "POST", body });
    const lines = (await response.text()).split("\n").filter((line) => line !== "");
    expect(lines.length).toBeGreaterThanOrEqual(count);
    return lines.map((line) => JSON.parse(line) as Record<string, string>);
  };
  return vi.waitFor(ask, { timeout: 30_000, interval: 100 });
}
