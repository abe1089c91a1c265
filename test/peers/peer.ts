import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Workspace } from "../harness/workspace.ts";
import { Program, skipTest } from "../harness/program.ts";

/** The directory in which test/setup-peers.sh installs a program. */
export function peerPath(program: string): string {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(process.env["TAILGATE_CACHE"] || join(cache, "tailgate"), "peers/bin", program);
}

export function hasPeer(program: string): boolean {
  return existsSync(peerPath(program));
}

/** Returns the program's path; skips or fails the current test if it is missing. */
export function requirePeer(program: string): string {
  if (hasPeer(program)) return peerPath(program);
  return skipTest(`${program} is missing: npm run setup:peers`);
}

/** Starts a program in a directory; it is killed on disposal. */
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
 * Returns an unused port, for programs that do not report which one they got for port 0. It is below Linux's ephemeral
 * range, so that no connection takes it before the program does.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const server = createServer();
    try {
      await once(server.listen(port, "127.0.0.1"), "listening");
      return port;
    } catch {
      // In use: try the next one.
    } finally {
      server.close();
    }
  }
}

export function localUrl(port: number): string {
  return `http://127.0.0.1:${port}`;
}
