import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Workspace } from "../harness/workspace.ts";
import { Program, skipTest } from "../harness/program.ts";

/** Where test/setup-peers.sh leaves a program. */
export function peerPath(program: string): string {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(process.env["TAILGATE_CACHE"] || join(cache, "tailgate"), "peers/bin", program);
}

export function hasPeer(program: string): boolean {
  return existsSync(peerPath(program));
}

/** Its path; ends the test that is running where the program is missing. */
export function requirePeer(program: string): string {
  if (hasPeer(program)) return peerPath(program);
  return skipTest(`${program} is missing: npm run setup:peers`);
}

/** Starts a program in a directory; it is killed at the end of its scope. */
export function startPeer(
  program: string,
  args: readonly string[],
  { directory }: Workspace,
  env: Readonly<Record<string, string>> = {},
): Program {
  return new Program(requirePeer(program), args, { cwd: directory, env });
}

const FIRST_PORT = 20_000;
const PORTS = 10_000;

/**
 * A port where nobody listens, for programs that do not say which one they got for port 0. It lies below those that Linux
 * gives out, so that no connection takes it before the program does.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const server = createServer();
    try {
      await once(server.listen(port, "127.0.0.1"), "listening");
      return port;
    } catch {
      // In use: the next one.
    } finally {
      server.close();
    }
  }
}

export function localUrl(port: number): string {
  return `http://127.0.0.1:${port}`;
}
