import { existsSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { homedir } from "node:os";
import { join } from "node:path";

/** The directory in which `npm run setup:peers` installs third-party programs; undefined if it has not been run. */
export function peerProgram(name: string): string | undefined {
  const { TAILGATE_CACHE, XDG_CACHE_HOME = join(homedir(), ".cache") } = process.env;
  const path = join(TAILGATE_CACHE ?? join(XDG_CACHE_HOME, "tailgate"), "peers", "bin", name);
  return existsSync(path) ? path : undefined;
}

/** Returns a currently unused port, for programs that cannot report which one they use. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
